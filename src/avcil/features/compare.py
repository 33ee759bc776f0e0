"""Comparing two feature stores clip by clip, for example own features with released ones.

Shapes: T time slices, S spatial tokens per slice, D width.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from avcil.errors import InputError
from avcil.features.store import FeatureStore
from avcil.utils.csv_files import write_csv
from avcil.utils.listing import quoted
from avcil.utils.progress import Progress

_MAX_CLIPS = 5
"""Maximum number of clips with the smallest cosines in the text."""


@dataclass(frozen=True, kw_only=True)
class StoreComparison:
    """Cosine similarities of the clips that are in both stores."""

    a: Path
    b: Path
    shared: tuple[str, ...]
    """Ids of the clips in both, sorted."""
    only_a: tuple[str, ...]
    only_b: tuple[str, ...]
    cosines: Mapping[str, np.ndarray]
    """(clips,) by array name, in the order of `shared`; NaN if one of the two is zero."""
    largest_difference: Mapping[str, float]
    """Largest absolute difference by array name, except for pooled ones."""
    pooled: tuple[str, ...]
    """Array names compared by the mean over tokens, since their grids differ."""

    def to_dict(self) -> dict[str, Any]:
        """The result as JSON."""
        return {
            "a": str(self.a),
            "b": str(self.b),
            "shared": len(self.shared),
            "only_a": list(self.only_a),
            "only_b": list(self.only_b),
            "pooled": list(self.pooled),
            "largest_difference": dict(self.largest_difference),
            "cosine": {
                name: dict(zip(self.shared, map(_or_none, values), strict=True))
                for name, values in self.cosines.items()
            },
        }

    def text(self) -> str:
        """The result as text."""
        lines = [f"{len(self.shared)} clips in both {self.a} and {self.b}"]
        for folder, ids in ((self.a, self.only_a), (self.b, self.only_b)):
            if ids:
                lines.append(f"{len(ids)} only in {folder}: {quoted(ids)}")
        for name, values in self.cosines.items():
            lines += ["", *self._array_lines(name, values)]
        return "\n".join(lines)

    def _array_lines(self, name: str, values: np.ndarray) -> list[str]:
        known = values[~np.isnan(values)]
        what = f"{name}, mean over tokens (the grids differ)" if name in self.pooled else name
        if not len(known):
            return [f"{what}: one of the two is zero for each clip, so there is no cosine"]
        summary = f"cosine min {known.min():.6f}, median {np.median(known):.6f}, mean {known.mean():.6f}"
        lines = [f"{what}: {summary}"]
        if name in self.largest_difference:
            lines[0] += f"; largest difference {self.largest_difference[name]:.3g}"
        if len(known) < len(values):
            lines.append(f"  {len(values) - len(known)} clips without a cosine: one of the two is zero")
        for position in np.argsort(np.where(np.isnan(values), np.inf, values), kind="stable")[:_MAX_CLIPS]:
            if values[position] < 1 - 1e-6:
                lines.append(f"  {values[position]:.6f}  {self.shared[position]}")
        return lines

    def write_csv(self, path: Path) -> None:
        """Write one line for each shared clip: clip_id and a cosine for each array, or an empty cell."""
        columns = [["" if np.isnan(value) else f"{value:.9f}" for value in v] for v in self.cosines.values()]
        write_csv(path, ["clip_id", *self.cosines], zip(self.shared, *columns, strict=True))


def compare(a: Path | str, b: Path | str) -> StoreComparison:
    """Compare the clips with the same id in two stores.

    If token grids differ, the means over tokens are compared; widths must be equal.

    Raises:
        InputError: There is no common clip or modality, or widths differ.
    """
    first, second = FeatureStore(a), FeatureStore(b)
    rows_a = {clip.clip_id: row for row, clip in enumerate(first.clips)}
    rows_b = {clip.clip_id: row for row, clip in enumerate(second.clips)}
    shared = sorted(rows_a.keys() & rows_b.keys())
    if not shared:
        raise InputError(
            f"{a} and {b} share no clip id: {first.clips[0].clip_id!r} is one of the former, "
            f"{second.clips[0].clip_id!r} one of the latter. Extract both from the same clip list, or "
            "add a column clip_id"
        )
    names = [name for name in first.manifest.arrays() if name in second.manifest.arrays()]
    if not names:
        raise InputError(
            f"{a} has {' and '.join(first.manifest.arrays())} features, {b} only "
            f"{' and '.join(second.manifest.arrays())}; there is nothing to compare"
        )
    pairs = [(rows_a[key], rows_b[key]) for key in shared]
    pooled = tuple(name for name in names if _grids_differ(first, second, name))
    cosines, largest = {}, {}
    for name in names:
        cosines[name], difference = _cosines(first, second, name, pairs, pooled=name in pooled)
        if name not in pooled:
            largest[name] = difference
    return StoreComparison(
        a=first.path,
        b=second.path,
        shared=tuple(shared),
        only_a=tuple(sorted(rows_a.keys() - rows_b.keys())),
        only_b=tuple(sorted(rows_b.keys() - rows_a.keys())),
        cosines=cosines,
        largest_difference=largest,
        pooled=pooled,
    )


def _grids_differ(first: FeatureStore, second: FeatureStore, name: str) -> bool:
    shape, other_shape = first.manifest.arrays()[name], second.manifest.arrays()[name]
    if shape[-1] != other_shape[-1]:
        raise InputError(
            f"the {name} features of {first.path} have width {shape[-1]}, those of {second.path} {other_shape[-1]}: "
            "they come from different encoders and cannot be compared"
        )
    return shape != other_shape


def _cosines(
    first: FeatureStore, second: FeatureStore, name: str, pairs: Sequence[tuple[int, int]], *, pooled: bool
) -> tuple[np.ndarray, float]:
    values, largest = np.empty(len(pairs)), 0.0
    with Progress(len(pairs), f"{name} clips") as progress:
        for position, (row_a, row_b) in enumerate(pairs):
            a, b = (_vector(store, name, row, pooled) for store, row in ((first, row_a), (second, row_b)))
            lengths = np.linalg.norm(a) * np.linalg.norm(b)
            values[position] = a @ b / lengths if lengths else np.nan
            largest = max(largest, float(np.abs(a - b).max()))
            progress.step()
    return values, largest


def _vector(store: FeatureStore, name: str, row: int, pooled: bool) -> np.ndarray:
    """The mean over tokens (D,) if pooled, otherwise the flattened array; float64."""
    array = getattr(store, name)([row])[0].astype(np.float64)
    return array.reshape(-1, array.shape[-1]).mean(axis=0) if pooled else array.reshape(-1)


def _or_none(value: float) -> float | None:
    return None if np.isnan(value) else float(value)
