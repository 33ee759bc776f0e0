"""The parts of a combined encoder, as its fingerprint states them."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Protocol

from avcil.errors import InputError

JOINER = "+"
MAX_PARTS = 8
"""Encoders in one combination, at most."""

HUGGING_FACE = {"visual": "hf", "audio": "hf-audio", "joint": "hf-joint"}
"""The name that the encoder `hf:MODEL` has in fingerprints, by its kind."""


@dataclass(frozen=True, kw_only=True)
class Part:
    """The features [start, stop) of the D features of a modality that come from one encoder."""

    name: str
    start: int
    stop: int


class HasParts(Protocol):
    """A store, or what stands for one: it names the encoders of "audio" and "visual" features."""

    def parts(self, modality: str) -> tuple[Part, ...]: ...


def part_widths(store: HasParts) -> dict[str, tuple[int, ...]]:
    """Features of each part, for "audio" and "visual" where the encoder has several."""
    parts = {modality: store.parts(modality) for modality in ("audio", "visual")}
    return {
        modality: tuple(part.stop - part.start for part in found)
        for modality, found in parts.items()
        if len(found) > 1
    }


def part_name(fingerprint: Mapping[str, Any]) -> str:
    """An encoder's name with its source, where it has one.

    >>> part_name({"name": "hf", "options": {"source": "google/siglip2"}})
    'hf:google/siglip2'
    """
    source = (fingerprint.get("options") or {}).get("source")
    return f"{fingerprint.get('name', '?')}{f':{source}' if source else ''}"


def written_name(fingerprint: Mapping[str, Any]) -> str:
    """An encoder's or a combination's name as `avcil extract` takes it.

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
    """Whether it is that of an encoder that takes frames and sound together."""
    return fingerprint.get("name") == HUGGING_FACE["joint"]


def parts_of(fingerprint: Mapping[str, Any], width: int) -> tuple[Part, ...]:
    """The parts of an encoder's features, in order; a single encoder is one part.

    Args:
        fingerprint: The encoder's, as a store's manifest or a model's configuration holds it.
        width: D of its features.

    Raises:
        InputError: If the fingerprint's parts do not add up to `width`.

    >>> parts_of({"name": "log-mel"}, 148)
    (Part(name='log-mel', start=0, stop=148),)
    """
    fingerprints = fingerprint.get("parts")
    if fingerprints is None:
        return (Part(name=part_name(fingerprint), start=0, stop=width),)
    check_parts(fingerprint)
    parts: list[Part] = []
    start = 0
    for own, size in zip(fingerprints, fingerprint["widths"], strict=True):
        parts.append(Part(name=part_name(own), start=start, stop=start + size))
        start += size
    if start != width:
        raise InputError(
            f"the parts of the encoder {fingerprint.get('name')!r} have {start} features, not {width}. "
            "The file that says so is damaged; extract the features again"
        )
    return tuple(parts)


def check_parts(fingerprint: Mapping[str, Any]) -> None:
    """Refuse a combination whose fingerprint is not as `combined.py` writes it.

    Raises:
        InputError: If it is not a list of 2 to `MAX_PARTS` plain fingerprints with as many positive widths.
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
            f"{MAX_PARTS} parts, no combinations themselves, and their widths. Extract the features again"
        )
