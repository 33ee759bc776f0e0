"""Sums over clips from which regression and discriminant analysis follow exactly.

N clips seen so far, M features, C classes:

    gram   = sum_i h_i h_i^T       (M, M)
    sums   = sum_i h_i y_i^T       (M, C), y one-hot: each class's features added up
    counts = sum_i y_i             (C,)

All three are additive: batches may come in any order and size, classes and further clips of known classes at any
time, and what was added can be subtracted again. All are float64.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

from avcil.closed_form.symmetric import add_product, packed, unpacked
from avcil.errors import InputError


class Moments:
    """The sums for M features; they begin with no class.

    >>> moments = Moments(2)
    >>> moments.grow(1)
    >>> moments.add(torch.tensor([[1.0, 2.0], [3.0, 4.0]]), torch.tensor([0, 0]))
    >>> moments.gram.trace().item()
    30.0
    """

    def __init__(self, width: int) -> None:
        self.gram = torch.zeros(width, width, dtype=torch.float64)
        self.sums = torch.zeros(width, 0, dtype=torch.float64)
        self.counts = torch.zeros(0, dtype=torch.float64)

    @property
    def width(self) -> int:
        """M"""
        return self.gram.shape[0]

    @property
    def classes(self) -> int:
        """C"""
        return len(self.counts)

    @property
    def total(self) -> float:
        """N"""
        return float(self.counts.sum())

    @property
    def bytes(self) -> int:
        """Memory that the sums take: 8 (M M + M C + C) bytes, whatever the number of clips."""
        return 8 * (self.gram.numel() + self.sums.numel() + self.counts.numel())

    def grow(self, count: int) -> None:
        """Make room for `count` more classes."""
        self.sums = F.pad(self.sums, (0, count))
        self.counts = F.pad(self.counts, (0, count))

    def drop(self, number: int) -> None:
        """Take away class `number`; those behind it move up. Of its n clips of mean mu the second moments lose
        n mu mu^T; their scatter about the mean, which the sums do not tell apart by class, stays."""
        own = self.sums[:, number]
        add_product(self.gram, own[None], own[None], factor=-1 / max(float(self.counts[number]), 1.0))
        left = torch.arange(self.classes) != number
        self.sums, self.counts = self.sums[:, left], self.counts[left]

    def copy(self) -> Moments:
        """The same sums, free to change."""
        other = Moments(0)
        other.gram, other.sums, other.counts = self.gram.clone(), self.sums.clone(), self.counts.clone()
        return other

    def part(self, columns: Tensor) -> Moments:
        """The sums of some of the features, `columns` (m,) ascending: what adding those alone would have given.

        To be read only: of all features it is the sums themselves.
        """
        if len(columns) == self.width:
            return self
        other = Moments(0)
        other.gram, other.sums = self.gram[columns[:, None], columns], self.sums[columns]
        other.counts = self.counts.clone()
        return other

    def without(self, features: Tensor, labels: Tensor) -> Moments:
        """The sums of the other clips, beside these: features (n, M), labels (n,) of clips that were added."""
        other = self.copy()
        other.remove(features, labels)
        return other

    def add(self, features: Tensor, labels: Tensor) -> None:
        """Add clips: features (n, M), labels (n,) below C."""
        self._accumulate(features, labels, 1)

    def remove(self, features: Tensor, labels: Tensor) -> None:
        """Take away clips that were added before; InputError if a class never had as many."""
        after = self.counts - torch.bincount(labels, minlength=self.classes)
        if (after < 0).any():
            lacking = ", ".join(map(str, (after < 0).nonzero()[:5, 0].tolist()))
            raise InputError(
                f"more clips are to be forgotten than were learnt, of the classes numbered {lacking}. "
                "Give only clips that were learnt"
            )
        self._accumulate(features, labels, -1)

    def _accumulate(self, features: Tensor, labels: Tensor, sign: int) -> None:
        if len(labels) and int(labels.max()) >= self.classes:
            raise InputError(
                f"class number {int(labels.max())} is unknown: {self.classes} classes. Grow first"
            )
        features = features.double()
        targets = F.one_hot(labels, self.classes).double()
        add_product(self.gram, features, features, factor=sign)
        self.sums = self.sums + sign * (features.T @ targets)
        self.counts = self.counts + sign * targets.sum(dim=0)

    def means(self) -> Tensor:
        """Class means (C, M); those of classes without a clip are 0."""
        return (self.sums / self.counts.clamp(min=1)).T

    def within_scatter(self) -> Tensor:
        """sum_i (h_i - mu_c(i)) (h_i - mu_c(i))^T, (M, M)."""
        within = self.gram.clone()
        add_product(within, self.sums.T, self.means(), factor=-1)
        return within

    def balanced(self) -> Moments:
        """The sums if all classes that have clips had equally many, N in all as before.

        Each class keeps its mean, and its clips lie about it as the clips of all classes together do: the scatter of
        a single class is not in the sums. With equally many clips these are the sums themselves.
        """
        other = Moments(0)
        alive = self.counts > 0
        other.counts = alive.double() * self.total / alive.sum().clamp(min=1)
        means = self.means()
        other.sums = means.T * other.counts
        other.gram = self.within_scatter()
        add_product(other.gram, other.sums.T, means)
        return other

    def tensors(self) -> dict[str, Tensor]:
        """What is saved: of the symmetric gram matrix its upper triangle, row after row."""
        return {"gram": packed(self.gram), "sums": self.sums, "counts": self.counts}

    @classmethod
    def from_tensors(cls, tensors: dict[str, Tensor]) -> Moments:
        """What `tensors` saved, bit for bit; InputError if they do not fit each other."""
        sums, counts, gram = (tensors.get(name, torch.empty(0)) for name in ("sums", "counts", "gram"))
        width = len(sums)
        fits = sums.ndim == 2 and counts.shape == sums.shape[1:] and gram.shape == (width * (width + 1) // 2,)
        if (
            not fits
            or any(part.dtype != torch.float64 for part in (sums, counts, gram))
            or (counts < 0).any()
        ):
            raise InputError(
                f"the saved sums do not fit each other: gram {tuple(gram.shape)}, sums {tuple(sums.shape)}, "
                f"counts {tuple(counts.shape)}"
            )
        moments = cls(0)
        moments.gram, moments.sums, moments.counts = unpacked(gram, width), sums.clone(), counts.clone()
        return moments
