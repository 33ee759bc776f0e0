"""What happens in one demo clip: which things are there, how each moves, and which one is heard.

A clip shows three things of different kinds, each moving in another way. One of them sounds, and every way
of moving has its own sound: hopping rings a bell at each landing, shaking rattles at each turn, spinning
whistles up and down, swelling blows a horn. So the sound tells which motion to look for, and the picture
which thing moves so. The sounding thing is drawn like the others, so the picture alone cannot tell which of
the three it is.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

THINGS = ("ball", "cube", "star", "ring")
SOUNDS = ("bell", "rattle", "whistle", "horn")
"""Sound i goes with MOTIONS[i]."""
MOTIONS = ("hop", "shake", "spin", "swell")
PIXELS = 128
FRAME_RATE = 20
SAMPLE_RATE = 16_000
SECONDS = 1.6
PERIODS = {"hop": (0.45, 0.70), "shake": (0.45, 0.70), "spin": (1.10, 1.70), "swell": (0.60, 0.95)}
"""Seconds a motion takes before it repeats, lowest and highest."""
MIDDLES = ((33.0, 37.0), (95.0, 37.0), (33.0, 97.0), (95.0, 97.0))
"""Pixels right and down of the places where things may be; three of the four are used."""


@dataclass(frozen=True, kw_only=True)
class Thing:
    """One moving thing of a clip."""

    kind: str
    motion: str
    middle: tuple[float, float]
    """Pixels right and down."""
    radius: float
    """Pixels."""
    hue: float
    """0 to 1 around the color circle."""
    turn: float
    """Radians it is turned at rest."""
    period: float
    """Seconds."""
    phase: float
    """0 to 1, the part of a period gone at time 0."""
    direction: int
    """1 or -1: which way it spins."""

    def cycles(self, time: np.ndarray | float) -> np.ndarray | float:
        """Periods gone at `time` seconds; a hop lands at every whole number."""
        return time / self.period + self.phase


@dataclass(frozen=True, kw_only=True)
class Scene:
    """One clip before it is drawn and played; `things[0]` is the one that sounds."""

    things: tuple[Thing, ...]
    background: tuple[float, float]
    """Hue and lightness, 0 to 1."""
    pitch: float
    """How high the sound is, 0 to 1: from its lowest pitch to 0.4 octaves above."""
    loudness: float
    """Peak of the sound, 0 to 1."""
    noise: float
    """Noise beside the sound, as a part of its root mean square."""
    grain_seed: int
    """Seed of the grain in picture and sound."""


def demo_class_names() -> list[str]:
    """The 16 classes in the order of learning, four a step: each step brings a new sound, with every thing.

    >>> demo_class_names()[:5]
    ['ball-bell', 'cube-bell', 'star-bell', 'ring-bell', 'ball-rattle']
    """
    return [f"{thing}-{sound}" for sound in SOUNDS for thing in THINGS]


def draw_scene(class_name: str, key: tuple[int, ...]) -> Scene:
    """A scene of this class; the same key gives the same scene.

    >>> [thing.kind for thing in draw_scene("ball-bell", (0, 0, 0, 0)).things][0]
    'ball'
    """
    kind, sound = class_name.split("-")
    motion = MOTIONS[SOUNDS.index(sound)]
    random = np.random.default_rng(key)
    kinds = [kind, *random.permutation([other for other in THINGS if other != kind])[:2]]
    motions = [motion, *random.permutation([other for other in MOTIONS if other != motion])[:2]]
    places = random.permutation(len(MIDDLES))[:3]
    hues = (random.random() + np.array([0.0, 0.33, 0.67]) + random.uniform(-0.08, 0.08, 3)) % 1
    things = [
        _draw_thing(random, str(a), str(b), MIDDLES[place], float(hue))
        for a, b, place, hue in zip(kinds, motions, places, random.permutation(hues), strict=True)
    ]
    return Scene(
        things=tuple(things),
        background=(float(random.random()), float(random.uniform(0.15, 0.85))),
        pitch=float(random.random()),
        loudness=float(random.uniform(0.35, 0.8)),
        noise=float(random.uniform(0.02, 0.1)),
        grain_seed=int(random.integers(2**31)),
    )


def _draw_thing(
    random: np.random.Generator, kind: str, motion: str, place: tuple[float, float], hue: float
) -> Thing:
    right, down = np.array(place) + random.uniform(-5, 5, 2)
    return Thing(
        kind=kind,
        motion=motion,
        middle=(float(right), float(down)),
        radius=float(random.uniform(16, 19.5)),
        hue=hue,
        turn=float(random.uniform(-0.3, 0.3)),
        period=float(random.uniform(*PERIODS[motion])),
        phase=float(random.random()),
        direction=int(random.choice([-1, 1])),
    )
