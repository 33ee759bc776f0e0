"""A visual encoder without learned weights: appearance and motion of each cell, and their products.

Shapes: F frames, T time slices, S = G x G cells, K symmetry orders of edges (edges.py), D width.

    motion      translation in x and y, scaling and rotation of each cell (motion.py), as shares of their squares:
                (T, S, 4)
    look        symmetry orders of the cell's edges and none of them, as shares: (T, S, K + 1); slant; color
    local part  products of all look and motion shares, such as "stripes that rotate", then motion, look, slant and
                color; each times a gate that is 0 for cells without edges
    context     low terms of the 3-D DCT of the whole clip without its static part, standardized, and a fixed random
                projection of them; the same in each token. It preserves fine motion, such as that of lips, in the
                mean over tokens
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

import numpy as np

from avcil.encoders.base import VisualEncoder
from avcil.encoders.edges import ORDERS, edge_color, edge_symmetry
from avcil.encoders.fixed import area_weights, cosine_basis, random_matrix, weight_hash
from avcil.encoders.info import EncoderInfo
from avcil.encoders.motion import similarity_motion
from avcil.encoders.one_thread import one_thread
from avcil.errors import InputError

MAX_FRAMES, _MAX_WIDTH = 1024, 8192
_LOOK_PIXELS = 96
_MOTION_PIXELS = 48
_CONTEXT_PIXELS = 24
_LUMA = np.array([0.299, 0.587, 0.114], np.float32) / 255
_MOTION_FLOOR = 0.05
"""Squared motion in pixels per frame below which a cell counts as static."""
_CONTEXT_TERMS = (6, 6, 6)
"""Time, down, across."""
_CONTEXT_SCALE = 0.25
_LOCAL_SCALE = 8.0
"""Factor of the local part, which is near 0 in most tokens. Without it, the context dominates the mean over tokens, and
networks learn slowly."""
LOCAL_WIDTH = 4 * (ORDERS + 1) + 4 + (ORDERS + 1) + 4


class PatchMotion(VisualEncoder):
    """Tokens (T, S, D) = (slices, cells * cells, width) of moving shapes."""

    name: str = "patch-motion"
    info: ClassVar[EncoderInfo] = EncoderInfo(license="no weights", purpose="motion: lips, gestures, balls")
    short_side: int | None = 128

    def __init__(self, *, frames: int = 32, slices: int = 4, cells: int = 5, width: int = 128) -> None:
        if not (slices >= 1 and 8 <= frames <= MAX_FRAMES and frames % (2 * slices) == 0):
            raise InputError(
                f"patch-motion: frames={frames} must be 8 to {MAX_FRAMES} and a multiple of "
                f"2 x slices={slices}"
            )
        if not (1 <= cells <= 16 and LOCAL_WIDTH < width <= _MAX_WIDTH):
            raise InputError(
                f"patch-motion: cells={cells} must be 1 to 16, width={width} more than {LOCAL_WIDTH} and at "
                f"most {_MAX_WIDTH}"
            )
        self.options = {"frames": frames, "slices": slices, "cells": cells, "width": width}
        self.frames, self.width, self.token_grid = frames, width, (slices, cells * cells)
        sizes = zip((frames, _CONTEXT_PIXELS, _CONTEXT_PIXELS), _CONTEXT_TERMS, strict=True)
        self._basis = [cosine_basis(length, count) for length, count in sizes]
        terms = (_CONTEXT_TERMS[0] - 1) * _CONTEXT_TERMS[1] * _CONTEXT_TERMS[2]
        self._context = random_matrix(width - LOCAL_WIDTH, terms, seed=3)
        self._look_windows = cell_windows(_LOOK_PIXELS, cells)
        self._motion_windows = cell_windows(_MOTION_PIXELS, cells)

    def encode(self, clips: Sequence[np.ndarray]) -> np.ndarray:
        """Tokens (B, T, S, D) float32 of B clips, each uint8 RGB (F, H, W, 3) of 8 x 8 pixels or more."""
        if not len(clips):
            return np.zeros((0, *self.token_grid, self.width), np.float32)
        with one_thread():
            return np.stack([self._encode_one(self._checked(clip)) for clip in clips])

    def _weights_hash(self) -> str:
        return weight_hash((*self._basis, self._context, self._look_windows, self._motion_windows))

    def _checked(self, clip: np.ndarray) -> np.ndarray:
        clip = np.asarray(clip)
        if clip.dtype != np.uint8 or clip.ndim != 4 or clip.shape[3] != 3 or len(clip) != self.frames:
            raise InputError(
                f"patch-motion needs {self.frames} RGB frames, uint8 ({self.frames}, H, W, 3); "
                f"got {clip.dtype} {clip.shape}"
            )
        if min(clip.shape[1:3]) < 8:
            height, width = clip.shape[1:3]
            raise InputError(f"patch-motion needs frames of 8 x 8 pixels or more; got {height} x {width}")
        return clip

    def _encode_one(self, clip: np.ndarray) -> np.ndarray:
        gray = resized((clip @ _LUMA)[..., None], _MOTION_PIXELS)[..., 0]  # (F, P, P)
        kinds = self._motion_shares(gray)
        gate, orders, rest = self._look(resized(clip[::2], _LOOK_PIXELS) / 255)
        both = gate * (orders[..., :, None] * kinds[..., None, :]).reshape(*self.token_grid, -1)
        both *= _LOCAL_SCALE / (np.sqrt(np.mean(both**2)) + 1e-3)
        parts = [both, *(_LOCAL_SCALE * gate * part for part in (2 * kinds, 2 * orders, rest))]
        context = np.broadcast_to(self._clip_terms(gray), (*self.token_grid, len(self._context)))
        return np.concatenate([*parts, context], axis=2).astype(np.float32)

    def _motion_shares(self, gray: np.ndarray) -> np.ndarray:
        """(T, S, 4), each row with a sum below 1, near 0 without motion."""
        gx, gy, gt = np.gradient(gray, axis=2), np.gradient(gray, axis=1), np.gradient(gray, axis=0)
        squares = self._sliced(np.abs(similarity_motion(gx, gy, gt, self._motion_windows))) ** 2
        return squares / (squares.sum(axis=2, keepdims=True) + _MOTION_FLOOR)

    def _look(self, color: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Gate (T, S, 1), symmetry shares (T, S, K + 1), slant and color (T, S, 4)."""
        gray = color @ (_LUMA * 255)
        gx, gy = np.gradient(gray, axis=2), np.gradient(gray, axis=1)
        strength, orders, slant = edge_symmetry(gx, gy, self._look_windows)
        hue = edge_color(color, np.hypot(gx, gy), self._look_windows)
        strength = self._sliced(strength[..., None])
        gate = strength**2 / (strength**2 + (2 * strength.mean()) ** 2 + 1e-9)
        return gate, self._sliced(orders), self._sliced(np.concatenate([slant, hue], axis=2))

    def _sliced(self, values: np.ndarray) -> np.ndarray:
        """Means over the frames of each slice: (frames, S, C) -> (T, S, C)."""
        return values.reshape(self.token_grid[0], -1, *values.shape[1:]).mean(axis=1)

    def _clip_terms(self, gray: np.ndarray) -> np.ndarray:
        step = _MOTION_PIXELS // _CONTEXT_PIXELS
        terms = gray.reshape(len(gray), _CONTEXT_PIXELS, step, _CONTEXT_PIXELS, step).mean(axis=(2, 4))
        for axis, basis in enumerate(self._basis):
            terms = np.moveaxis(np.tensordot(basis, terms, axes=(1, axis)), 0, axis)
        projected = self._context @ terms[1:].ravel()  # terms[0] is the static part
        projected = projected - projected.mean()
        return _CONTEXT_SCALE * projected / (projected.std() + 1e-3)


def resized(clip: np.ndarray, pixels: int) -> np.ndarray:
    """Frames (F, H, W, C) averaged to (F, pixels, pixels, C) float32."""
    count, height, width, channels = clip.shape
    down, across = area_weights(height, pixels), area_weights(width, pixels)
    rows = np.matmul(down, clip.reshape(count, height, -1).astype(np.float32))
    return np.matmul(across, rows.reshape(count, pixels, width, channels))


def cell_windows(pixels: int, cells: int) -> np.ndarray:
    """Overlapping raised cosines (G, P) float32, 1.5 cells to either side, rows summing to 1."""
    spacing = pixels / cells
    centers = (np.arange(cells) + 0.5) * spacing
    distance = np.abs(np.arange(pixels) + 0.5 - centers[:, None]) / (1.5 * spacing)
    windows = np.where(distance < 1, 0.5 + 0.5 * np.cos(np.pi * distance), 0.0)
    return (windows / windows.sum(axis=1, keepdims=True)).astype(np.float32)
