"""Compute the constants that are shipped with encoders: the mean and standard deviation of each feature.

    avcil extract CLIPS.csv --out STORE --visual ENCODER --audio ENCODER --dtype float32      (for each data set)
    python scripts/feature_constants.py NAME=STORE ...

Each store has the features of one visual and one audio encoder, not combined ones, for one data set. Training clips are
used, every data set has the same weight, and all tokens of a clip count as samples. Writes
src/avcil/encoders/constants/ENCODER.json for both encoders of the stores; NAME describes the data in that file.
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
BATCH_SIZE = 64
MIN_DEVIATION = 1e-6
"""A feature with a smaller standard deviation counts as constant; its scale is 1."""
DIGITS = 6
"""Number of significant digits in the file."""


def main() -> None:
    """Read the stores and write one file for each encoder."""
    stores = {name: FeatureStore(path) for name, _, path in (text.partition("=") for text in sys.argv[1:])}
    for modality in ("visual", "audio"):
        fingerprints = [vars(store.manifest)[modality].encoder for store in stores.values()]
        if any(fingerprint != fingerprints[0] for fingerprint in fingerprints):
            raise InputError(
                f"the stores have different {modality} encoders; give stores with the same encoders"
            )
        center, scale = mean_and_deviation([moments(store, modality) for store in stores.values()])
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
    """Yield the features (n, D) float64 of batches of training clips; all tokens are rows."""
    rows = [row for row, clip in enumerate(store.clips) if clip.split == "train" and vars(clip)[modality]]
    for begin in range(0, len(rows), BATCH_SIZE):
        values = getattr(store, modality)(rows[begin : begin + BATCH_SIZE]).astype(np.float64)
        yield values.reshape(-1, values.shape[-1])


def mean_and_deviation(found: list[tuple[np.ndarray, np.ndarray]]) -> tuple[np.ndarray, np.ndarray]:
    """Mean and standard deviation (D,) over several data sets of equal weight, from their `moments`."""
    mean, square = (np.mean([pair[k] for pair in found], axis=0) for k in (0, 1))
    deviation = np.sqrt(np.maximum(square - mean**2, 0.0))
    return mean, np.where(deviation < MIN_DEVIATION, 1.0, deviation)


def rounded(values: np.ndarray) -> list[Any]:
    """The values with `DIGITS` significant digits."""
    return [float(f"{value:.{DIGITS}g}") for value in values]


if __name__ == "__main__":
    main()
