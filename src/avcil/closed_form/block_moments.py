"""`Moments` of each block of an embedding, without the products between blocks."""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from typing import Self

from torch import Tensor

from avcil.closed_form.moments import Moments
from avcil.errors import InputError
from avcil.utils.tensor_names import add_prefix, strip_prefix


class BlockMoments:
    """One `Moments` per block, all of the same clips.

    Args:
        sizes: Features of each block.
    """

    def __init__(self, sizes: Sequence[int]) -> None:
        self.sizes = list(sizes)
        self.blocks = [Moments(size) for size in sizes]

    @property
    def classes(self) -> int:
        """C"""
        return self.blocks[0].classes

    @property
    def counts(self) -> Tensor:
        """(C,), float64."""
        return self.blocks[0].counts

    @property
    def width(self) -> int:
        """Features of all blocks."""
        return sum(self.sizes)

    @property
    def bytes(self) -> int:
        """Size of the saved tensors."""
        return sum(block.bytes for block in self.blocks)

    def add_classes(self, count: int) -> None:
        """Add `count` classes without clips."""
        for block in self.blocks:
            block.add_classes(count)

    def remove_class(self, number: int) -> None:
        """See `Moments.remove_class`."""
        for block in self.blocks:
            block.remove_class(number)

    def add(self, features: Tensor, labels: Tensor) -> None:
        """Add clips: features (n, M) of all blocks, labels (n,) below C."""
        for block, own in zip(self.blocks, features.split(self.sizes, dim=1), strict=True):
            block.add(own, labels)

    def remove(self, features: Tensor, labels: Tensor) -> None:
        """Remove clips that were added before; InputError if a class has fewer clips."""
        for block, own in zip(self.blocks, features.split(self.sizes, dim=1), strict=True):
            block.remove(own, labels)

    def without(self, features: Tensor, labels: Tensor) -> Self:
        """A copy without clips that were added: features (n, M), labels (n,)."""
        other = copy.deepcopy(self)
        other.remove(features, labels)
        return other

    def tensors(self) -> dict[str, Tensor]:
        """The tensors to save, with the block number as prefix."""
        saved: dict[str, Tensor] = {}
        for number, block in enumerate(self.blocks):
            saved |= add_prefix(str(number), block.tensors())
        return saved

    def load(self, tensors: Mapping[str, Tensor]) -> None:
        """Restore what `tensors` returned; InputError if it is invalid or of other sizes."""
        for number, block in enumerate(self.blocks):
            block.load(strip_prefix(str(number), tensors))
        if len({block.classes for block in self.blocks}) > 1:
            raise InputError("the saved moments of the blocks have different numbers of classes")
