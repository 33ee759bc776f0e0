"""Writing clips, spectrograms, overlays and PNG."""

from __future__ import annotations

import base64
import io

import numpy as np
import pytest
from PIL import Image

from avcil.errors import InputError
from avcil.media import encode_png, heat_overlay, log_mel, png_data_uri, probe, read_clip, write_video
from avcil.media.overlay import colours
from avcil.media.spectrogram import mel_triangles


def clip_bytes(path, make, **extra):
    """A small clip's bytes."""
    write_video(path, (make.frame(i) for i in range(10)), 25, **extra)
    return path.read_bytes()


def test_same_input_same_bytes(tmp_path, make):
    """The demonstration clips, and all that is learnt from them, are the same on every run."""
    sound = {"sound": np.random.default_rng(0).uniform(-1, 1, 6400).astype(np.float32), "sample_rate": 16000}
    assert clip_bytes(tmp_path / "a.mp4", make, **sound) == clip_bytes(tmp_path / "b.mp4", make, **sound)


def test_what_was_written(tmp_path, make):
    """Size, rate and length are those asked for, at whole and broken frame rates."""
    for fps in (25, 30000 / 1001, 12.5):
        write_video(tmp_path / "a.mp4", (make.frame(i) for i in range(20)), fps)
        info = probe(tmp_path / "a.mp4")
        assert info.fps == pytest.approx(fps)
        assert info.duration == pytest.approx(20 / fps, abs=1e-3)
        assert (info.width, info.height, info.video_codec, info.audio_codec) == (48, 32, "h264", None)


def test_sound_longer_than_picture(tmp_path, make):
    """All of the sound is written."""
    tone = (0.5 * np.sin(np.arange(16000) / 9)).astype(np.float32)
    clip_bytes(tmp_path / "a.mp4", make, sound=tone, sample_rate=16000)
    sound = read_clip(tmp_path / "a.mp4", sample_rate=16000).sound
    assert np.abs(sound[2048:14000] - tone[2048:14000]).max() < 0.02


@pytest.mark.parametrize(
    ("frames", "extra", "words"),
    [
        ([], {}, "no frame"),
        ([np.zeros((31, 48, 3), np.uint8)], {}, "even"),
        ([np.zeros((32, 48, 3), np.uint8), np.zeros((32, 46, 3), np.uint8)], {}, "frame 1"),
        ([np.zeros((32, 48, 3))], {}, "uint8"),
        (
            [np.zeros((32, 48, 3), np.uint8)],
            {"sound": np.zeros(9, np.float32), "sample_rate": 9999},
            "one of AAC's",
        ),
        ([np.zeros((32, 48, 3), np.uint8)], {"sound": np.zeros(9, np.float32)}, "together"),
        ([np.zeros((32, 48, 3), np.uint8)], {"sound": np.full(9, np.nan), "sample_rate": 8000}, "numbers"),
    ],
)
def test_what_cannot_be_written(tmp_path, frames, extra, words):
    """Refused in words, and no file is left behind, not even a part."""
    with pytest.raises(InputError, match=words):
        write_video(tmp_path / "a.mp4", frames, 25, **extra)
    assert list(tmp_path.iterdir()) == []


def test_a_failure_keeps_the_old_file(tmp_path, make):
    """A clip that cannot be finished leaves the one before it as it was."""
    before = clip_bytes(tmp_path / "a.mp4", make)

    def broken():
        yield make.frame(0)
        raise KeyError("the generator broke")

    with pytest.raises(KeyError, match="the generator broke"):
        write_video(tmp_path / "a.mp4", broken(), 25)
    assert (tmp_path / "a.mp4").read_bytes() == before


@pytest.mark.parametrize("hertz", [200, 1000, 5000])
def test_a_tone_lights_its_band(hertz):
    """A sine's energy lies in the band whose triangle holds its frequency."""
    cells = log_mel(np.sin(2 * np.pi * hertz * np.arange(16000) / 16000), 16000)
    assert cells.shape == (64, 100)
    assert cells.dtype == np.float32
    band = int(np.argmax(mel_triangles(64, 512, 16000, 20.0)[:, round(hertz * 512 / 16000)]))
    assert abs(int(np.argmax(cells[:, 50])) - band) <= 1


def test_a_click_lights_its_column():
    """Column t is centred at (t + 0.5) hops."""
    sound = np.zeros(16000)
    sound[8080] = 1
    assert int(np.argmax(log_mel(sound, 16000).sum(0))) == 50


def test_spectrogram_limits():
    """Decibels below the loudest cell, bounded; silence is the bound; no band is empty."""
    noise = np.random.default_rng(0).normal(size=4000)
    cells = log_mel(noise, 8000, bands=40)
    assert cells.max() == 0
    assert np.allclose(cells, log_mel(100 * noise, 8000, bands=40), atol=1e-4)
    assert (log_mel(np.zeros(4000), 8000) == -80).all()
    assert (mel_triangles(128, 512, 16000, 20.0).sum(1) > 0).all()
    with pytest.raises(InputError):
        log_mel(np.zeros(0), 8000)


def test_overlay_marks_the_most_attended():
    """Full weight where attention peaks, none where it is least; a flat map draws nothing."""
    frame = np.full((40, 60, 3), 100, np.uint8)
    attention = np.zeros((2, 3))
    attention[0, 2] = 0.7
    drawn = heat_overlay(frame, attention, 1.0)
    assert drawn.shape == frame.shape
    assert (drawn[0, -1] == colours(np.ones(1))[0]).all()
    assert (drawn[-1, 0] == 100).all()
    assert (heat_overlay(frame, np.full((2, 3), 0.1)) == frame).all()
    assert (heat_overlay(frame, attention, 0.0) == frame).all()
    for wrong in (np.zeros(3), np.full((2, 2), np.nan)):
        with pytest.raises(InputError):
            heat_overlay(frame, wrong)


@pytest.mark.parametrize("shape", [(1, 1), (7, 5), (64, 48)])
def test_png(shape):
    """Pillow reads back what was written, bit for bit."""
    picture = np.random.default_rng(0).integers(0, 256, (*shape, 3), dtype=np.uint8)
    assert (np.asarray(Image.open(io.BytesIO(encode_png(picture)))) == picture).all()
    kind, data = png_data_uri(picture).split(",")
    assert kind == "data:image/png;base64"
    assert base64.b64decode(data) == encode_png(picture)
