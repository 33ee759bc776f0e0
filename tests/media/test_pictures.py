"""Writing clips, spectrograms, attention overlays and PNG."""

from __future__ import annotations

import base64
import io
import os
import subprocess
import sys

import numpy as np
import pytest
from PIL import Image

from avcil.errors import InputError
from avcil.media import draw_attention, encode_png, log_mel, png_data_uri, probe, read_clip, write_video
from avcil.media.attention_footer import ABOVE_UNIFORM, BELOW_UNIFORM, footer
from avcil.media.attention_overlay import MIN_SPAN, AttentionScale, enlarge
from avcil.media.overlay import colors
from avcil.media.spectrogram import mel_triangles


def clip_bytes(path, make, **extra):
    """A small clip's bytes."""
    write_video(path, (make.frame(i) for i in range(10)), 25, **extra)
    return path.read_bytes()


WRITE_CLIPS = """
import sys
import numpy as np
from avcil.media import write_video

waveform = np.random.default_rng(0).uniform(-1, 1, 6400).astype(np.float32)
for width in (32, 48, 128, 144):
    rows, columns = np.mgrid[:32, :width]
    frames = [np.stack([5 * columns + 9 * i, 7 * rows, rows + columns], -1).astype(np.uint8) for i in range(12)]
    write_video(f"{sys.argv[1]}/{width}.mp4", frames, 25, waveform=waveform, sample_rate=16000)
"""


def test_written_files_are_deterministic(tmp_path):
    """Equal input gives equal bytes, whatever the memory contained before; so the demo clips are always the same.

    The GNU C library fills allocated memory with a byte that depends on MALLOC_PERTURB_. Width 128 is that of the demo.
    """
    for name in ("1", "170"):
        (tmp_path / name).mkdir()
        subprocess.run(
            [sys.executable, "-c", WRITE_CLIPS, str(tmp_path / name)],
            env=os.environ | {"MALLOC_PERTURB_": name},
            check=True,
            timeout=120,
        )
    first = {path.name: path.read_bytes() for path in (tmp_path / "1").iterdir()}
    assert len(first) == 4
    differing = [name for name, content in first.items() if (tmp_path / "170" / name).read_bytes() != content]
    assert differing == []


def test_written_properties(tmp_path, make):
    """Size, rate and duration are those requested, for integer and fractional frame rates."""
    for fps in (25, 30000 / 1001, 12.5):
        write_video(tmp_path / "a.mp4", (make.frame(i) for i in range(20)), fps)
        info = probe(tmp_path / "a.mp4")
        assert info.fps == pytest.approx(fps)
        assert info.duration == pytest.approx(20 / fps, abs=1e-3)
        assert (info.width, info.height, info.video_codec, info.audio_codec) == (48, 32, "h264", None)


def test_audio_longer_than_video(tmp_path, make):
    """The whole audio is written."""
    tone = (0.5 * np.sin(np.arange(16000) / 9)).astype(np.float32)
    clip_bytes(tmp_path / "a.mp4", make, waveform=tone, sample_rate=16000)
    waveform = read_clip(tmp_path / "a.mp4", sample_rate=16000).waveform
    assert np.abs(waveform[2048:14000] - tone[2048:14000]).max() < 0.02


@pytest.mark.parametrize(
    ("frames", "extra", "words"),
    [
        ([], {}, "no frame"),
        ([np.zeros((31, 48, 3), np.uint8)], {}, "even"),
        ([np.zeros((32, 48, 3), np.uint8), np.zeros((32, 46, 3), np.uint8)], {}, "frame 1"),
        ([np.zeros((32, 48, 3))], {}, "uint8"),
        (
            [np.zeros((32, 48, 3), np.uint8)],
            {"waveform": np.zeros(9, np.float32), "sample_rate": 9999},
            "one of AAC's",
        ),
        ([np.zeros((32, 48, 3), np.uint8)], {"waveform": np.zeros(9, np.float32)}, "together"),
        ([np.zeros((32, 48, 3), np.uint8)], {"waveform": np.full(9, np.nan), "sample_rate": 8000}, "numbers"),
    ],
)
def test_invalid_content_is_rejected(tmp_path, frames, extra, words):
    """There is an error, and neither a file nor a partial file remains."""
    with pytest.raises(InputError, match=words):
        write_video(tmp_path / "a.mp4", frames, 25, **extra)
    assert list(tmp_path.iterdir()) == []


def test_failed_write_keeps_the_old_file(tmp_path, make):
    """If writing fails, the existing clip is unchanged."""
    before = clip_bytes(tmp_path / "a.mp4", make)

    def broken():
        yield make.frame(0)
        raise KeyError("the generator broke")

    with pytest.raises(KeyError, match="the generator broke"):
        write_video(tmp_path / "a.mp4", broken(), 25)
    assert (tmp_path / "a.mp4").read_bytes() == before


