"""Mean and scatter of the features of each class.

P features, C classes.
"""

from __future__ import annotations

import torch
from torch import Tensor

from avcil.closed_form.class_moments import ClassMoments
from avcil.closed_form.moments import ClassCounts, counts_without
from avcil.errors import InputError
from avcil.utils import checks


class ClassGaussians(ClassCounts):
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
    def counts(self) -> Tensor:  # type: ignore[override]
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

    @classmethod
    def from_tensors(cls, tensors: dict[str, Tensor], width: int) -> ClassGaussians:
        """Restore from `tensors`; InputError if they are invalid or do not have `width` features."""
        classes = tensors.get("counts", torch.zeros(0)).numel()
        shapes = {
            "counts": (classes, 1),
            "means": (classes, 1, width),
            "within": (classes, width * (width + 1) // 2),
        }
        saved = {name: checks.tensor(tensors, name, shape) for name, shape in shapes.items()}
        if (saved["counts"] < 0).any():
            raise InputError("a class has a negative number of clips")
        statistics = cls(width)
        statistics.moments = [
            ClassMoments.from_tensors({name: tensor[number] for name, tensor in saved.items()})
            for number in range(classes)
        ]
        return statistics
