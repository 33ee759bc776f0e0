"""Combination of several encoders by concatenation of their features.

Shapes: B clips, T time slices, S spatial tokens per slice, D_p width of part p, D total width.

    y_1 = x_1,   y_p = (x_p - center_p) r_1 / r_p  for p > 1,   r_p = sqrt(mean of scale_p^2)

The features of the first part are not changed. Those of the others are centered and scaled to the same typical spread,
so that no part dominates in methods without feature weights. `center` and `scale` are shipped with each encoder. Each
part has one factor, which preserves the proportions between its features.

Visual tokens are pooled to the coarsest grid of the parts: the mean over consecutive time slices, and the area-weighted
mean over regions of the frame.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from avcil.encoders.base import AudioEncoder, Encoder, Frames, VisualEncoder
from avcil.encoders.fixed import area_weights, weight_hash
from avcil.encoders.parts import JOINER, MAX_PARTS, part_name
from avcil.errors import InputError
from avcil.utils.frame_sampling import FrameSampling

VERSION = 1


class _Combined(Encoder):
    """Base class of both kinds of combinations."""

    def __init__(self, parts: Sequence[Encoder]) -> None:
        """
        Args:
            parts: At least two encoders of one modality; combinations are replaced by their parts.

        Raises:
            InputError: There are too few or too many parts, or two with the same name and source.
        """
        self._parts = tuple(part for given in parts for part in given.parts)
        if not 2 <= len(self._parts) <= MAX_PARTS:
            raise InputError(f"a combination has 2 to {MAX_PARTS} encoders, not {len(self._parts)}")
        self._fingerprints = [part.fingerprint() for part in self._parts]
        names = [part_name(fingerprint) for fingerprint in self._fingerprints]
        twice = sorted({name for name in names if names.count(name) > 1})
        if twice:
            raise InputError(f"the encoder {', '.join(twice)} is in the combination twice. Name it once")
        self.name = JOINER.join(part.name for part in self._parts)
        self.width = sum(part.width for part in self._parts)
        self.libraries = tuple(sorted({name for part in self._parts for name in part.libraries}))
        self._shift, self._factors = _shift_and_factors(self._parts)
        scales = zip(self._parts, self._factors, strict=True)
        self.scale = np.concatenate([part.scale * factor for part, factor in scales])
        rest = np.zeros(self.width - self._parts[0].width, np.float32)
        self.center = np.concatenate([self._parts[0].center, rest])
        self.runs_on_gpu = any(part.runs_on_gpu for part in self._parts)

    @property
    def parts(self) -> tuple[Encoder, ...]:
        return self._parts

    @property
    def precision(self) -> str:
        """ "bfloat16" if any part uses it, else "float32"."""
        precisions = {getattr(part, "precision", "float32") for part in self._parts}
        return "bfloat16" if "bfloat16" in precisions else "float32"

    def to(self, device: str | None = None, precision: str | None = None) -> None:
        """Move the parts that have a model; see `avcil.encoders.device` for the arguments."""
        movable: list[Any] = [part for part in self._parts if part.runs_on_gpu]
        for part in movable:
            part.to(device, precision)

    def fingerprint(self) -> dict[str, Any]:
        """Name, version, the fingerprint and the width of each part, and the hash of shifts and factors."""
        return {
            "name": self.name,
            "version": VERSION,
            "options": {},
            "weights": weight_hash([*self._shift, np.array(self._factors, np.float32)]),
            "parts": self._fingerprints,
            "widths": [part.width for part in self._parts],
        }

    def _joined(self, features: Sequence[np.ndarray]) -> np.ndarray:
        """Features (..., D) of the parts' (..., D_p)."""
        given = zip(features, self._shift, self._factors, strict=True)
        return np.concatenate([(values - shift) * factor for values, shift, factor in given], axis=-1)


