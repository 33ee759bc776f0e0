"""Compute the constants that are shipped with encoders: the mean and standard deviation of each feature.

    avcil extract CLIPS.csv --out STORE --visual ENCODER --audio ENCODER --dtype float32      (for each data set)
    python scripts/feature_constants.py NAME=STORE ...

Each store holds the features of single encoders for one data set. The training clips are used, every data set counts
alike, and visual tokens are taken together over time and space. Writes src/avcil/encoders/constants/ENCODER.json for
both encoders of the stores; NAME is what the file says of the data.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from avcil.encoders.constants import IDENTITY
from avcil.errors import InputError
from avcil.features import FeatureStore
from avcil.utils.files import write_json

FOLDER = Path(__file__).parents[1] / "src/avcil/encoders/constants"
CLIPS_AT_ONCE = 64
SMALLEST = 1e-6
"""A standard deviation below this is that of a feature that never changes; its scale is 1."""
DIGITS = 6
"""Significant digits that are written."""


def main() -> None:
    """Read the stores and write one file for each encoder."""
    stores = {name: FeatureStore(path) for name, _, path in (text.partition("=") for text in sys.argv[1:])}
    for modality in ("visual", "audio"):
        fingerprints = [vars(store.manifest)[modality].encoder for store in stores.values()]
        if any(fingerprint != fingerprints[0] for fingerprint in fingerprints):
            raise InputError(f"the stores have different {modality} encoders; give stores of one")
        center, scale = pooled([moments(store, modality) for store in stores.values()])
        path = FOLDER / f"{fingerprints[0]['name']}.json"
        value = {
            "encoder": {key: fingerprints[0][key] for key in IDENTITY},
            "source": f"training clips of {', '.join(stores)}; every data set counts alike",
            "center": rounded(center),
            "scale": rounded(scale),
        }
        write_json(path, value)
        print(f"{path}: {len(center)} features, scale {scale.min():.3g} to {scale.max():.3g}")


def moments(store: FeatureStore, modality: str) -> tuple[np.ndarray, np.ndarray]:
    """Mean (D,) and mean square (D,) of the features of a store's training clips."""
    count, total, squares = 0, 0.0, 0.0
    for values in batches(store, modality):
        count += len(values)
        total, squares = total + values.sum(axis=0), squares + np.square(values).sum(axis=0)
    return np.asarray(total) / count, np.asarray(squares) / count


def batches(store: FeatureStore, modality: str) -> Iterator[np.ndarray]:
    """Features (n, D) float64 of training clips; tokens of a clip one after another."""
    rows = [row for row, clip in enumerate(store.clips) if clip.split == "train" and vars(clip)[modality]]
    for begin in range(0, len(rows), CLIPS_AT_ONCE):
        values = getattr(store, modality)(rows[begin : begin + CLIPS_AT_ONCE]).astype(np.float64)
        yield values.reshape(-1, values.shape[-1])


def pooled(found: list[tuple[np.ndarray, np.ndarray]]) -> tuple[np.ndarray, np.ndarray]:
    """Mean and standard deviation (D,) of several data sets that count alike."""
    mean, square = (np.mean([pair[k] for pair in found], axis=0) for k in (0, 1))
    deviation = np.sqrt(np.maximum(square - mean**2, 0.0))
    return mean, np.where(deviation < SMALLEST, 1.0, deviation)


def rounded(values: np.ndarray) -> list[Any]:
    """As many digits as are worth keeping."""
    return [float(f"{value:.{DIGITS}g}") for value in values]


if __name__ == "__main__":
    main()
