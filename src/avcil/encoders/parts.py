"""The parts of a combined encoder, from its fingerprint."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Protocol

from avcil.errors import InputError

JOINER = "+"
MAX_PARTS = 8
"""Maximum number of encoders in a combination."""

HUGGING_FACE = {"visual": "hf", "audio": "hf-audio", "joint": "hf-joint"}
"""Names of the encoder `hf:MODEL` in fingerprints, by kind."""


@dataclass(frozen=True, kw_only=True)
class EncoderPart:
    """The features [start, stop) of a modality that one encoder computes."""

    name: str
    start: int
    stop: int


class _HasParts(Protocol):
    """A store, or another object that has the encoders of "audio" and "visual" features."""

    def parts(self, modality: str) -> tuple[EncoderPart, ...]: ...


def part_widths(store: _HasParts) -> dict[str, tuple[int, ...]]:
    """Widths of the parts, for "audio" and "visual" if the encoder has several parts."""
    parts = {modality: store.parts(modality) for modality in ("audio", "visual")}
    return {
        modality: tuple(part.stop - part.start for part in parts_of_modality)
        for modality, parts_of_modality in parts.items()
        if len(parts_of_modality) > 1
    }


def part_name(fingerprint: Mapping[str, Any]) -> str:
    """Name of an encoder with its source, if any.

    >>> part_name({"name": "hf", "options": {"source": "google/siglip2"}})
    'hf:google/siglip2'
    """
    source = (fingerprint.get("options") or {}).get("source")
    return f"{fingerprint.get('name', '?')}{f':{source}' if source else ''}"


def written_name(fingerprint: Mapping[str, Any]) -> str:
    """Name of an encoder or combination for `avcil extract`.

    >>> written_name({"name": "yamnet", "options": {"width": 64, "segments": 4}})
    'yamnet,width=64,segments=4'
    >>> written_name({"name": "hf-audio", "options": {"source": "laion/clap-htsat-fused"}})
    'hf:laion/clap-htsat-fused'
    """
    return JOINER.join(map(_written_part, fingerprint.get("parts") or [fingerprint]))


def _written_part(fingerprint: Mapping[str, Any]) -> str:
    options = dict(fingerprint.get("options") or {})
    name = fingerprint.get("name", "?")
    name = "hf" if name in HUGGING_FACE.values() else name
    source, variant = options.pop("source", None), options.pop("variant", None)
    written = "".join(f",{option}={json.dumps(value)}" for option, value in options.items())
    return f"{name}{written}{f'@{variant}' if variant else ''}{f':{source}' if source else ''}"


def is_joint(fingerprint: Mapping[str, Any]) -> bool:
    """Whether the fingerprint is that of a joint encoder."""
    return fingerprint.get("name") == HUGGING_FACE["joint"]


def parts_of(fingerprint: Mapping[str, Any], width: int) -> tuple[EncoderPart, ...]:
    """The parts of an encoder's features, in order; a single encoder is one part.

    Args:
        fingerprint: From the manifest of a store or the configuration of a model.
        width: D.

    Raises:
        InputError: The widths of the parts do not sum to `width`.

    >>> parts_of({"name": "log-mel"}, 148)
    (EncoderPart(name='log-mel', start=0, stop=148),)
    """
    fingerprints = fingerprint.get("parts")
    if fingerprints is None:
        return (EncoderPart(name=part_name(fingerprint), start=0, stop=width),)
    check_parts(fingerprint)
    parts: list[EncoderPart] = []
    start = 0
    for own, size in zip(fingerprints, fingerprint["widths"], strict=True):
        parts.append(EncoderPart(name=part_name(own), start=start, stop=start + size))
        start += size
    if start != width:
        raise InputError(
            f"the parts of the encoder {fingerprint.get('name')!r} have {start} features, not {width}. "
            "The file is damaged; extract the features again"
        )
    return tuple(parts)


def check_parts(fingerprint: Mapping[str, Any]) -> None:
    """Check the fingerprint of a combination.

    Raises:
        InputError: It is not a list of 2 to `MAX_PARTS` fingerprints with as many positive widths.
    """
    parts, widths = fingerprint.get("parts"), fingerprint.get("widths")
    fits = (
        isinstance(parts, list)
        and isinstance(widths, list)
        and 2 <= len(parts) <= MAX_PARTS
        and len(parts) == len(widths)
        and all(isinstance(part, Mapping) and "parts" not in part for part in parts)
        and all(type(width) is int and width > 0 for width in widths)
    )
    if not fits:
        raise InputError(
            f"the fingerprint of the encoder {fingerprint.get('name')!r} is damaged: a combination has a list of 2 to "
            f"{MAX_PARTS} parts, which are not combinations, and their widths. Extract the features again"
        )