def _shift_and_factors(parts: Sequence[Encoder]) -> tuple[list[np.ndarray], list[np.float32]]:
    """For each part, the shift (D_p,) float32 and the factor of its features."""
    spreads = [np.sqrt(np.mean(np.square(part.scale, dtype=np.float64))) for part in parts]
    shift = [np.zeros(parts[0].width, np.float32), *(part.center for part in parts[1:])]
    return shift, [np.float32(spreads[0] / spread) for spread in spreads]


class CombinedVisual(_Combined, VisualEncoder):
    """Concatenation of visual tokens along D."""

    def __init__(self, parts: Sequence[VisualEncoder]) -> None:
        super().__init__(parts)
        own: list[Any] = list(self._parts)
        self._samplings = tuple(dict.fromkeys(part.samplings[0] for part in own))
        self._sampling_of = [self._samplings.index(part.samplings[0]) for part in own]
        first = self._samplings[0]
        self.frames, self.short_side, self.frame_choice = first.frames, first.short_side, first.frame_choice
        self._grid = tuple(min(part.spatial_grid[axis] for part in own) for axis in (0, 1))
        slices = min(part.token_grid[0] for part in own)
        for part in own:
            if part.token_grid[0] % slices:
                raise InputError(
                    f"{self.name}: {part.name} has {part.token_grid[0]} time slices, which is not a multiple of the "
                    f"{slices} of another part. Choose encoders or options with matching time slices"
                )
        self.token_grid = (slices, self._grid[0] * self._grid[1])

    @property
    def samplings(self) -> tuple[FrameSampling, ...]:
        return self._samplings

    @property
    def spatial_grid(self) -> tuple[int, int]:
        return self._grid[0], self._grid[1]

    def encode(self, clips: Sequence[Frames]) -> np.ndarray:
        """Tokens (B, T, S, D) float32 of B clips, each with frames (F, H, W, 3) for each of `samplings`."""
        for clip in clips:
            if len(self._samplings) > 1 and (
                not isinstance(clip, tuple) or len(clip) != len(self._samplings)
            ):
                raise InputError(
                    f"{self.name} needs frames of {len(self._samplings)} samplings for each clip"
                )
        given = [clip if isinstance(clip, tuple) else (clip,) for clip in clips]
        features = []
        for part, number in zip(self._parts, self._sampling_of, strict=True):
            tokens = part.encode([frames[number] for frames in given])  # type: ignore[attr-defined]
            features.append(self._pooled(tokens, part.spatial_grid))  # type: ignore[attr-defined]
        return self._joined(features)

    def _pooled(self, tokens: np.ndarray, grid: tuple[int, int]) -> np.ndarray:
        """A part's tokens (B, t, s, D) on the common grid: (B, T, S, D)."""
        batch, slices, _, width = tokens.shape
        if slices != self.token_grid[0]:
            tokens = tokens.reshape(batch, self.token_grid[0], -1, *tokens.shape[2:]).mean(axis=2)
        if grid != self._grid:
            down, across = (area_weights(old, new) for old, new in zip(grid, self._grid, strict=True))
            spread = tokens.reshape(batch, self.token_grid[0], *grid, width)
            tokens = np.einsum("ih,jw,bthwd->btijd", down, across, spread)
        return tokens.reshape(batch, *self.token_grid, width)


class CombinedAudio(_Combined, AudioEncoder):
    """Concatenation of audio vectors."""

    def __init__(self, parts: Sequence[AudioEncoder]) -> None:
        super().__init__(parts)
        rates = {part.name: part.sample_rate for part in self._parts}  # type: ignore[attr-defined]
        if len(set(rates.values())) > 1:
            wanted = ", ".join(f"{name} {rate} Hz" for name, rate in rates.items())
            raise InputError(
                f"{self.name}: the parts have different sample rates ({wanted}). Choose encoders with the same rate"
            )
        self.sample_rate = next(iter(rates.values()))

    def encode(self, clips: Sequence[np.ndarray]) -> np.ndarray:
        """Vectors (B, D) float32 of B mono waveforms, each float32 (N,) in [-1, 1]; lengths may differ."""
        return self._joined([part.encode(clips) for part in self._parts])  # type: ignore[attr-defined]
