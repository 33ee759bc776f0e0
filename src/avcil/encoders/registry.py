"""Building encoders from names and fingerprints.

To add an encoder, write its file, and add its name, module and class to the table of its kind. Modules are imported
when an encoder is built.

A name can have options, a variant and a source: NAME[,OPTION=VALUE...][@VARIANT][:SOURCE], as in
`patch-motion,cells=7`, `videomae-base@av-cil-script`, `hf:google/siglip2-base-patch16-224` or
`audiomae:/weights/pretrained.pth`. Variant and source are the options `variant` and `source` of the encoder's
constructor. Several such names joined by `+` are one combined encoder (combined.py).
"""

from __future__ import annotations

import importlib
import json
from typing import Any

from avcil.encoders.base import AudioEncoder, JointEncoder, VisualEncoder
from avcil.encoders.options import check_options
from avcil.encoders.parts import HUGGING_FACE, JOINER, check_parts
from avcil.errors import InputError, unknown_name

ClassPaths = dict[str, tuple[str, str]]
VISUAL: ClassPaths = {
    "patch-motion": ("avcil.encoders.patch_motion", "PatchMotion"),
    "efficientnet-lite0": ("avcil.encoders.efficientnet_lite", "EfficientNetLite0"),
    "videomae-base": ("avcil.encoders.hugging_face.visual_encoder", "VideoMAE"),
    "hf": ("avcil.encoders.hugging_face.visual_encoder", "HuggingFaceVisual"),
}
AUDIO: ClassPaths = {
    "log-mel": ("avcil.encoders.log_mel", "LogMel"),
    "yamnet": ("avcil.encoders.yamnet", "Yamnet"),
    "audiomae": ("avcil.encoders.audio_mae", "AudioMAE"),
    "hf-audio": ("avcil.encoders.hugging_face.audio_encoder", "HuggingFaceAudio"),
}
JOINT: ClassPaths = {"hf-joint": ("avcil.encoders.hugging_face.joint_encoder", "HuggingFaceJoint")}
DEFAULT_VISUAL = "patch-motion+efficientnet-lite0"
DEFAULT_AUDIO = "log-mel+yamnet"
"""Default encoders for any kind of clips (docs/encoders.md)."""
SHOWN_NAMES = dict.fromkeys(HUGGING_FACE.values(), "hf:MODEL")


def visual_encoder(name: str, **options: Any) -> VisualEncoder:
    """Build a visual encoder.

    Args:
        name: A name, or several joined by `+` for a combination; each can have options, a variant and a source.
        options: Options of the constructor, for a single encoder.

    Raises:
        InputError: A name or an option is unknown, or the parts are incompatible.
    """
    return _by_name("visual", name, VISUAL, options)


def audio_encoder(name: str, **options: Any) -> AudioEncoder:
    """Build an audio encoder; see `visual_encoder`."""
    return _by_name("audio", name, AUDIO, options)


def joint_encoder(name: str, **options: Any) -> JointEncoder:
    """Build a joint encoder; see `visual_encoder`. It cannot be combined with others."""
    if len(_split(name, JOINT | {"hf": JOINT["hf-joint"]})) > 1:
        raise InputError(f"a joint encoder cannot be combined with others; {name!r} names several encoders")
    return _by_name("joint", name, JOINT, options)


def from_fingerprint(fingerprint: dict[str, Any]) -> VisualEncoder | AudioEncoder | JointEncoder:
    """Build the encoder with a fingerprint from a feature store or model, and check that the fingerprint is equal.

    Raises:
        InputError: The fingerprint is damaged, or this version of avcil has no such encoder.
    """
    missing = [key for key in ("name", "version", "options", "weights") if key not in fingerprint]
    if missing:
        raise InputError(
            f"an encoder's fingerprint lacks {', '.join(missing)}: {fingerprint!r:.300}. Extract the features again"
        )
    encoder = _combination_of(fingerprint) if "parts" in fingerprint else _single_of(fingerprint)
    built = encoder.fingerprint()
    differing = [
        key for key in sorted(fingerprint.keys() | built.keys()) if fingerprint.get(key) != built.get(key)
    ]
    if differing:
        expected, actual = ({key: side.get(key) for key in differing} for side in (fingerprint, built))
        raise InputError(
            f"the features were made with another encoder {encoder.name!r}: {expected!r:.1000}, this avcil has "
            f"{actual!r:.1000}. "
            "Use the avcil version that made them, or extract the features again"
        )
    return encoder


