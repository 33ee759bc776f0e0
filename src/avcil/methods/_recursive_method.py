"""Base class of recursive methods: one stream of ridge regression for each block of the embedding.

C classes.
"""

from __future__ import annotations

import torch
from torch import Tensor

from avcil.closed_form.recursive_least_squares import RecursiveRidge
from avcil.errors import InputError
from avcil.methods._stepwise_method import StepwiseMethod
from avcil.utils.tensor_names import add_prefix, strip_prefix


class RecursiveMethod(StepwiseMethod):
    """Base of methods whose state is a `RecursiveRidge` for each block of the embedding."""

    streams: tuple[RecursiveRidge, ...] = ()
    """One for each block of the embedding, the main stream first."""

    def add_classes(self, count: int) -> None:
        self.flush()
        super().add_classes(count)
        for stream in self.streams:
            stream.add_classes(count)

    def new_classes(self) -> Tensor:
        """(C,) bool, the classes of the current step; `end_fit` ends the step."""
        known = self.fitted["settled_classes"] if self.streams else 0
        return torch.arange(self.classes) >= known

    def end_fit(self) -> None:
        """Record that all current classes have been fitted."""
        self.fitted["settled_classes"] = self.classes

    def remove_class(self, number: int) -> None:
        for stream in self.streams:
            stream.remove_class(number)
        self.classes -= 1
        self.fitted["settled_classes"] -= 1

    def tensors(self) -> dict[str, Tensor]:
        saved = self.common_tensors()
        for number, stream in enumerate(self.streams):
            saved |= add_prefix(f"stream{number}", stream.tensors())
        return saved

    def load(self, tensors: dict[str, Tensor]) -> None:
        self.load_common(tensors)
        assert self.embedding is not None
        self.streams = tuple(RecursiveRidge(size, 1.0) for size in self.embedding.sizes)
        for number, stream in enumerate(self.streams):
            stream.load(strip_prefix(f"stream{number}", tensors))
        self.classes = self.streams[0].classes
        if any(stream.classes != self.classes for stream in self.streams):
            raise InputError("the saved streams have different numbers of classes")

    @property
    def statistics_bytes(self) -> int:
        assert self.embedding is not None
        return sum(stream.bytes for stream in self.streams) + self.embedding.bytes
