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
from avcil.errors import InputError

PIXELS = 64
DIRECTIONS = 8
APPEARANCE = DIRECTIONS + 4
MOTION = 2 * DIRECTIONS + 3
CONTEXT_TERMS = (6, 6, 6)
LUMA = np.array([0.299, 0.587, 0.114], np.float32) / 255


class PatchMotion(VisualEncoder):
    """Cells of moving shapes: tokens (T, S, D) = (slices, cells * cells, width)."""

    name: ClassVar[str] = "patch-motion"
    version: ClassVar[int] = 1
    short_side: int | None = 128

    def __init__(self, *, frames: int = 16, slices: int = 4, cells: int = 5, width: int = 128) -> None:
        if not (frames >= 6 and slices >= 1 and frames % slices == 0):
            raise InputError(f"patch-motion: frames={frames} must be 6 or more and a multiple of slices={slices}")
        if not (1 <= cells <= 16 and width >= 8 and width % 2 == 0):
            raise InputError(f"patch-motion: cells={cells} must be 1 to 16, and width={width} even and 8 or more")
        self.options = {"frames": frames, "slices": slices, "cells": cells, "width": width}
        self.frames, self.width, self.token_grid = frames, width, (slices, cells * cells)
        local, context = width // 2, width - width // 2
        self._look = random_matrix(local, APPEARANCE, seed=1)
        self._move = random_matrix(local, MOTION, seed=2)
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
        weights = (self._look, self._move, *self._basis, self._context, self._pool)
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
        colour = resized(clip, PIXELS)  # (F, P, P, 3)
        grey = colour @ LUMA
        slices, cells = self.token_grid
        looks, moves = self._cell_channels(colour / 255, grey)
        conjunction = (looks @ self._look.T) * (moves @ self._move.T)
        conjunction /= np.sqrt(np.mean(conjunction**2)) + 1e-3
        context = np.broadcast_to(self._clip_terms(grey), (slices, cells, len(self._context)))
        return np.concatenate([conjunction, context], axis=2).astype(np.float32)

    def _cell_channels(self, colour: np.ndarray, grey: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        gx, gy = np.gradient(grey, axis=2), np.gradient(grey, axis=1)
        gt = np.gradient(grey, axis=0)
        strength = np.sqrt(gx**2 + gy**2)
        bins = direction_weights(gx, gy, strength)  # (F, P, P, directions)
        moving = np.abs(gt)[..., None]
        away = colour - colour.mean(axis=(0, 1, 2))
        looks = np.concatenate([bins * moving * 30, away * moving, strength[..., None] * moving], axis=3)
        up, down = np.maximum(gt, 0)[..., None], np.maximum(-gt, 0)[..., None]
        flow = np.stack([np.abs(gt), -gt * gx / (strength + 0.02), -gt * gy / (strength + 0.02)], axis=3)
        moves = np.concatenate([bins * up * 30, bins * down * 30, flow], axis=3)
        return self._pooled(looks), self._pooled(moves)

    def _pooled(self, channels: np.ndarray) -> np.ndarray:
        """(F, P, P, C) -> (T, S, C), each channel scaled to mean square 1 over the clip."""
        slices, cells = self.token_grid
        by_slice = channels.reshape(slices, -1, *channels.shape[1:]).mean(axis=1)
        rows = np.tensordot(self._pool, by_slice, axes=(1, 1))  # (G, T, P, C)
        both = np.tensordot(self._pool, rows, axes=(1, 2))  # (G across, G down, T, C)
        tokens = both.transpose(2, 1, 0, 3).reshape(slices, cells, -1)
        return tokens / (np.sqrt(np.mean(tokens**2)) + 1e-6)

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


def direction_weights(gx: np.ndarray, gy: np.ndarray, strength: np.ndarray) -> np.ndarray:
    """Each pixel's edge strength, shared between the two nearest of the undirected edge directions: (..., 8)."""
    position = np.arctan2(gy, gx) * (DIRECTIONS / np.pi) % DIRECTIONS
    distance = np.abs(position[..., None] - np.arange(DIRECTIONS, dtype=np.float32))
    return np.clip(1 - np.minimum(distance, DIRECTIONS - distance), 0, None) * strength[..., None]


def cell_windows(pixels: int, cells: int) -> np.ndarray:
    """Overlapping triangular windows (G, P) float32, rows summing to 1."""
    spacing = pixels / cells
    centres = (np.arange(cells) + 0.5) * spacing
    windows = np.clip(1 - np.abs(np.arange(pixels) + 0.5 - centres[:, None]) / spacing, 0, None)
    return (windows / windows.sum(axis=1, keepdims=True)).astype(np.float32)
