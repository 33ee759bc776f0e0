"""The list of encoders with their sizes and their speed on this machine."""

from __future__ import annotations

import importlib
import time
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Literal

import numpy as np

from avcil.encoders.base import VisualEncoder
from avcil.encoders.info import EncoderInfo
from avcil.encoders.registry import (
    AUDIO,
    DEFAULT_AUDIO,
    DEFAULT_VISUAL,
    JOINT,
    SHOWN_NAMES,
    VISUAL,
    audio_encoder,
    visual_encoder,
)

Kind = Literal["visual", "audio", "joint"]

WEIGHTS = Path(__file__).with_name("weights")
_TRIAL_SECONDS = 3.0
"""Duration of the random clip for the measurement."""
_TRIAL_SIDE = 256
"""Short side of its frames in pixels, for encoders that accept any size."""
TRIALS = 3
_DEFAULTS: tuple[tuple[Kind, str, str], ...] = (
    ("visual", DEFAULT_VISUAL, "any clips: motion and objects"),
    ("audio", DEFAULT_AUDIO, "any clips: spectrum, rhythm and kind of sound"),
)
"""The default encoders of `avcil extract`, and their purpose."""


@dataclass(frozen=True, kw_only=True)
class CatalogEntry:
    """An encoder in the list."""

    name: str
    """Name for `avcil extract`; MODEL stands for a hub name or a folder."""
    kind: Kind
    """The option of `avcil extract` for it."""
    license: str
    weights_bytes: int | None
    """0 without weights; None if it depends on the model."""
    features: tuple[int, ...] | None
    """(T, S, D) of a visual encoder, (D,) of an audio encoder; None if it depends on the model. The D of a
    combination is the sum over its parts."""
    purpose: str
    status: str
    """What must be done before it can be used; "ready" if nothing."""
    milliseconds: float | None
    """Time to encode a decoded clip of 3 s on this machine, best of three; None if not measured."""
    is_default: bool = False
    """Whether it is a default of `avcil extract`."""


def catalog(*, speed: bool = True) -> list[CatalogEntry]:
    """All encoders, visual ones first, then audio and joint ones; defaults first.

    Args:
        speed: Whether to measure encoders that need no further installation (takes about a second).
    """
    entries = [_default(*default, speed=speed) for default in _DEFAULTS]
    kinds: tuple[tuple[Kind, Any], ...] = (("visual", VISUAL), ("audio", AUDIO), ("joint", JOINT))
    entries += [
        _single(kind, name, module, speed=speed)
        for kind, modules in kinds
        for name, module in modules.items()
    ]
    return sorted(entries, key=lambda entry: [kind for kind, _ in kinds].index(entry.kind))


def _default(kind: Kind, name: str, purpose: str, *, speed: bool) -> CatalogEntry:
    """The entry of a default combination."""
    encoder = _built(kind, name)
    infos = [part.info for part in encoder.parts]
    licenses = dict.fromkeys(info.license for info in infos if _weights_bytes(info))
    return CatalogEntry(
        name=name,
        kind=kind,
        license=", ".join(licenses),
        weights_bytes=sum(_weights_bytes(info) or 0 for info in infos),
        features=_features(encoder),
        purpose=purpose,
        status="ready",
        milliseconds=_milliseconds(encoder) if speed else None,
        is_default=True,
    )


def _single(kind: Kind, name: str, path: tuple[str, str], *, speed: bool) -> CatalogEntry:
    module, attribute = path
    info: EncoderInfo = getattr(importlib.import_module(module), attribute).info
    encoder = _built(kind, name) if info.is_built_in else None
    return CatalogEntry(
        name=SHOWN_NAMES.get(name, name),
        kind=kind,
        license=info.license,
        weights_bytes=_weights_bytes(info),
        features=info.features if encoder is None else _features(encoder),
        purpose=info.purpose,
        status=_status(info),
        milliseconds=_milliseconds(encoder) if speed and encoder is not None else None,
    )


def _built(kind: Kind, name: str) -> Any:
    return visual_encoder(name) if kind == "visual" else audio_encoder(name)


def _weights_bytes(info: EncoderInfo) -> int | None:
    if info.packaged is not None:
        return (WEIGHTS / info.packaged).stat().st_size
    return 0 if info.is_built_in else info.downloaded_bytes


def _features(encoder: Any) -> tuple[int, ...]:
    if isinstance(encoder, VisualEncoder):
        return (*encoder.token_grid, encoder.width)
    return (encoder.width,)


def _status(info: EncoderInfo) -> str:
    steps = []
    if info.extra is not None and find_spec("transformers") is None:
        steps.append(f"needs pip install 'avcil[{info.extra}]'")
    if info.needs_source:
        steps.append("give the name of a model instead of MODEL")
    elif info.downloaded_bytes is not None:
        steps.append("downloads its weights at first use")
    return "; ".join(steps) or "ready"


def _milliseconds(encoder: Any) -> float:
    """Time to encode one random clip, best of `TRIALS` after a warm-up."""
    clip = _random_clip(encoder)
    times = []
    for _ in range(TRIALS + 1):
        began = time.perf_counter()
        encoder.encode([clip])
        times.append(1000 * (time.perf_counter() - began))
    return min(times[1:])


def _random_clip(encoder: Any) -> Any:
    rng = np.random.default_rng(0)
    if not isinstance(encoder, VisualEncoder):
        return rng.uniform(-0.1, 0.1, int(_TRIAL_SECONDS * encoder.sample_rate)).astype(np.float32)
    clips = []
    for sampling in encoder.samplings:
        side = sampling.short_side or _TRIAL_SIDE
        clips.append(rng.integers(0, 256, (sampling.frames, side, side * 4 // 3, 3), dtype=np.uint8))
    return clips[0] if len(clips) == 1 else tuple(clips)
