"""Plays a demo clip's sound, tied to the motion of the thing that sounds.

Shapes: N samples.
"""

from __future__ import annotations

import numpy as np

from avcil.datasets.synthetic.scene import MOTIONS, SAMPLE_RATE, SECONDS, SOUNDS, Scene, Thing

BELL_PARTIALS = ((1.0, 1.0, 5.0), (2.0, 0.6, 7.0), (2.76, 0.45, 10.0), (5.4, 0.25, 16.0))
"""Frequency over the lowest, strength, decay per second: a small bell's, roughly."""


def play_sound(scene: Scene) -> np.ndarray:
    """The sound of a scene, float32 (N,) in [-1, 1], with a soft noise beside it."""
    thing = scene.things[0]
    random = np.random.default_rng([scene.grain_seed, 1])
    time = np.arange(round(SECONDS * SAMPLE_RATE)) / SAMPLE_RATE
    sound = PLAYERS[SOUNDS[MOTIONS.index(thing.motion)]](thing, time, 2.0 ** (0.4 * scene.pitch), random)
    noise = np.convolve(random.normal(size=len(time) + 15), np.ones(16) / 16, mode="valid")
    sound = sound + scene.noise * noise * np.sqrt(np.mean(sound**2) / np.mean(noise**2))
    return (scene.loudness * sound / np.abs(sound).max()).astype(np.float32)


def _bell(thing: Thing, time: np.ndarray, pitch: float, random: np.random.Generator) -> np.ndarray:
    """A stroke at every landing."""
    since = _seconds_since(thing, time, first=0.0, every=1.0)
    partials = [
        strength * np.sin(2 * np.pi * 520 * pitch * ratio * since) * np.exp(-decay * since)
        for ratio, strength, decay in BELL_PARTIALS
    ]
    return np.sum(partials, axis=0)


def _rattle(thing: Thing, time: np.ndarray, pitch: float, random: np.random.Generator) -> np.ndarray:
    """A burst of beads at every turn of the shaking: noise above about 2 kHz, decaying."""
    since = _seconds_since(thing, time, first=0.25, every=0.5)
    noise = random.normal(size=len(time) + 2)
    beads = noise[1:-1] - 0.5 * (noise[:-2] + noise[2:])
    grains = random.random(len(time)) < 0.25
    return beads * (0.3 + grains) * np.exp(-(18 + 10 * pitch) * since)


def _whistle(thing: Thing, time: np.ndarray, pitch: float, random: np.random.Generator) -> np.ndarray:
    """A tone that goes up and down once a turn."""
    hertz = 900 * pitch * (1 + 0.22 * np.sin(2 * np.pi * thing.cycles(time)))
    phase = 2 * np.pi * np.cumsum(hertz) / SAMPLE_RATE
    return np.sin(phase) + 0.12 * np.sin(2 * phase)


def _horn(thing: Thing, time: np.ndarray, pitch: float, random: np.random.Generator) -> np.ndarray:
    """Two low reed tones, a fifth apart, the louder the larger the thing is."""
    swell = 0.5 + 0.5 * np.sin(2 * np.pi * thing.cycles(time))
    tones = sum(
        np.sin(2 * np.pi * 130 * pitch * base * harmonic * time) / harmonic
        for base in (1.0, 1.5)
        for harmonic in range(1, 9)
    )
    return tones * (0.08 + 0.92 * swell**1.5)


def _seconds_since(thing: Thing, time: np.ndarray, *, first: float, every: float) -> np.ndarray:
    """Seconds since the last event, events being at cycles `first`, `first + every`, ..."""
    return np.asarray((thing.cycles(time) - first) % every * thing.period)


PLAYERS = {"bell": _bell, "rattle": _rattle, "whistle": _whistle, "horn": _horn}
