"""A sample of feature vectors for leave-one-out scores that does not depend on the order of the clips.

n vectors of M features. The sample has the `size` vectors with the smallest hashes of their bytes (bottom-k sampling;
Cohen & Kaplan, PODC 2007). So the sample is random, the same clips give the same sample in any order and grouping, and
samples can be merged. The vectors are used to calibrate probabilities and p-values; weights do not depend on them.
"""

from __future__ import annotations

import torch
from torch import Tensor

from avcil.closed_form.learned_clips import digests, remaining, without_class


class CalibrationSample:
    """At most `size` vectors of M features, with their labels.

    Args:
        width: M.
        size: Maximum number of vectors.

    >>> sample = CalibrationSample(1, size=2)
    >>> sample.add(torch.tensor([[1.0], [2.0], [3.0]]), torch.tensor([0, 0, 1]))
    >>> len(sample.labels)
    2
    """

    def __init__(self, width: int, *, size: int) -> None:
        self.size = size
        self.vectors = torch.zeros(0, width)
        """(n, M) float32, sorted by hash."""
        self.labels = torch.zeros(0, dtype=torch.int64)
        """(n,)"""

    @property
    def bytes(self) -> int:
        """Size of the saved tensors."""
        return 4 * self.vectors.numel() + 8 * self.labels.numel()

    def add(self, features: Tensor, labels: Tensor) -> None:
        """Add clips: features (n, M), labels (n,)."""
        vectors = torch.cat([self.vectors, features.float()])
        labels = torch.cat([self.labels, labels])
        pairs = list(zip(digests(vectors), labels.tolist(), strict=True))
        order = sorted(range(len(pairs)), key=pairs.__getitem__)[: self.size]
        self.vectors, self.labels = vectors[order], labels[order]

    def remove(self, features: Tensor, labels: Tensor) -> None:
        """Remove clips that are in the sample; others are ignored. The sample is not filled up again."""
        keep = remaining(
            zip(digests(self.vectors), self.labels.tolist(), strict=True),
            zip(digests(features), labels.tolist(), strict=True),
        )
        self.vectors, self.labels = self.vectors[keep], self.labels[keep]

    def remove_class(self, number: int) -> None:
        """Remove class `number`; the numbers of later classes decrease by 1."""
        keep, self.labels = without_class(self.labels, number)
        self.vectors = self.vectors[keep]

    def tensors(self) -> dict[str, Tensor]:
        """The tensors to save."""
        return {"vectors": self.vectors, "labels": self.labels, "size": torch.tensor(self.size)}

    @classmethod
    def from_tensors(cls, tensors: dict[str, Tensor]) -> CalibrationSample:
        """Restore from `tensors`."""
        sample = cls(tensors["vectors"].shape[1], size=int(tensors["size"]))
        sample.vectors, sample.labels = tensors["vectors"].clone(), tensors["labels"].clone()
        return sample
