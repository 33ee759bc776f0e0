"""The built-in visual encoder: features of motion in the token where it occurs."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from avcil.encoders.edges import edge_symmetry
from avcil.encoders.motion import similarity_motion
from avcil.encoders.patch_motion import LOCAL_WIDTH, PatchMotion, cell_windows
from avcil.errors import InputError

ENCODER = PatchMotion()


def texture(right: np.ndarray, down: np.ndarray) -> np.ndarray:
    return np.sin(right / 3.1) * np.cos(down / 4.3) + np.sin(down / 3.7 + right / 9)


def moving(change: str, frames: int = 5, pixels: int = 48) -> np.ndarray:
    """Frames (F, P, P) of a texture with one of the four motions, by a small amount per frame."""
    y, x = np.mgrid[0:pixels, 0:pixels] - (pixels - 1) / 2
    pictures = []
    for t in range(frames):
        grow, turn = (1 + 0.02 * t if change == "growth" else 1.0), (0.02 * t if change == "turn" else 0.0)
        dx, dy = (0.4 * t if change == "right" else 0.0), (0.4 * t if change == "down" else 0.0)
        u = (np.cos(turn) * (x - dx) + np.sin(turn) * (y - dy)) / grow
        v = (np.cos(turn) * (y - dy) - np.sin(turn) * (x - dx)) / grow
        pictures.append(texture(u, v))
    return np.stack(pictures).astype(np.float32)


def frames_of(seed: int, height: int = 60, width: int = 80) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (32, height, width, 3), dtype=np.uint8)


@pytest.mark.parametrize(("index", "change"), list(enumerate(["right", "down", "growth", "turn"])))
def test_motion_features_have_the_right_sign(index: int, change: str) -> None:
    """A known motion of the whole frame gives this feature with its sign, and small other ones."""
    grey = moving(change)
    gradients = (np.gradient(grey, axis=axis) for axis in (2, 1, 0))
    motion = similarity_motion(*gradients, cell_windows(48, 1))[1:-1].mean(axis=(0, 1))
    assert np.argmax(np.abs(motion)) == index
    assert motion[index] > 0
    assert np.abs(np.delete(motion, index)).max() < 0.35 * motion[index]


@pytest.mark.parametrize(("order", "lines"), [(1, 1), (2, 2), (3, 3)])
def test_edge_symmetry_has_the_right_order(order: int, lines: int) -> None:
    """Stripes have order 1, a grid of squares 2, of triangles 3, at any rotation."""
    y, x = np.mgrid[0:96, 0:96]
    angles = 0.3 + np.arange(lines) * np.pi / lines
    waves = [np.cos((x * np.cos(a) + y * np.sin(a)) / 5) ** 20 for a in angles]
    grey = np.max(waves, axis=0)[None].astype(np.float32)
    gx, gy = np.gradient(grey, axis=2), np.gradient(grey, axis=1)
    _, shares, _ = edge_symmetry(gx, gy, cell_windows(96, 1))
    assert np.argmax(shares[0, 0]) == order - 1
    np.testing.assert_allclose(shares.sum(axis=2), 1, atol=1e-5)


@settings(deadline=None, max_examples=5)
@given(height=st.integers(8, 90), width=st.integers(8, 90))
def test_finite_tokens_for_any_size(height: int, width: int) -> None:
    """Frames may have any size and aspect ratio."""
    tokens = ENCODER.encode([frames_of(0, height, width)])
    assert tokens.shape == (1, *ENCODER.token_grid, ENCODER.width)
    assert tokens.dtype == np.float32
    assert np.isfinite(tokens).all()
    assert np.abs(tokens).max() < 1000


def test_static_and_uniform_frames_are_finite() -> None:
    """Frames without motion or edges must not give NaN."""
    clips = [np.full((32, 64, 64, 3), value, np.uint8) for value in (0, 255)]
    assert np.isfinite(ENCODER.encode(clips)).all()


def test_batch_equals_single_clips() -> None:
    """The batch size does not change the bits; sizes of frames may differ in a batch."""
    clips = [frames_of(1), frames_of(2, 40, 40)]
    together = PatchMotion().encode(clips)
    assert np.array_equal(together, np.concatenate([ENCODER.encode([clip]) for clip in clips]))


def test_tokens_are_local() -> None:
    """A square moving in the upper left changes the tokens there, not those of the lower right."""
    clip = np.zeros((32, 100, 100, 3), np.uint8)
    for index in range(32):
        left = 5 + index // 4
        clip[index, 8:28, left : left + 20] = 200
    energy = (ENCODER.encode([clip])[0, ..., :LOCAL_WIDTH] ** 2).sum(axis=(0, 2)).reshape(5, 5)
    assert energy[:3, :3].sum() > 20 * energy[3:, 3:].sum()


@pytest.mark.parametrize(
    "bad",
    [
        np.zeros((16, 64, 64, 3), np.uint8),
        np.zeros((32, 64, 64), np.uint8),
        np.zeros((32, 64, 64, 3), np.float32),
        np.zeros((32, 4, 64, 3), np.uint8),
    ],
)
def test_invalid_frames_are_rejected(bad: np.ndarray) -> None:
    """Too few frames, no color, another dtype, and too small frames each give a clear message."""
    with pytest.raises(InputError, match="patch-motion"):
        ENCODER.encode([bad])


@pytest.mark.parametrize("options", [{"frames": 12, "slices": 5}, {"cells": 0}, {"width": 10}])
def test_invalid_options_are_rejected(options: dict[str, int]) -> None:
    """The error for contradicting options has their values."""
    with pytest.raises(InputError, match="patch-motion"):
        PatchMotion(**options)
