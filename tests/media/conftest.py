"""Clips whose frames contain their own number, and the folder of real files."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest

REAL = Path(__file__).resolve().parents[2].parent / "shared" / "data" / "media"


def numbered(number: int, height: int = 32, width: int = 48) -> np.ndarray:
    """A frame whose left and right halves are the two hexadecimal digits of its number, as gray levels."""
    frame = np.empty((height, width, 3), np.uint8)
    frame[:, : width // 2] = number // 16 * 16 + 4
    frame[:, width // 2 :] = number % 16 * 16 + 4
    return frame


def number_of(frame: np.ndarray) -> int:
    """The number in a decoded frame."""
    height, width = frame.shape[:2]
    left, right = frame[height // 2, width // 4], frame[height // 2, 3 * width // 4]
    return int(round((left.mean() - 4) / 16) * 16 + round((right.mean() - 4) / 16))


def write_track(
    path, frames, stamps, *, time_base=Fraction(1, 1000), codec="libx264", pix_fmt="yuv420p", **extra
):
    """Write frames with given time stamps through PyAV; `extra`: aspect, matrix, gop, options, coding (the codec's)."""
    with av.open(str(path), "w", options=extra.get("options", {})) as container:
        stream = container.add_stream(codec, rate=25)
        stream.height, stream.width = frames[0].shape[:2]
        stream.pix_fmt, stream.time_base = pix_fmt, time_base
        stream.codec_context.time_base = time_base
        if codec == "libx264":
            stream.options = {"crf": "0"}
            stream.gop_size = extra.get("gop", 12)
        if "coding" in extra:
            stream.options = extra["coding"]
        if "aspect" in extra:
            stream.codec_context.sample_aspect_ratio = extra["aspect"]
        if "matrix" in extra:
            stream.set_display_matrix(extra["matrix"])
        for frame, stamp in zip(frames, stamps, strict=True):
            picture = av.VideoFrame.from_ndarray(frame, format="rgb24")
            picture.pts, picture.time_base = stamp, time_base
            container.mux(stream.encode(picture))
        container.mux(stream.encode(None))


@pytest.fixture(scope="session")
def real() -> Path:
    """The folder of unusual real files; tests that need it are skipped if it is missing."""
    if not REAL.is_dir():
        pytest.skip("the real clips are not beside the checkout")
    return REAL


@pytest.fixture(scope="session")
def make():
    """The helper functions of this file as attributes of one object."""

    class Make:
        frame = staticmethod(numbered)
        number = staticmethod(number_of)
        track = staticmethod(write_track)

    return Make
