"""Whether clips can be written and read, picture and sound."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from avcil.doctor.finding import CheckResult
from avcil.doctor.trial_clip import FPS, FRAMES, RATE, TONE, trial_frames, trial_sound

LEAST_PSNR = 30.0
"""Decibels; x264 at the writer's quality gives about 40 here."""
TONE_ERROR = 5.0
"""Hertz."""


def decoding() -> Iterator[CheckResult]:
    """Write a clip as H.264 and AAC, read it, and compare."""
    import av

    from avcil.media import read_clip, write_video

    frames, sound = trial_frames(), trial_sound()
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "trial.mp4"
        write_video(path, frames, FPS, sound=sound, sample_rate=RATE)
        size = path.stat().st_size
        clip = read_clip(path, frames=FRAMES, sample_rate=RATE)
    if clip.frames is None or clip.sound is None:
        yield _broken("; ".join(clip.problems))
        return
    quality, tone = _psnr(frames, clip.frames), _loudest(clip.sound)
    figure = (
        f"{size} bytes of H.264 and AAC written and read: {len(clip.frames)} frames, PSNR {quality:.0f} dB; "
        f"{len(clip.sound) / RATE:.2f} s of sound, tone of {tone:.0f} Hz"
    )
    if quality < LEAST_PSNR or abs(tone - TONE) > TONE_ERROR:
        yield _broken(f"{figure}, where {TONE:.0f} Hz and {LEAST_PSNR:.0f} dB or more were due")
        return
    yield CheckResult(status="ok", what="decode", figure=f"{figure}; PyAV {av.__version__}")


def _broken(figure: str) -> CheckResult:
    return CheckResult(
        status="broken", what="decode", figure=figure, advice="pip install --force-reinstall --no-deps av"
    )


def _psnr(one: np.ndarray, other: np.ndarray) -> float:
    """Decibels between two uint8 pictures."""
    error = np.mean((one.astype(np.float64) - other) ** 2)
    return float(10 * np.log10(255**2 / max(error, 1e-9)))


def _loudest(sound: np.ndarray) -> float:
    """Hertz of the strongest tone of (N,) samples."""
    spectrum = np.abs(np.fft.rfft(sound * np.hanning(len(sound))))
    return float(np.fft.rfftfreq(len(sound), 1 / RATE)[spectrum.argmax()])
