"""The clip that checks are made with: a bright square that crosses a picture, and a tone. Shapes as in `media`."""

from __future__ import annotations

import numpy as np

FRAMES, HEIGHT, WIDTH, FPS = 32, 72, 96, 32.0
RATE = 16_000
TONE = 440.0
"""Hertz."""


def trial_frames() -> np.ndarray:
    """(F, H, W, 3) uint8."""
    frames = np.full((FRAMES, HEIGHT, WIDTH, 3), 40, dtype=np.uint8)
    for t, frame in enumerate(frames):
        frame[24:48, 2 * t : 2 * t + 24] = (230, 180, 60)
    return frames


def trial_sound() -> np.ndarray:
    """(N,) float32, as long as the frames."""
    time = np.arange(int(FRAMES / FPS * RATE)) / RATE
    return (0.3 * np.sin(2 * np.pi * TONE * time)).astype(np.float32)
