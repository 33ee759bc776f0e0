"""Encoders by name, and the encoder that a fingerprint names.

To add an encoder: write its file, and add its name, module and class to the table of its kind. Modules are
imported when an encoder is asked for, so heavy libraries cost nothing until then.
"""

from __future__ import annotations

import importlib
from typing import Any

from avcil.encoders.base import AudioEncoder, VisualEncoder
from avcil.errors import InputError, unknown_name

VISUAL = {"patch-motion": ("avcil.encoders.patch_motion", "PatchMotion")}
AUDIO = {"log-mel": ("avcil.encoders.log_mel", "LogMel")}


def visual_encoder_names() -> list[str]:
    """Names that `visual_encoder` takes.

    >>> visual_encoder_names()
    ['patch-motion']
    """
    return sorted(VISUAL)


def audio_encoder_names() -> list[str]:
    """Names that `audio_encoder` takes.

    >>> audio_encoder_names()
    ['log-mel']
    """
    return sorted(AUDIO)


def visual_encoder(name: str, **options: Any) -> VisualEncoder:
    """The visual encoder of this name; options are those of its constructor."""
    if name not in VISUAL:
        raise unknown_name("visual encoder", name, VISUAL)
    return _build(name, VISUAL[name], options)


def audio_encoder(name: str, **options: Any) -> AudioEncoder:
    """The audio encoder of this name; options are those of its constructor."""
    if name not in AUDIO:
        raise unknown_name("audio encoder", name, AUDIO)
    return _build(name, AUDIO[name], options)


def from_fingerprint(fingerprint: dict[str, Any]) -> VisualEncoder | AudioEncoder:
    """The encoder that a feature store or a model names, checked to encode exactly alike."""
    missing = [key for key in ("name", "version", "options", "weights") if key not in fingerprint]
    if missing:
        raise InputError(
            f"an encoder's fingerprint lacks {', '.join(missing)}: {fingerprint}. Extract the features again"
        )
    name, options = str(fingerprint["name"]), dict(fingerprint["options"])
    if name not in VISUAL | AUDIO:
        raise unknown_name("encoder", name, VISUAL | AUDIO)
    encoder = _build(name, (VISUAL | AUDIO)[name], options)
    built = encoder.fingerprint()
    differing = [
        key for key in sorted(fingerprint.keys() | built.keys()) if fingerprint.get(key) != built.get(key)
    ]
    if differing:
        wanted, got = ({key: side.get(key) for key in differing} for side in (fingerprint, built))
        raise InputError(
            f"the features were made with another encoder {name!r}: {wanted}, this avcil has {got}. "
            "Use the avcil version that made them, or extract the features again"
        )
    return encoder


def _build(name: str, place: tuple[str, str], options: dict[str, Any]) -> Any:
    module, attribute = place
    encoder_class = getattr(importlib.import_module(module), attribute)
    known = encoder_class.__init__.__kwdefaults__ or {}
    for option in options:
        if option not in known:
            raise unknown_name(f"option of encoder {name!r}:", option, known)
    return encoder_class(**options)
