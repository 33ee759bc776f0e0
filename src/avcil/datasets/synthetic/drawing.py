"""Drawing the frames of a demo clip: shaded, anti-aliased objects on a soft background.

Shapes: F frames, P x P pixels. Outlines are signed distances in units of the object's radius (negative inside), which
give the coverage of the pixels at an edge.
"""

from __future__ import annotations

import colorsys
from dataclasses import dataclass

import numpy as np

from avcil.datasets.synthetic.scene import FRAME_RATE, PIXELS, SECONDS, MovingObject, Scene

_HOP_HEIGHT = 15.0
_SHAKE_WIDTH = 9.0
_SWELL = 0.3
LIGHT = np.array([-0.45, -0.75])
"""Direction of the light (x, y)."""


@dataclass(frozen=True, kw_only=True)
class _Pose:
    """An object's offset from its center in pixels, rotation in radians, and scale, at one time."""

    x: float = 0.0
    y: float = 0.0
    angle: float = 0.0
    scale_x: float = 1.0
    scale_y: float = 1.0


def _pose(item: MovingObject, time: float) -> _Pose:
    """The pose at `time` in seconds. Hop: landing at whole cycles; shake, swell: a sine; spin: one turn per cycle."""
    cycle = float(item.cycles(time))
    wave = float(np.sin(2 * np.pi * cycle))
    if item.motion == "hop":
        height = abs(np.sin(np.pi * cycle))
        squash = 0.22 * max(0.0, 1 - 3.5 * height)
        return _Pose(y=_HOP_HEIGHT * (0.5 - height) + 10 * squash, scale_x=1 + squash, scale_y=1 - squash)
    if item.motion == "shake":
        return _Pose(x=_SHAKE_WIDTH * wave, angle=0.12 * wave)
    if item.motion == "spin":
        return _Pose(angle=2 * np.pi * item.direction * cycle)
    return _Pose(scale_x=1 + _SWELL * wave, scale_y=1 + _SWELL * wave)


def draw_frames(scene: Scene) -> np.ndarray:
    """All frames of a scene, uint8 RGB (F, P, P, 3)."""
    rng = np.random.default_rng(scene.noise_seed)
    background = _background(scene, rng)
    frames = []
    for index in range(round(SECONDS * FRAME_RATE)):
        frame = background.copy()
        poses = [_pose(item, index / FRAME_RATE) for item in scene.objects]
        for item, pose in zip(scene.objects, poses, strict=True):
            _draw_shadow(frame, item, pose)
        for item, pose in zip(scene.objects, poses, strict=True):
            _draw_object(frame, item, pose)
        frame += 0.008 * rng.standard_normal((PIXELS, PIXELS, 1), dtype=np.float32)
        frames.append((np.clip(frame, 0, 1) * 255 + 0.5).astype(np.uint8))
    return np.stack(frames)


def _background(scene: Scene, rng: np.random.Generator) -> np.ndarray:
    """A gradient between two similar hues with a few large soft discs, darker towards the corners."""
    hue, lightness = scene.background
    down, right = np.mgrid[0:PIXELS, 0:PIXELS].astype(np.float32) / PIXELS
    low, high = (_color(hue + shift, lightness * scale, 0.4) for shift, scale in ((0.0, 0.8), (0.08, 1.1)))
    angle = rng.uniform(0, 2 * np.pi)
    slope = 0.5 + 0.6 * (np.cos(angle) * (right - 0.5) + np.sin(angle) * (down - 0.5))
    image = low + (high - low) * slope[..., None]
    for _ in range(5):
        x, y, radius = *rng.random(2), rng.uniform(0.06, 0.2)
        disc = np.clip((radius - np.hypot(right - x, down - y)) * 18, 0, 1)
        image = image + 0.05 * disc[..., None] * rng.choice([-1, 1])
    corner = np.hypot(right - 0.5, down - 0.5)
    return (image * (1.06 - 0.45 * corner**2)[..., None]).astype(np.float32)


def _draw_shadow(frame: np.ndarray, item: MovingObject, pose: _Pose) -> None:
    """A soft shadow below the object, fainter if it is higher."""
    lift = _HOP_HEIGHT / 2 - pose.y if item.motion == "hop" else 4.0
    x, y = item.center[0] + pose.x, item.center[1] + item.radius * 1.02 + _HOP_HEIGHT / 2
    rows = slice(max(int(y) - 12, 0), min(int(y) + 13, PIXELS))
    u = (np.arange(PIXELS, dtype=np.float32) - x) / (item.radius * pose.scale_x)
    v = (np.arange(PIXELS, dtype=np.float32)[rows] - y) / 5.5
    dark = np.outer(np.exp(-1.4 * v**2), np.exp(-1.4 * u**2))
    frame[rows] *= 1 - (0.42 * np.exp(-0.045 * max(lift, 0)) * dark)[..., None]


