"""The content of a demo clip: which objects it shows, how each moves, and which one makes a sound.

A clip shows three objects of different shapes, each with another motion. One of them makes a sound, and each motion has
its own sound: hopping rings a bell at each landing, shaking rattles at each change of direction, spinning whistles up
and down, swelling blows a horn. So the audio determines which motion to look for, and the video which object has it.
The object that makes the sound is drawn like the others, so the video alone leaves three possibilities.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

_SHAPES = ("ball", "cube", "star", "ring")
SOUNDS = ("bell", "rattle", "whistle", "horn")
"""Sound i goes with MOTIONS[i]."""
MOTIONS = ("hop", "shake", "spin", "swell")
PIXELS = 128
FRAME_RATE = 20
SAMPLE_RATE = 16_000
SECONDS = 1.6
_PERIODS = {"hop": (0.45, 0.70), "shake": (0.45, 0.70), "spin": (1.10, 1.70), "swell": (0.60, 0.95)}
"""Minimum and maximum duration of a cycle in seconds, by motion."""
_POSITIONS = ((33.0, 37.0), (95.0, 37.0), (33.0, 97.0), (95.0, 97.0))
"""Where objects can be, in pixels from the left and the top; three of the four are used."""


@dataclass(frozen=True, kw_only=True)
class MovingObject:
    """An object of a clip."""

    shape: str
    motion: str
    center: tuple[float, float]
    """Pixels from the left and the top."""
    radius: float
    """Pixels."""
    hue: float
    """0 to 1."""
    angle: float
    """Rotation at rest in radians."""
    period: float
    """Duration of a cycle in seconds."""
    phase: float
    """Fraction of a cycle that is over at time 0."""
    direction: int
    """Direction of rotation: 1 or -1."""

    def cycles(self, time: np.ndarray | float) -> np.ndarray | float:
        """Number of cycles until `time` in seconds; a hop lands at each whole number."""
        return time / self.period + self.phase


@dataclass(frozen=True, kw_only=True)
class Scene:
    """The parameters of a clip; `objects[0]` makes the sound."""

    objects: tuple[MovingObject, ...]
    background: tuple[float, float]
    """Hue and lightness, 0 to 1."""
    pitch: float
    """0 to 1: from the lowest pitch of the sound to 0.4 octaves above."""
    loudness: float
    """Peak amplitude, 0 to 1."""
    noise: float
    """Root mean square of the noise, relative to that of the sound."""
    noise_seed: int
    """Seed of the noise in video and audio."""


def demo_class_names() -> list[str]:
    """The 16 classes in the order of learning, four per step: each step has one new sound, with all shapes.

    >>> demo_class_names()[:5]
    ['ball-bell', 'cube-bell', 'star-bell', 'ring-bell', 'ball-rattle']
    """
    return [f"{item}-{sound}" for sound in SOUNDS for item in _SHAPES]


def draw_scene(class_name: str, key: tuple[int, ...]) -> Scene:
    """A random scene of a class; the same key gives the same scene.

    >>> [item.shape for item in draw_scene("ball-bell", (0, 0, 0, 0)).objects][0]
    'ball'
    """
    shape, sound = class_name.split("-")
    motion = MOTIONS[SOUNDS.index(sound)]
    rng = np.random.default_rng(key)
    shapes = [shape, *rng.permutation([other for other in _SHAPES if other != shape])[:2]]
    motions = [motion, *rng.permutation([other for other in MOTIONS if other != motion])[:2]]
    positions = rng.permutation(len(_POSITIONS))[:3]
    hues = (rng.random() + np.array([0.0, 0.33, 0.67]) + rng.uniform(-0.08, 0.08, 3)) % 1
    objects = [
        _draw_object(rng, str(a), str(b), _POSITIONS[position], float(hue))
        for a, b, position, hue in zip(shapes, motions, positions, rng.permutation(hues), strict=True)
    ]
    return Scene(
        objects=tuple(objects),
        background=(float(rng.random()), float(rng.uniform(0.15, 0.85))),
        pitch=float(rng.random()),
        loudness=float(rng.uniform(0.35, 0.8)),
        noise=float(rng.uniform(0.02, 0.1)),
        noise_seed=int(rng.integers(2**31)),
    )


def _draw_object(
    rng: np.random.Generator, shape: str, motion: str, position: tuple[float, float], hue: float
) -> MovingObject:
    right, down = np.array(position) + rng.uniform(-5, 5, 2)
    return MovingObject(
        shape=shape,
        motion=motion,
        center=(float(right), float(down)),
        radius=float(rng.uniform(16, 19.5)),
        hue=hue,
        angle=float(rng.uniform(-0.3, 0.3)),
        period=float(rng.uniform(*_PERIODS[motion])),
        phase=float(rng.random()),
        direction=int(rng.choice([-1, 1])),
    )
