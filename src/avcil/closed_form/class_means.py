"""Counts and sums of the features of each class, from which the class means follow.

P features, C classes.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

from avcil.closed_form.moments import ClassCounts, counts_without
from avcil.errors import InputError
from avcil.utils import checks


class ClassMeans(ClassCounts):
    """Counts and sums; initially without classes.

    Args:
        width: P.

    >>> statistics = ClassMeans(1)
    >>> statistics.add_classes(1)
    >>> statistics.add(torch.tensor([[1.0], [3.0]]), torch.tensor([0, 0]))
    >>> statistics.means().item()
    2.0
    """

    def __init__(self, width: int) -> None:
        self.sums = torch.zeros(0, width, dtype=torch.float64)
        """(C, P)"""
        self.counts = torch.zeros(0, dtype=torch.float64)

    @property
    def bytes(self) -> int:
        """Size of the saved tensors."""
        return 8 * (self.sums.numel() + self.counts.numel())

    def add_classes(self, count: int) -> None:
        """Add `count` classes without clips."""
        self.sums, self.counts = F.pad(self.sums, (0, 0, 0, count)), F.pad(self.counts, (0, count))

    def remove_class(self, number: int) -> None:
        """Remove class `number`; the numbers of later classes decrease by 1."""
        keep = torch.arange(self.classes) != number
        self.sums, self.counts = self.sums[keep], self.counts[keep]

    def add(self, features: Tensor, labels: Tensor) -> None:
        """Add clips: features (n, P), labels (n,) below C."""
        self.sums = self.sums.index_add(0, labels, features.double())
        self.counts = self.counts + torch.bincount(labels, minlength=self.classes)

    def remove(self, features: Tensor, labels: Tensor) -> None:
        """Remove clips that were added before.

        Raises:
            InputError: A class has fewer clips than are to be removed.
        """
        self.counts = counts_without(self.counts, torch.bincount(labels, minlength=self.classes))
        self.sums = self.sums.index_add(0, labels, -1 * features.double())
        self.sums[self.counts == 0] = (
            0.0  # a rounding error, which a cosine classifier would scale to length 1
        )

    def means(self) -> Tensor:
        """Class means (C, P); 0 for classes without clips."""
        return self.sums / self.counts.clamp(min=1)[:, None]

    def tensors(self) -> dict[str, Tensor]:
        """The tensors to save."""
        return {"sums": self.sums, "counts": self.counts}

    @classmethod
    def from_tensors(cls, tensors: dict[str, Tensor], width: int) -> ClassMeans:
        """Restore from `tensors`; InputError if they are invalid or do not have `width` features."""
        statistics = cls(width)
        classes = tensors.get("counts", torch.zeros(0)).numel()
        statistics.counts = checks.tensor(tensors, "counts", (classes,))
        statistics.sums = checks.tensor(tensors, "sums", (classes, width))
        if (statistics.counts < 0).any():
            raise InputError("a class has a negative number of clips")
        return statistics
