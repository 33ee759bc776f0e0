"""Base class of recursive methods: one stream of ridge regression for each block of the embedding.

n clips of a step, M_b features of a block, C classes.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn import functional as F

from avcil.closed_form.head import ClosedFormHead
from avcil.closed_form.recursive_least_squares import RecursiveRidge
from avcil.errors import InputError
from avcil.methods._head_state import HeadState
from avcil.methods._saved_statistics import saved_learned_clips
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

    @abstractmethod
    def new_ridge(self, number: int, features: Tensor, labels: Tensor) -> float:
        """The penalty of stream `number`, from features (n, M_b) and labels (n,) of the first step."""

    @abstractmethod
    def update(self, blocks: Sequence[Tensor], targets: Tensor, is_new: Tensor) -> Tensor:
        """Add the clips of a step to the streams.

        Args:
            blocks: (n, M_b), features of each block of the embedding.
            targets: (n, C), one-hot.
            is_new: (C,) bool, the classes of the step.

        Returns:
            Scores (n, C) of the clips that were computed without them, for the calibration.
        """

    @abstractmethod
    def stream_weights(self) -> list[float]:
        """The weight of each stream in the scores."""

    def partial_fit(self, parts: tuple[Tensor, ...], labels: Tensor) -> None:
        if self.embedding is None:
            self.embedding = self.fit_embedding(parts)
            self.head_states = self.make_head_states()
        blocks = [self.embedding.of_block(number, parts) for number in range(len(self.embedding.blocks))]
        is_new = torch.arange(self.classes) >= (self.fitted["settled_classes"] if self.streams else 0)
        if not self.streams:
            ridges = [self.new_ridge(number, features, labels) for number, features in enumerate(blocks)]
            self.streams = tuple(map(RecursiveRidge, self.embedding.sizes, ridges))
            for stream in self.streams:
                stream.add_classes(self.classes)
        scores = self.update(blocks, F.one_hot(labels, self.classes).double(), is_new)
        self.head_states[0].calibration.add(scores, labels)
        self.fitted["settled_classes"] = self.classes

    def head(self, state: HeadState) -> ClosedFormHead:
        weights = zip(self.stream_weights(), self.streams, strict=True)
        return ClosedFormHead(
            columns=state.columns,
            weight=torch.cat([weight * stream.theta for weight, stream in weights]),
            bias=torch.zeros(self.classes, dtype=torch.float64),
            inverse_temperature=state.calibration.inverse_temperature,
        )

    def remove_class(self, number: int) -> None:
        for stream in self.streams:
            stream.remove_class(number)
        self.learned.remove_class(number)
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
        self.learned = saved_learned_clips(strip_prefix("learned", tensors), self.classes)

    @property
    def statistics_bytes(self) -> int:
        assert self.embedding is not None
        return sum(stream.bytes for stream in self.streams) + self.embedding.bytes
