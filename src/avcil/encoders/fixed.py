"""Fixed matrices of the built-in encoders, and their hash.

Shapes: N rows, M columns, n samples.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable

import numpy as np


def random_matrix(rows: int, columns: int, seed: int) -> np.ndarray:
    """A fixed random projection (N, M) float32 whose rows have length 1 on average.

    Uses `RandomState`, whose stream never changes between versions of NumPy.

    >>> random_matrix(2, 3, seed=0).shape
    (2, 3)
    """
    drawn = np.random.RandomState(seed).standard_normal((rows, columns))
    return (drawn / np.sqrt(columns)).astype(np.float32)


def weight_hash(arrays: Iterable[np.ndarray]) -> str:
    """SHA-256 of shapes and bytes of arrays, for fingerprints."""
    digest = hashlib.sha256()
    for array in arrays:
        digest.update(f"{array.dtype.str}{array.shape}".encode())
        digest.update(np.ascontiguousarray(array).tobytes())
    return digest.hexdigest()


def cosine_basis(length: int, count: int) -> np.ndarray:
    """The first `count` rows of the orthonormal DCT-II of `length` samples: (count, length) float32.

    >>> basis = cosine_basis(8, 8)
    >>> float(abs(basis @ basis.T - np.eye(8)).max().round(5))
    0.0
    """
    phase = np.pi / length * np.outer(np.arange(count), np.arange(length) + 0.5)
    basis = np.sqrt(2 / length) * np.cos(phase)
    basis[0] /= np.sqrt(2)
    return basis.astype(np.float32)


def area_weights(length: int, count: int) -> np.ndarray:
    """Weights (count, length) float32 that average `length` samples into `count` equal parts, including
    fractions.

    >>> area_weights(5, 2)[0].round(1).astype(str).tolist()
    ['0.4', '0.4', '0.2', '0.0', '0.0']
    """
    edges = np.linspace(0, length, count + 1)
    covered = np.minimum(edges[1:, None], np.arange(1, length + 1)) - np.maximum(
        edges[:-1, None], np.arange(length)
    )
    return (np.clip(covered, 0, None) * count / length).astype(np.float32)