@pytest.mark.parametrize("hertz", [200, 1000, 5000])
def test_spectrogram_of_a_tone(hertz):
    """The energy of a sine is in the band whose triangle contains its frequency."""
    cells = log_mel(np.sin(2 * np.pi * hertz * np.arange(16000) / 16000), 16000)
    assert cells.shape == (64, 100)
    assert cells.dtype == np.float32
    band = int(np.argmax(mel_triangles(64, 512, 16000)[:, round(hertz * 512 / 16000)]))
    assert abs(int(np.argmax(cells[:, 50])) - band) <= 1


def test_spectrogram_of_a_click():
    """Column t is centered at (t + 0.5) hops."""
    waveform = np.zeros(16000)
    waveform[8080] = 1
    assert int(np.argmax(log_mel(waveform, 16000).sum(0))) == 50


def test_spectrogram_limits():
    """Values are decibels relative to the maximum, with a lower limit for silence; no band is empty."""
    noise = np.random.default_rng(0).normal(size=4000)
    cells = log_mel(noise, 8000, bands=40)
    assert cells.max() == 0
    assert np.allclose(cells, log_mel(100 * noise, 8000, bands=40), atol=1e-4)
    assert (log_mel(np.zeros(4000), 8000) == -80).all()
    assert (mel_triangles(128, 512, 16000).sum(1) > 0).all()
    with pytest.raises(InputError):
        log_mel(np.zeros(0), 8000)


def test_attention_colors_match_the_weights():
    """The colors are those of the legend from the smallest to the largest weight; frames keep their shape."""
    gray = np.full((40, 60, 3), 128, np.uint8)
    maps = np.zeros((2, 2, 3))
    maps[0, 0, 2], maps[1] = 1.0, 1 / 6
    (peaked, flat), scale = draw_attention([gray, gray], maps)
    legend = scale.legend(601, 1)[0]
    assert (scale.low, scale.high) == (0, 6)
    assert peaked.shape == gray.shape
    assert (peaked[0, -1] == legend[-1]).all()
    assert (peaked[-1, 0] == legend[0]).all()
    np.testing.assert_allclose(flat, np.broadcast_to(legend[100], flat.shape), atol=1)  # 1: uniform attention


def test_attention_interpolation_is_isotropic():
    """Around a peak, values on axes and diagonals are equal; with bilinear interpolation they differ by 0.08."""
    grid = np.zeros((5, 5))
    grid[2, 2] = 1
    values = enlarge(grid, 500, 500)
    axis, diagonal = values[249, 249 + 50], values[249 + 35, 249 + 35]
    assert axis == pytest.approx(diagonal, abs=0.02)
    assert values.max() == pytest.approx(1, abs=1e-3)


def test_noise_in_a_uniform_map_is_not_enlarged():
    """Differences of a thousandth do not cover the whole color scale."""
    noise = 1 + 1e-3 * np.random.default_rng(0).standard_normal((1, 5, 5))
    scale = AttentionScale.of(noise / noise.sum())
    assert scale.high - scale.low >= MIN_SPAN
    assert scale.position(1.0) == pytest.approx(0.5, abs=0.05)


@pytest.mark.parametrize("maps", [np.zeros((2, 3)), np.full((1, 2, 2), np.nan), np.zeros((0, 2, 2))])
def test_invalid_attention_is_rejected(maps):
    """A map of another shape, values that are not finite, and frames of another dtype are errors."""
    frame = np.zeros((8, 8, 3), np.uint8)
    with pytest.raises(InputError, match="attention maps"):
        draw_attention([frame], maps)
    with pytest.raises(InputError, match="a frame is"):
        draw_attention([frame.astype(float)], np.full((1, 2, 2), 0.25))


def test_footer_shows_temporal_weights():
    """Weights of 24% and 27% have bars of different colors, and the current slice has the brightest bar."""
    scale = AttentionScale(low=0.5, high=2.0)
    strips = [footer(256, scale, np.array([0.24, 0.27, 0.25, 0.24]), current) for current in range(2)]
    assert all(strip.shape[0] % 2 == 0 and strip.shape[1:] == (256, 3) for strip in strips)
    right = [strip[:, 128:] for strip in strips]
    assert (right[0] == BELOW_UNIFORM).all(-1).any()
    assert not (right[0] == ABOVE_UNIFORM).all(-1).any()
    assert (right[1] == ABOVE_UNIFORM).all(-1).any()


@pytest.mark.parametrize("shape", [(1, 1), (7, 5), (64, 48)])
def test_png_is_lossless(shape):
    """Pillow reads the written pixels bit for bit."""
    picture = np.random.default_rng(0).integers(0, 256, (*shape, 3), dtype=np.uint8)
    assert (np.asarray(Image.open(io.BytesIO(encode_png(picture)))) == picture).all()
    kind, data = png_data_uri(picture).split(",")
    assert kind == "data:image/png;base64"
    assert base64.b64decode(data) == encode_png(picture)


def test_color_map_equals_that_of_matplotlib():
    """The package has its own copy of the table, so that explanations do not need matplotlib."""
    colormaps = pytest.importorskip("matplotlib").colormaps
    assert (colors(np.arange(256) / 255) == colormaps["inferno"](np.arange(256), bytes=True)[:, :3]).all()
