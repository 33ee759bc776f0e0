"""Synthesizing the audio of a demo clip, synchronized with the motion of the object that makes the sound.

Shapes: N samples.
"""

from __future__ import annotations

import numpy as np

from avcil.datasets.synthetic.scene import MOTIONS, SAMPLE_RATE, SECONDS, SOUNDS, MovingObject, Scene

_BELL_PARTIALS = ((1.0, 1.0, 5.0), (2.0, 0.6, 7.0), (2.76, 0.45, 10.0), (5.4, 0.25, 16.0))
"""Frequency relative to the lowest, amplitude, and decay per second; roughly those of a small bell."""


def synthesize_audio(scene: Scene) -> np.ndarray:
    """The audio of a scene, float32 (N,) in [-1, 1], with weak noise."""
    item = scene.objects[0]
    rng = np.random.default_rng([scene.noise_seed, 1])
    time = np.arange(round(SECONDS * SAMPLE_RATE)) / SAMPLE_RATE
    sound = _SYNTHESIZERS[SOUNDS[MOTIONS.index(item.motion)]](item, time, 2.0 ** (0.4 * scene.pitch), rng)
    noise = np.convolve(rng.normal(size=len(time) + 15), np.ones(16) / 16, mode="valid")
    sound = sound + scene.noise * noise * np.sqrt(np.mean(sound**2) / np.mean(noise**2))
    return (scene.loudness * sound / np.abs(sound).max()).astype(np.float32)


def _bell(item: MovingObject, time: np.ndarray, pitch: float, rng: np.random.Generator) -> np.ndarray:
    """A stroke at each landing."""
    since = _seconds_since(item, time, first=0.0, every=1.0)
    partials = [
        strength * np.sin(2 * np.pi * 520 * pitch * ratio * since) * np.exp(-decay * since)
        for ratio, strength, decay in _BELL_PARTIALS
    ]
    return np.sum(partials, axis=0)


def _rattle(item: MovingObject, time: np.ndarray, pitch: float, rng: np.random.Generator) -> np.ndarray:
    """A decaying burst of noise above about 2 kHz at each change of direction."""
    since = _seconds_since(item, time, first=0.25, every=0.5)
    noise = rng.normal(size=len(time) + 2)
    beads = noise[1:-1] - 0.5 * (noise[:-2] + noise[2:])
    grains = rng.random(len(time)) < 0.25
    return beads * (0.3 + grains) * np.exp(-(18 + 10 * pitch) * since)


def _whistle(item: MovingObject, time: np.ndarray, pitch: float, rng: np.random.Generator) -> np.ndarray:
    """A tone that goes up and down once per turn."""
    hertz = 900 * pitch * (1 + 0.22 * np.sin(2 * np.pi * item.cycles(time)))
    phase = 2 * np.pi * np.cumsum(hertz) / SAMPLE_RATE
    return np.sin(phase) + 0.12 * np.sin(2 * phase)


def _horn(item: MovingObject, time: np.ndarray, pitch: float, rng: np.random.Generator) -> np.ndarray:
    """Two low tones, a fifth apart, louder when the object is larger."""
    swell = 0.5 + 0.5 * np.sin(2 * np.pi * item.cycles(time))
    tones = sum(
        np.sin(2 * np.pi * 130 * pitch * base * harmonic * time) / harmonic
        for base in (1.0, 1.5)
        for harmonic in range(1, 9)
    )
    return tones * (0.08 + 0.92 * swell**1.5)


def _seconds_since(item: MovingObject, time: np.ndarray, *, first: float, every: float) -> np.ndarray:
    """Seconds since the last event; events are at the cycles `first`, `first + every`, ..."""
    return np.asarray((item.cycles(time) - first) % every * item.period)


_SYNTHESIZERS = {"bell": _bell, "rattle": _rattle, "whistle": _whistle, "horn": _horn}