def _single_of(fingerprint: dict[str, Any]) -> Any:
    name, options = str(fingerprint["name"]), fingerprint["options"]
    if not isinstance(options, dict):
        raise InputError(f"the options of encoder {name!r:.60} are {options!r:.60}, not a JSON object")
    known = VISUAL | AUDIO | JOINT
    if name not in known:
        raise unknown_name("encoder", name, known)
    return _build(name, known[name], options)


def _combination_of(fingerprint: dict[str, Any]) -> Any:
    check_parts(fingerprint)
    return _combined([from_fingerprint(part) for part in fingerprint["parts"]])


def _combined(parts: list[Any]) -> Any:
    """Combine several encoders of one modality."""
    from avcil.encoders.combined import CombinedAudio, CombinedVisual

    if all(isinstance(part, VisualEncoder) for part in parts):
        return CombinedVisual(parts)
    if all(isinstance(part, AudioEncoder) for part in parts):
        return CombinedAudio(parts)
    raise InputError("a combination cannot have both visual and audio encoders. Extract the features again")


def _shown_names(classes: ClassPaths) -> list[str]:
    return sorted(SHOWN_NAMES.get(name, name) for name in classes)


def _by_name(kind: str, text: str, classes: ClassPaths, options: dict[str, Any]) -> Any:
    """Build the encoder or combination with a name."""
    names = _split(text, classes)
    if len(names) == 1:
        return _by_single_name(kind, text, classes, options)
    if options:
        raise InputError(
            f"the options {', '.join(options)} do not belong to one of the encoders in {text!r}. Write them after the "
            "name of one: NAME,OPTION=VALUE"
        )
    return _combined([_by_single_name(kind, name, classes, {}) for name in names])


def _split(text: str, classes: ClassPaths) -> list[str]:
    """Split names at `+`. After a `:`, a plus belongs to the source unless a known name follows."""
    names: list[str] = []
    for piece in text.split(JOINER):
        front = piece.partition(":")[0].partition("@")[0].partition(",")[0]
        if names and ":" in names[-1] and front not in classes:
            names[-1] += JOINER + piece
        else:
            names.append(piece)
    return names


def _by_single_name(kind: str, text: str, classes: ClassPaths, options: dict[str, Any]) -> Any:
    """Build the encoder NAME[,OPTION=VALUE...][@VARIANT][:SOURCE]."""
    front, colon, source = text.partition(":")
    front, at, variant = front.partition("@")
    name, *written = front.split(",")
    key = HUGGING_FACE[kind] if name == "hf" else name
    if key not in classes or name in ("hf-audio", "hf-joint"):
        raise unknown_name(f"{kind} encoder", name, _shown_names(classes))
    if colon and source:
        options = {"source": source} | options
    if at:
        options = {"variant": variant} | options
    return _build(name, classes[key], {**dict(map(_option, written)), **options})


def _option(text: str) -> tuple[str, Any]:
    """Parse OPTION=VALUE. The value is a number, true, false or null as in JSON, otherwise a string."""
    name, equals, value = text.partition("=")
    if not (name and equals):
        raise InputError(f"encoder options have the form NAME,OPTION=VALUE; {text!r} is not OPTION=VALUE")
    try:
        return name, json.loads(value)
    except json.JSONDecodeError:
        return name, value


def _build(name: str, path: tuple[str, str], options: dict[str, Any]) -> Any:
    module, attribute = path
    encoder_class = getattr(importlib.import_module(module), attribute)
    known = getattr(encoder_class.__init__, "__kwdefaults__", None) or {}  # it may not define one
    for option, value in options.items():
        if option not in known:
            error = unknown_name(f"option of encoder {name!r}:", option, known)
            hint = {"source": f" (:{value} after the name)", "variant": f" (@{value} after the name)"}
            raise InputError(f"{error}{hint.get(option, '')}")
    check_options(encoder_class, name, options)
    return encoder_class(**options)
