"""The resampler equals that of PyAV bit for bit."""

from __future__ import annotations

import av
import numpy as np
import pytest
from av.audio.resampler import AudioResampler

from avcil.media.resampler import BLOCK, Resampler


def noise(form: str, layout: str, channels: int, rate: int) -> list[av.AudioFrame]:
    """40 frames of 1,024 samples of noise."""
    rng = np.random.default_rng(0)
    frames = []
    for _ in range(40):
        values = rng.uniform(-0.5, 0.5, (channels, 1024)).astype(np.float32)
        if form == "s16":
            values = (values.T.reshape(1, -1) * 32767).astype(np.int16)
        frame = av.AudioFrame.from_ndarray(values, format=form, layout=layout)
        frame.sample_rate = rate
        frames.append(frame)
    return frames


@pytest.mark.parametrize(
    ("form", "layout", "channels", "rate"),
    [("fltp", "mono", 1, 16_000), ("fltp", "stereo", 2, 44_100), ("s16", "5.1", 6, 48_000)],
)
def test_resampled_bits_equal_pyav(form, layout, channels, rate):
    """Also at the same rate, and for other sample formats and several channels."""
    frames = noise(form, layout, channels, rate)
    theirs = AudioResampler(format="flt", layout=layout, rate=16_000, frame_size=BLOCK)
    ours = Resampler(frames[0], 16_000)
    expected, got = [], []
    for frame in [*frames, None]:
        expected += [piece.to_ndarray() for piece in theirs.resample(frame)]
        got += [piece.to_ndarray() for piece in ours.resample(frame)]
    assert len(expected) == len(got) >= 1
    for one, other in zip(expected, got, strict=True):
        assert np.array_equal(one, other)