def _draw_object(frame: np.ndarray, item: MovingObject, pose: _Pose) -> None:
    x, y = item.center[0] + pose.x, item.center[1] + pose.y
    reach = int(item.radius * 1.5 * max(pose.scale_x, pose.scale_y)) + 2
    left, right = max(int(x) - reach, 0), min(int(x) + reach + 1, PIXELS)
    top, bottom = max(int(y) - reach, 0), min(int(y) + reach + 1, PIXELS)
    u = (np.arange(left, right, dtype=np.float32) - x) / (item.radius * pose.scale_x)
    v = (np.arange(top, bottom, dtype=np.float32)[:, None] - y) / (item.radius * pose.scale_y)
    u, v = np.broadcast_arrays(np.float32(u), np.float32(v))
    angle = item.angle + pose.angle
    p, q = np.cos(angle) * u + np.sin(angle) * v, np.cos(angle) * v - np.sin(angle) * u
    distance, marked = _OUTLINES[item.shape](p, q, 1 / item.radius)
    pixel = item.radius * min(pose.scale_x, pose.scale_y)
    cover = np.clip(0.5 - distance * pixel, 0, 1)[..., None]
    paint = _shaded(item, marked[..., None], u, v, distance)
    patch = frame[top:bottom, left:right]
    patch += cover * (paint - patch)


def _shaded(
    item: MovingObject, marked: np.ndarray, u: np.ndarray, v: np.ndarray, distance: np.ndarray
) -> np.ndarray:
    """Colors of two hues, lit from above: rounded, with a dark rim, and a highlight that does not rotate."""
    base, mark = _color(item.hue, 0.52, 0.75), _color(item.hue + 0.06, 0.88, 0.8)
    paint = base + (mark - base) * marked
    light = 0.92 + 0.32 * (u * LIGHT[0] + v * LIGHT[1])
    rim = np.clip(-distance * 7, 0, 1) * 0.3 + 0.7
    highlight = 0.55 * np.exp(-((u - 0.55 * LIGHT[0]) ** 2 + (v - 0.55 * LIGHT[1]) ** 2) * 14)
    return paint * (light * rim)[..., None] + highlight[..., None]


def _color(hue: float, lightness: float, saturation: float) -> np.ndarray:
    return np.array(colorsys.hls_to_rgb(hue % 1, min(lightness, 0.95), saturation), np.float32)


def _cover(distance: np.ndarray, pixel: float) -> np.ndarray:
    return np.clip(0.5 - distance / pixel, 0, 1)


def _ball(p: np.ndarray, q: np.ndarray, pixel: float) -> tuple[np.ndarray, np.ndarray]:
    """A ball with three parallel bands."""
    band = np.abs(np.abs(q) - 0.33) - 0.15
    return np.hypot(p, q) - 1, _cover(band, pixel)


def _cube(p: np.ndarray, q: np.ndarray, pixel: float) -> tuple[np.ndarray, np.ndarray]:
    """A rounded square with two crossing bands."""
    corner = np.hypot(np.maximum(np.abs(p) - 0.68, 0), np.maximum(np.abs(q) - 0.68, 0)) - 0.2
    inside = np.minimum(np.maximum(np.abs(p), np.abs(q)) - 0.68, 0)
    return corner + inside, _cover(np.minimum(np.abs(p), np.abs(q)) - 0.17, pixel)


def _star(p: np.ndarray, q: np.ndarray, pixel: float) -> tuple[np.ndarray, np.ndarray]:
    """A six-pointed star with a smaller one inside."""
    angle = np.abs((np.arctan2(p, -q) + np.pi / 6) % (np.pi / 3) - np.pi / 6)
    radius = np.hypot(p, q)
    # the edge from a tip (1.25, 0) to the notch next to it is a line at 30 degrees to the axis
    distance = (radius * np.cos(angle) - 1.25) * 0.5 + radius * np.sin(angle) * np.sqrt(0.75)
    return distance, _cover(distance + 0.27, pixel)


def _ring(p: np.ndarray, q: np.ndarray, pixel: float) -> tuple[np.ndarray, np.ndarray]:
    """A ring with five round dots."""
    angle = (np.arctan2(p, -q) + np.pi / 5) % (2 * np.pi / 5) - np.pi / 5
    radius = np.hypot(p, q)
    stone = np.hypot(radius * np.cos(angle) - 0.74, radius * np.sin(angle)) - 0.2
    return np.abs(radius - 0.74) - 0.33, _cover(stone, pixel)


_OUTLINES = {"ball": _ball, "cube": _cube, "star": _star, "ring": _ring}
