"""Frames to visual tokens without learnt weights: what is seen in each cell, how it moves, and both at once.

Shapes: F frames, P working pixels a side, T time slices, S = G x G cells, C descriptor channels, D width.

    frames -> luminance and colour differences, P x P pixels (area average)
    gradients gx, gy, gt of the luminance; eight edge directions, weighted by edge strength
    every pixel channel pooled into G x G overlapping cells and T slices -> appearance (T, S, Ca), motion (T, S, Cm)
    local part:   tanh-like conjunctions (A appearance) * (M motion), A and M fixed random matrices: a token says
                  "this shape moves like that", and a sum of tokens still does
    context part: low 3-D DCT terms of the whole clip, the same in every token (as attention gives it to the tokens
                  of a transformer): what a mean over tokens keeps of the fine motion, such as lips
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar

import numpy as np

from avcil.encoders.base import VisualEncoder
from avcil.encoders.fixed import area_weights, cosine_basis, random_matrix, weight_hash
from avcil.encoders.motion import gradients, pooled, similarity_motion
from avcil.errors import InputError

PIXELS = 64
HARMONICS = 6
MOTION_FLOOR = 0.05
CONTEXT_TERMS = (6, 6, 6)
LUMA = np.array([0.299, 0.587, 0.114], np.float32)


class PatchMotion(VisualEncoder):
    """Cells of moving shapes: tokens (T, S, D) = (slices, cells * cells, width)."""

    name: ClassVar[str] = "patch-motion"
    version: ClassVar[int] = 1
    short_side: int | None = 128

    def __init__(self, *, frames: int = 32, slices: int = 4, cells: int = 5, width: int = 128) -> None:
        if not (frames >= 6 and slices >= 1 and frames % slices == 0):
            raise InputError(f"patch-motion: frames={frames} must be 6 or more and a multiple of slices={slices}")
        if not (1 <= cells <= 16 and width >= 8 and width % 2 == 0):
            raise InputError(f"patch-motion: cells={cells} must be 1 to 16, and width={width} even and 8 or more")
        self.options = {"frames": frames, "slices": slices, "cells": cells, "width": width}
        self.frames, self.width, self.token_grid = frames, width, (slices, cells * cells)
        looks = HARMONICS + 4
        context = width - 4 * looks - 4 - looks
        self._basis = [cosine_basis(n, k) for n, k in zip((frames, 32, 32), CONTEXT_TERMS, strict=True)]
        self._context = random_matrix(context, (CONTEXT_TERMS[0] - 1) * CONTEXT_TERMS[1] * CONTEXT_TERMS[2], seed=3)
        self._pool = cell_windows(PIXELS, cells)

    def encode(self, clips: Sequence[np.ndarray]) -> np.ndarray:
        """Tokens (B, T, S, D) float32 of B clips, each uint8 RGB (F, H, W, 3) of 8 x 8 pixels or more."""
        if not len(clips):
            return np.zeros((0, *self.token_grid, self.width), np.float32)
        return np.stack([self._encode_one(self._checked(clip)) for clip in clips])

    def fingerprint(self) -> dict[str, Any]:
        """Name, version, options and weight hash, as JSON."""
        weights = (*self._basis, self._context, self._pool)
        return {"name": self.name, "version": self.version, "options": self.options, "weights": weight_hash(weights)}

    def _checked(self, clip: np.ndarray) -> np.ndarray:
        clip = np.asarray(clip)
        if clip.dtype != np.uint8 or clip.ndim != 4 or clip.shape[3] != 3 or len(clip) != self.frames:
            raise InputError(
                f"patch-motion takes {self.frames} RGB frames, uint8 ({self.frames}, H, W, 3); "
                f"got {clip.dtype} {clip.shape}"
            )
        if min(clip.shape[1:3]) < 8:
            raise InputError(f"patch-motion needs frames of 8 x 8 pixels or more; got {clip.shape[1]} x {clip.shape[2]}")
        return clip

    def _encode_one(self, clip: np.ndarray) -> np.ndarray:
        colour = resized(clip, PIXELS) / 255  # (F, P, P, 3)
        grey = colour @ LUMA
        slices, cells = self.token_grid
        local = self._local_part(colour, grey)
        context = np.broadcast_to(self._clip_terms(grey), (slices, cells, self.width - local.shape[2]))
        return np.concatenate([local, context], axis=2).astype(np.float32)

    def _local_part(self, colour: np.ndarray, grey: np.ndarray) -> np.ndarray:
        gx, gy, gt = gradients(grey)
        motion = np.abs(similarity_motion(gx, gy, gt, self._pool))  # (F, S, 4)
        looks = self._looks(colour, gx, gy)  # (F, S, C)
        motion, looks = (self._sliced(part) for part in (motion, looks))
        kinds = motion**2 / (np.sum(motion**2, axis=2, keepdims=True) + MOTION_FLOOR)  # (T, S, 4)
        energy, looks = looks[..., :1], looks[..., 1:]
        gate = energy / (energy + energy.mean())
        both = (kinds[..., :, None] * looks[..., None, :]).reshape(*looks.shape[:2], -1)
        local = gate * np.concatenate([both, kinds, looks], axis=2)
        return local / (np.sqrt(np.mean(local**2)) + 1e-3)

    def _sliced(self, values: np.ndarray) -> np.ndarray:
        """Means over the frames of each slice: (F, S, C) -> (T, S, C)."""
        return values.reshape(self.token_grid[0], -1, *values.shape[1:]).mean(axis=1)

    def _looks(self, colour: np.ndarray, gx: np.ndarray, gy: np.ndarray) -> np.ndarray:
        edges = gx + 1j * gy
        strength = np.abs(edges) + 1e-6
        twice = (edges / strength) ** 2
        harmonics = [strength * twice]
        for _ in range(HARMONICS - 1):
            harmonics.append(harmonics[-1] * twice)
        chroma = colour - colour.mean(axis=3, keepdims=True)
        parts = [strength, *(part for h in harmonics for part in (h.real, h.imag))]
        sums = pooled(np.stack([*parts, strength * chroma[..., 0], strength * chroma[..., 2]]).astype(np.float32), self._pool)
        energy = sums[..., :1]
        waves = sums[..., 1 : 1 + 2 * HARMONICS] / (energy + 1e-4)
        magnitudes = np.hypot(waves[..., 0::2], waves[..., 1::2])
        return np.concatenate([energy, magnitudes * 3 , waves[..., :2], sums[..., -2:] / (energy + 1e-4)], axis=2)

    def _clip_terms(self, grey: np.ndarray) -> np.ndarray:
        small = grey.reshape(len(grey), 32, PIXELS // 32, 32, PIXELS // 32).mean(axis=(2, 4))
        for axis, basis in enumerate(self._basis):
            small = np.moveaxis(np.tensordot(basis, small, axes=(1, axis)), 0, axis)
        terms = self._context @ small[1:].ravel()  # without the still picture
        terms = terms - terms.mean()
        return terms / (terms.std() + 1e-3)


def resized(clip: np.ndarray, pixels: int) -> np.ndarray:
    """Frames (F, H, W, 3) averaged to (F, pixels, pixels, 3) float32."""
    down = area_weights(clip.shape[1], pixels)
    across = area_weights(clip.shape[2], pixels)
    rows = np.matmul(down, clip.reshape(len(clip), clip.shape[1], -1).astype(np.float32))
    rows = rows.reshape(len(clip), pixels, clip.shape[2], 3)
    return np.matmul(across, rows)


def cell_windows(pixels: int, cells: int) -> np.ndarray:
    """Overlapping triangular windows (G, P) float32, rows summing to 1."""
    spacing = pixels / cells
    centres = (np.arange(cells) + 0.5) * spacing
    windows = np.clip(1 - np.abs(np.arange(pixels) + 0.5 - centres[:, None]) / spacing, 0, None)
    return (windows / windows.sum(axis=1, keepdims=True)).astype(np.float32)
