"""Base classes of statistics of clips: tensors with axes for features and for classes.

M features, C classes.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import ClassVar, Self

import torch
from torch import Tensor
from torch.nn import functional as F

from avcil.closed_form.symmetric import packed, unpacked
from avcil.errors import InputError
from avcil.utils import checks


class ClassStatistics:
    """Float64 tensors to which classes can be added, and from which they can be removed; initially without classes.

    Subclasses name the tensors in `AXES`: "M" is an axis of features, "C" one of classes. A tensor with the axes "MM"
    is symmetric; only its upper triangle is saved, row by row.

    Args:
        width: M.
    """

    AXES: ClassVar[Mapping[str, str]]

    def __init__(self, width: int) -> None:
        for name, axes in self.AXES.items():
            shape = [width if axis == "M" else 0 for axis in axes]
            setattr(self, name, torch.zeros(shape, dtype=torch.float64))

    @classmethod
    def of_tensors(cls, **tensors: Tensor) -> Self:
        """Statistics with these tensors, named as in `AXES`."""
        statistics = cls(0)
        vars(statistics).update(tensors)
        return statistics

    @property
    def _by_name(self) -> dict[str, Tensor]:
        return {name: getattr(self, name) for name in self.AXES}

    @property
    def width(self) -> int:
        """M"""
        return _size("M", self.AXES, self._by_name)

    @property
    def classes(self) -> int:
        """C"""
        return _size("C", self.AXES, self._by_name)

    @property
    def bytes(self) -> int:
        """Size of the saved tensors."""
        return 8 * sum(math.prod(shape) for shape in self._saved_shapes(self.classes).values())

    def _saved_shapes(self, classes: int) -> dict[str, tuple[int, ...]]:
        """The shape of each saved tensor."""
        sizes = {"M": self.width, "C": classes}
        triangle = (self.width * (self.width + 1) // 2,)
        return {
            name: triangle if axes == "MM" else tuple(sizes[axis] for axis in axes)
            for name, axes in self.AXES.items()
        }

    def add_classes(self, count: int) -> None:
        """Add `count` classes without clips."""
        for name, tensor in self._by_name.items():
            _, is_of_classes, after = self.AXES[name].partition("C")
            if is_of_classes:
                setattr(self, name, F.pad(tensor, (0, 0) * len(after) + (0, count)))

    def remove_class(self, number: int) -> None:
        """Remove class `number`; the numbers of later classes decrease by 1."""
        others = (torch.arange(self.classes) != number).nonzero()[:, 0]
        vars(self).update(self._selected("C", others))

    def part(self, columns: Tensor) -> Self:
        """A copy with the features `columns` (m,)."""
        return self.of_tensors(**self._selected("M", columns))

    def _selected(self, axis: str, index: Tensor) -> dict[str, Tensor]:
        """The tensors with the positions `index` of all axes of a kind."""
        selected = self._by_name
        for name, axes in self.AXES.items():
            for dimension, kind in enumerate(axes):
                if kind == axis:
                    selected[name] = selected[name].index_select(dimension, index)
        return selected

    def tensors(self) -> dict[str, Tensor]:
        """The tensors to save."""
        return {
            name: packed(tensor) if self.AXES[name] == "MM" else tensor
            for name, tensor in self._by_name.items()
        }

    def load(self, tensors: Mapping[str, Tensor]) -> None:
        """Restore what `tensors` returned; InputError if it is invalid or does not have M features."""
        width = self.width
        for name, shape in self._saved_shapes(_size("C", self.AXES, tensors)).items():
            saved = checks.tensor(tensors, name, shape, dtypes=checks.DOUBLE)
            setattr(self, name, unpacked(saved, width) if self.AXES[name] == "MM" else saved.clone())


def _size(axis: str, axes: Mapping[str, str], tensors: Mapping[str, Tensor]) -> int:
    """Length of the axes of a kind; 0 if the tensor lacks it."""
    name = next(name for name in axes if axis in axes[name])
    shape, dimension = tensors[name].shape if name in tensors else (), axes[name].index(axis)
    return shape[dimension] if dimension < len(shape) else 0


class ClassCounts(ClassStatistics):
    """Statistics with the number of clips of each class."""

    counts: Tensor
    """(C,)"""

    @property
    def total(self) -> float:
        """N, the number of clips."""
        return float(self.counts.sum())

    def load(self, tensors: Mapping[str, Tensor]) -> None:
        super().load(tensors)
        if (self.counts < 0).any():
            raise InputError("a class has a negative number of clips")


def check_class_numbers(labels: Tensor, classes: int) -> None:
    """Raise InputError for class numbers (n,) that are not below `classes`."""
    if len(labels) and not 0 <= int(labels.min()) <= int(labels.max()) < classes:
        raise InputError(
            f"class number {int(labels.max())} is unknown: class numbers are 0 to {classes - 1}; call add_classes first"
        )


def counts_without(counts: Tensor, removed: Tensor) -> Tensor:
    """Counts (C,) after removing clips; InputError if a class has fewer clips than `removed` (C,)."""
    remaining = counts - removed
    if (remaining < 0).any():
        classes = ", ".join(map(str, (remaining < 0).nonzero()[:5, 0].tolist()))
        raise InputError(
            f"more clips are to be forgotten than were learned; numbers of the classes: {classes}. "
            "Give only clips that were learned"
        )
    return remaining
