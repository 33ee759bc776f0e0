"""Mean and scatter of the features of each class.

P features, C classes.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

from avcil.closed_form.class_moments import ClassMoments
from avcil.closed_form.class_statistics import counts_without
from avcil.errors import InputError


class ClassGaussians:
    """Mean and scatter of each class; initially without classes.

    Args:
        width: P.

    >>> statistics = ClassGaussians(1)
    >>> statistics.add_classes(1)
    >>> statistics.add(torch.tensor([[1.0], [3.0]]), torch.tensor([0, 0]))
    >>> statistics.moments[0].means.item(), statistics.moments[0].within.item()
    (2.0, 2.0)
    """

    def __init__(self, width: int) -> None:
        self.width = width
        self.moments: list[ClassMoments] = []
        """For each class, moments that have only this class."""

    @property
    def classes(self) -> int:
        """C"""
        return len(self.moments)

    @property
    def counts(self) -> Tensor:
        """(C,), float64."""
        return torch.tensor([moments.total for moments in self.moments], dtype=torch.float64)

    @property
    def bytes(self) -> int:
        """Size of the saved tensors."""
        return sum(moments.bytes for moments in self.moments)

    def add_classes(self, count: int) -> None:
        """Add `count` classes without clips."""
        for _ in range(count):
            moments = ClassMoments(self.width)
            moments.add_classes(1)
            self.moments.append(moments)

    def remove_class(self, number: int) -> None:
        """Remove class `number`; the numbers of later classes decrease by 1."""
        del self.moments[number]

    def add(self, features: Tensor, labels: Tensor) -> None:
        """Add clips: features (n, P), labels (n,) below C."""
        for label in labels.unique().tolist():
            self.moments[label].add(*self._of_class(features, labels, label))

    def remove(self, features: Tensor, labels: Tensor) -> None:
        """Remove clips that were added before.

        Raises:
            InputError: A class has fewer clips than are to be removed.
        """
        counts_without(self.counts, torch.bincount(labels, minlength=self.classes))
        for label in labels.unique().tolist():
            self.moments[label].remove(*self._of_class(features, labels, label))

    def without(self, label: int, features: Tensor) -> ClassMoments:
        """The moments of class `label` without clips (n, P) that were added; these statistics are not modified."""
        moments = self.moments[label].renumbered(torch.zeros(1, dtype=torch.int64), 1)
        moments.remove(features, torch.zeros(len(features), dtype=torch.int64))
        return moments

    @staticmethod
    def _of_class(features: Tensor, labels: Tensor, label: int) -> tuple[Tensor, Tensor]:
        """The features of one class, and their class number in its moments, which is 0."""
        selected = features[labels == label]
        return selected, torch.zeros(len(selected), dtype=torch.int64)

    def tensors(self) -> dict[str, Tensor]:
        """The tensors to save; those of all classes are stacked."""
        by_class = [moments.tensors() for moments in self.moments]
        return {name: torch.stack([tensors[name] for tensors in by_class]) for name in by_class[0]}

    def load(self, tensors: Mapping[str, Tensor]) -> None:
        """Restore what `tensors` returned; InputError if it is invalid or does not have P features."""
        lengths = {tuple(tensor.shape[:1]) for tensor in tensors.values()}
        if len(lengths) != 1 or lengths == {()}:
            raise InputError("the saved statistics are of different numbers of classes")
        self.moments = []
        for number in range(*lengths.pop()):
            self.add_classes(1)
            self.moments[-1].load({name: tensor[number] for name, tensor in tensors.items()})
        if any(moments.classes != 1 for moments in self.moments):
            raise InputError("the saved statistics of a class contain several classes")
