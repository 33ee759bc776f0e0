"""Which clips a closed-form method has learned: a hash of each clip's pooled vector, and its class.

n clips, M features. Sums over clips do not show whether a clip is part of them. With the hashes, no clip
is learned twice, and only learned clips are forgotten. Equal vectors have equal hashes; features that another processor
computes can differ by rounding, and then have other hashes.
"""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Iterable

import numpy as np
import torch
from torch import Tensor


def digests(vectors: Tensor) -> list[bytes]:
    """A digest (16 bytes) of each row of vectors (n, M), rounded to float32."""
    rows = np.ascontiguousarray(vectors.float().numpy())
    return [hashlib.blake2b(row.tobytes(), digest_size=16).digest() for row in rows]


def hashes(vectors: Tensor) -> Tensor:
    """(n,) int64, the first 8 bytes of `digests`; equal for different vectors with probability 2^-64 per pair."""
    return torch.tensor(
        [int.from_bytes(digest[:8], signed=True) for digest in digests(vectors)], dtype=torch.int64
    )


def remaining(keys: Iterable[tuple[object, int]], removed: Iterable[tuple[object, int]]) -> Tensor:
    """Which of n keys are left, as a mask (n,). Of equal keys, only as many are removed as are given."""
    counts = Counter(removed)
    keep = []
    for key in keys:
        is_removed = counts[key] > 0
        counts[key] -= is_removed
        keep.append(not is_removed)
    return torch.tensor(keep, dtype=torch.bool)


def without_class(labels: Tensor, number: int) -> tuple[Tensor, Tensor]:
    """Which of n clips are not of class `number`, as a mask (n,), and their class numbers without this class."""
    keep = labels != number
    left = labels[keep]
    return keep, left - (left > number).long()


class LearnedClips:
    """Hashes and class numbers of n clips.

    >>> learned = LearnedClips()
    >>> learned.add(torch.tensor([7, 8]), torch.tensor([0, 1]))
    >>> learned.classes_of(torch.tensor([8, 9]))
    [1, None]
    """

    def __init__(self) -> None:
        self.hashes = torch.zeros(0, dtype=torch.int64)
        """(n,)"""
        self.labels = torch.zeros(0, dtype=torch.int64)
        """(n,)"""

    def __len__(self) -> int:
        return len(self.hashes)

    def add(self, hashes: Tensor, labels: Tensor) -> None:
        """Add clips: hashes (n,), labels (n,)."""
        self.hashes, self.labels = torch.cat([self.hashes, hashes]), torch.cat([self.labels, labels])

    def remove(self, hashes: Tensor, labels: Tensor) -> None:
        """Remove clips; those that are not recorded are ignored."""
        keep = remaining(self._keys(), zip(hashes.tolist(), labels.tolist(), strict=True))
        self.hashes, self.labels = self.hashes[keep], self.labels[keep]

    def classes_of(self, hashes: Tensor) -> list[int | None]:
        """The class number of each clip, None for clips that are not recorded."""
        found = dict(self._keys())
        return [found.get(value) for value in hashes.tolist()]

    def shared(self, other: LearnedClips) -> int:
        """Number of different clips that both have recorded."""
        return len(set(self.hashes.tolist()) & set(other.hashes.tolist()))

    def remove_class(self, number: int) -> None:
        """Remove class `number`; the numbers of later classes decrease by 1."""
        keep, self.labels = without_class(self.labels, number)
        self.hashes = self.hashes[keep]

    def tensors(self) -> dict[str, Tensor]:
        """The tensors to save, in an order that does not depend on the order of learning."""
        order = sorted(range(len(self)), key=self._keys().__getitem__)
        return {"hashes": self.hashes[order], "labels": self.labels[order]}

    def _keys(self) -> list[tuple[int, int]]:
        return list(zip(self.hashes.tolist(), self.labels.tolist(), strict=True))
