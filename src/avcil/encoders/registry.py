"""Encoders by name, and the encoder that a fingerprint names.

To add an encoder: write its file, and add its name, module and class to the table of its kind. Modules are
imported when an encoder is asked for, so heavy libraries cost nothing until then.

A name may carry a variant and a source: NAME[@VARIANT][:SOURCE], as in `videomae-base@av-cil-script`,
`hf:google/siglip2-base-patch16-224` or `audiomae:/weights/pretrained.pth`. They are the options `variant` and
`source` of the encoder's constructor.
"""

from __future__ import annotations

import importlib
from typing import Any

from avcil.encoders.base import AudioEncoder, VisualEncoder
from avcil.errors import InputError, unknown_name

Places = dict[str, tuple[str, str]]
VISUAL: Places = {
    "patch-motion": ("avcil.encoders.patch_motion", "PatchMotion"),
    "efficientnet-lite0": ("avcil.encoders.efficientnet_lite", "EfficientNetLite0"),
    "videomae-base": ("avcil.encoders.hugging_face_visual", "VideoMAE"),
    "hf": ("avcil.encoders.hugging_face_visual", "HuggingFaceVisual"),
}
AUDIO: Places = {
    "log-mel": ("avcil.encoders.log_mel", "LogMel"),
    "yamnet": ("avcil.encoders.yamnet", "Yamnet"),
    "audiomae": ("avcil.encoders.audio_mae", "AudioMAE"),
    "hf-audio": ("avcil.encoders.hugging_face_audio", "HuggingFaceAudio"),
}
IN_WORDS = {"hf": "hf:MODEL", "hf-audio": "hf:MODEL"}


def visual_encoder_names() -> list[str]:
    """Names that `visual_encoder` takes; MODEL stands for a hub name or a local folder.

    >>> visual_encoder_names()
    ['efficientnet-lite0', 'hf:MODEL', 'patch-motion', 'videomae-base']
    """
    return _in_words(VISUAL)


def audio_encoder_names() -> list[str]:
    """Names that `audio_encoder` takes; MODEL stands for a hub name or a local folder.

    >>> audio_encoder_names()
    ['audiomae', 'hf:MODEL', 'log-mel', 'yamnet']
    """
    return _in_words(AUDIO)


def visual_encoder(name: str, **options: Any) -> VisualEncoder:
    """The visual encoder of this name; options are those of its constructor."""
    return _by_name("visual", name, VISUAL, options)


def audio_encoder(name: str, **options: Any) -> AudioEncoder:
    """The audio encoder of this name; options are those of its constructor."""
    return _by_name("audio", name, AUDIO, options)


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


def _in_words(places: Places) -> list[str]:
    return sorted(IN_WORDS.get(name, name) for name in places)


def _by_name(kind: str, text: str, places: Places, options: dict[str, Any]) -> Any:
    """The encoder that NAME[@VARIANT][:SOURCE] stands for."""
    front, colon, source = text.partition(":")
    name, at, variant = front.partition("@")
    key = "hf-audio" if (name, kind) == ("hf", "audio") else name
    if key not in places or name == "hf-audio":
        raise unknown_name(f"{kind} encoder", name, _in_words(places))
    if colon and source:
        options = {"source": source} | options
    if at:
        options = {"variant": variant} | options
    return _build(name, places[key], options)


def _build(name: str, place: tuple[str, str], options: dict[str, Any]) -> Any:
    module, attribute = place
    encoder_class = getattr(importlib.import_module(module), attribute)
    known = getattr(encoder_class.__init__, "__kwdefaults__", None) or {}  # it may have none of its own
    for option, value in options.items():
        if option not in known:
            error = unknown_name(f"option of encoder {name!r}:", option, known)
            hint = {"source": f" (:{value} behind the name)", "variant": f" (@{value} behind the name)"}
            raise InputError(f"{error}{hint.get(option, '')}")
    return encoder_class(**options)
