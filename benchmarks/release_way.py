"""Frames and audio of a clip as in AV-CIL's release: JPEG and WAV files written by ffmpeg, then read."""

from __future__ import annotations

import subprocess
import wave
from pathlib import Path

import numpy as np
from PIL import Image
from scipy.signal import resample_poly


def read_by_files(path: Path, folder: Path, *, audio: str) -> tuple[np.ndarray, np.ndarray, int]:
    """Frames (16, H, W, 3) uint8 at a short side of 224, waveform (N,) at 11,430 Hz, size of `folder` in bytes."""
    ffmpeg = ["ffmpeg", "-v", "error", "-nostdin", "-y", "-i", str(path)]
    subprocess.run([*ffmpeg, "-vf", "fps=10", "-q:v", "2", str(folder / "%06d.jpg")], check=True)
    if audio == "moviepy":
        write_by_moviepy(path, folder / "sound.wav")
    else:
        subprocess.run([*ffmpeg, "-vn", "-ar", "44100", "-ac", "2", str(folder / "sound.wav")], check=True)
    files = sorted(folder.glob("*.jpg"))
    chosen = np.linspace(0, len(files) - 1, 16).round().astype(int)
    frames = np.stack([read_jpeg(files[place]) for place in chosen])
    with wave.open(str(folder / "sound.wav")) as file:
        samples = np.frombuffer(file.readframes(file.getnframes()), np.int16).reshape(-1, 2)
    heard = resample_poly(samples.mean(axis=1) / 32768, 127, 490).astype(np.float32)
    return frames, heard, sum(file.stat().st_size for file in folder.iterdir())


def read_jpeg(path: Path) -> np.ndarray:
    """(H, W, 3) with a short side of 224."""
    with Image.open(path) as image:
        scale = 224 / min(image.size)
        size = (round(image.width * scale), round(image.height * scale))
        return np.asarray(image.convert("RGB").resize(size, Image.Resampling.BILINEAR))


def write_by_moviepy(path: Path, wav: Path) -> None:
    """As in the release, for both major versions of moviepy."""
    try:
        from moviepy import VideoFileClip
    except ImportError:
        from moviepy.editor import VideoFileClip
    with VideoFileClip(str(path)) as clip:
        clip.audio.write_audiofile(str(wav), fps=44_100, logger=None)
