"""The batch size of an extraction: given, or measured once and recorded in the store.

With some encoders, batch composition can change the last bits of features. So a measured size is kept when the
extraction is resumed, also on other machines.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import Literal

import numpy as np

from avcil.data.clips import Clip
from avcil.errors import InputError
from avcil.extraction.encoding import Encoders
from avcil.extraction.read_ahead import DecodeSpec, ReadClip
from avcil.features.index import locked_index
from avcil.utils.files import read_json, write_json

NAME = "batch_size.json"
_MAX_BATCH_SIZE = 1 << 16
BATCH_SIZES = (4, 8, 16, 32, 64, 128, 256)
"""Candidates for `--batch-size auto`."""
MIN_SPEEDUP = 1.05
"""A larger batch must be this much faster."""
_RANDOM_SIDE, _RANDOM_SECONDS = 256, 10.0
"""Size of the random clips on which batch sizes are measured."""


def resolve_batch_size(requested: int | Literal["auto"], store: Path, measure: Callable[[], int]) -> int:
    """The batch size of an extraction.

    Args:
        requested: A number, or "auto".
        store: Folder of the feature store.
        measure: Measures the best size, for the first call with "auto".

    Raises:
        InputError: `requested` is invalid, or the recorded size is damaged.
    """
    if requested != "auto":
        if isinstance(requested, str) or requested < 1:
            raise InputError(f"batch_size must be 1 or more, or auto; not {requested}")
        return requested
    path = store / NAME
    if not path.exists():
        measured = measure()
        with locked_index(store):  # of several processes, the first one decides
            if not path.exists():
                write_json(path, {"batch_size": measured})
    size = read_json(path)
    recorded = size.get("batch_size") if isinstance(size, dict) else None
    if type(recorded) is not int or not 1 <= recorded <= _MAX_BATCH_SIZE:
        raise InputError(f"{path} is damaged: delete it, and run the command again")
    return recorded


def measure_batch_size(encoders: Encoders) -> int:
    """The smallest of `BATCH_SIZES` whose successor is not faster by `MIN_SPEEDUP`, measured on random clips.

    The measurement ends at a size that needs too much memory.
    """
    best, rate = BATCH_SIZES[0], 0.0
    for size in BATCH_SIZES:
        batch = [_random_clip(encoders.decode_spec, number) for number in range(size)]
        try:
            encoders.encode_together(batch[:1])
            began = time.perf_counter()
            encoders.encode_together(batch)
            reached = size / (time.perf_counter() - began)
        except (MemoryError, RuntimeError) as error:
            if isinstance(error, RuntimeError) and "out of memory" not in str(error):
                raise
            break
        if reached < MIN_SPEEDUP * rate:
            break
        best, rate = size, reached
    return best


def _random_clip(spec: DecodeSpec, number: int) -> ReadClip:
    rng = np.random.default_rng(number)
    frame_sets, waveform = [], None
    for sampling in spec.samplings:
        side = sampling.short_side or _RANDOM_SIDE
        frame_sets.append(rng.integers(0, 256, (sampling.frames, side, side * 4 // 3, 3), dtype=np.uint8))
    if spec.sample_rate is not None:
        waveform = rng.uniform(-0.1, 0.1, int(_RANDOM_SECONDS * spec.sample_rate)).astype(np.float32)
    frames, extra_frames = (frame_sets[0], tuple(frame_sets[1:])) if frame_sets else (None, ())
    clip = Clip(clip_id="random", path=Path("random"), label="random", split="train")
    return ReadClip(clip=clip, frames=frames, extra_frames=extra_frames, waveform=waveform)
