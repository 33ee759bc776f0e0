"""How alike two feature stores are, clip by clip: such as own features beside released ones.

Shapes: T time slices, S spatial tokens per slice, D width.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from avcil.errors import InputError
from avcil.features.store import FeatureStore
from avcil.utils.files import write_text
from avcil.utils.progress import Progress

WORST = 5


@dataclass(frozen=True, kw_only=True)
class Comparison:
    """Cosines between the clips that both stores hold."""

    a: Path
    b: Path
    shared: tuple[str, ...]
    """Ids of the clips in both, sorted."""
    only_a: tuple[str, ...]
    only_b: tuple[str, ...]
    cosines: Mapping[str, np.ndarray]
    """(clips,) by modality, in the order of `shared`; NaN where one of the two is all zeros."""
    largest_difference: Mapping[str, float]
    """Between two numbers at the same place, by modality; empty for pooled vectors of other grids."""
    pooled: tuple[str, ...]
    """Modalities compared by their mean over tokens, as their grids differ."""

    def to_dict(self) -> dict[str, Any]:
        """For programs."""
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
        """For people."""
        lines = [f"{len(self.shared)} clips in both {self.a} and {self.b}"]
        for folder, ids in ((self.a, self.only_a), (self.b, self.only_b)):
            if ids:
                lines.append(
                    f"{len(ids)} only in {folder}: {', '.join(map(repr, ids[:WORST]))}{', ...' * (len(ids) > WORST)}"
                )
        for name, values in self.cosines.items():
            lines += ["", *self._modality(name, values)]
        return "\n".join(lines)

    def _modality(self, name: str, values: np.ndarray) -> list[str]:
        known = values[~np.isnan(values)]
        what = f"{name}, mean over tokens (the grids differ)" if name in self.pooled else name
        if not len(known):
            return [f"{what}: in each clip one of the two is all zeros; there is no cosine"]
        summary = f"cosine min {known.min():.6f}, median {np.median(known):.6f}, mean {known.mean():.6f}"
        lines = [f"{what}: {summary}"]
        if name in self.largest_difference:
            lines[0] += f"; largest difference of a number {self.largest_difference[name]:.3g}"
        if len(known) < len(values):
            lines.append(f"  {len(values) - len(known)} clips without a cosine: one of the two is all zeros")
        for place in np.argsort(np.where(np.isnan(values), np.inf, values), kind="stable")[:WORST]:
            if values[place] < 1 - 1e-6:
                lines.append(f"  {values[place]:.6f}  {self.shared[place]}")
        return lines

    def write_csv(self, path: Path) -> None:
        """One line a shared clip: clip_id and a cosine for each modality, empty where there is none."""
        text = io.StringIO(newline="")
        writer = csv.writer(text, lineterminator="\n")
        writer.writerow(["clip_id", *self.cosines])
        for place, clip_id in enumerate(self.shared):
            cells = [values[place] for values in self.cosines.values()]
            writer.writerow([clip_id, *("" if np.isnan(cell) else f"{cell:.9f}" for cell in cells)])
        write_text(path, text.getvalue())


def compare(a: Path | str, b: Path | str) -> Comparison:
    """Compare the clips of equal id of two stores in each modality that both hold.

    Token grids may differ (then the means over tokens are compared, and the result says so), widths may not.

    :raises InputError: if they share no clip or no modality, or their widths differ.
    """
    first, second = FeatureStore(a), FeatureStore(b)
    rows_a = {clip.clip_id: row for row, clip in enumerate(first.clips)}
    rows_b = {clip.clip_id: row for row, clip in enumerate(second.clips)}
    shared = sorted(rows_a.keys() & rows_b.keys())
    if not shared:
        raise InputError(
            f"{a} and {b} share no clip id: {first.clips[0].clip_id!r} is one of the former, "
            f"{second.clips[0].clip_id!r} one of the latter. Make both from one clip list, "
            "or give it a column clip_id"
        )
    names = [name for name in first.manifest.arrays() if name in second.manifest.arrays()]
    if not names:
        raise InputError(
            f"{a} holds {' and '.join(first.manifest.arrays())} features, {b} only "
            f"{' and '.join(second.manifest.arrays())}; there is nothing to compare"
        )
    pairs = [(rows_a[key], rows_b[key]) for key in shared]
    pooled = tuple(name for name in names if _grids_differ(first, second, name))
    cosines, largest = {}, {}
    for name in names:
        cosines[name], difference = _cosines(first, second, name, pairs, pooled=name in pooled)
        if name not in pooled:
            largest[name] = difference
    return Comparison(
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
    ours, theirs = first.manifest.arrays()[name], second.manifest.arrays()[name]
    if ours[-1] != theirs[-1]:
        raise InputError(
            f"the {name} features of {first.path} are {ours[-1]} wide, those of {second.path} {theirs[-1]}: "
            "they come from different encoders and have no cosine"
        )
    return ours != theirs


def _cosines(
    first: FeatureStore, second: FeatureStore, name: str, pairs: Sequence[tuple[int, int]], *, pooled: bool
) -> tuple[np.ndarray, float]:
    values, largest = np.empty(len(pairs)), 0.0
    progress = Progress(len(pairs), f"{name} clips")
    for place, (row_a, row_b) in enumerate(pairs):
        x, y = (_vector(store, name, row, pooled) for store, row in ((first, row_a), (second, row_b)))
        lengths = np.linalg.norm(x) * np.linalg.norm(y)
        values[place] = x @ y / lengths if lengths else np.nan
        largest = max(largest, float(np.abs(x - y).max()))
        progress.step()
    progress.close()
    return values, largest


def _vector(store: FeatureStore, name: str, row: int, pooled: bool) -> np.ndarray:
    """float64 (D,) if pooled, else all numbers of the clip in one row."""
    array = getattr(store, name)([row])[0].astype(np.float64)
    return array.reshape(-1, array.shape[-1]).mean(axis=0) if pooled else array.reshape(-1)


def _or_none(value: float) -> float | None:
    return None if np.isnan(value) else float(value)
