"""What the learners by second moments share: pooled vectors of the step at work, an embedding, the moments.

B clips of a batch, n of the step at work, P pooled width, M features, C classes.

The pooled vectors of the step at work (8 n P bytes) wait until `solve`: the first step's make the embedding, and
those of each step judge the penalty. Then they are added to the moments and dropped; no clip outlives its step.
"""

from __future__ import annotations

from abc import abstractmethod
from typing import Any

import torch
from torch import Tensor

from avcil.errors import AvcilError, InputError
from avcil.methods.base import ClosedFormMethod
from avcil.models.base import Modality
from avcil.models.closed_form import LinearScores
from avcil.models.embedding import Embedding, EmbeddingConfig, pool
from avcil.statistics.moments import Moments

CHUNK = 1024
"""Clips whose features (M each) exist at once."""


class MomentsMethod(ClosedFormMethod):
    """Base of the learners whose state is `Moments`."""

    def __init__(self, options: Any, *, modality: Modality) -> None:
        super().__init__(options, modality=modality)
        self.classes = 0
        self.embedding: Embedding | None = None
        self.moments: Moments | None = None
        self.figures: dict[str, float] = {}
        """Numbers that the last step settled and that later calls need, saved with the moments."""
        self._waiting: list[tuple[tuple[Tensor, ...], Tensor]] = []

    # -- what a learner says ---------------------------------------------------------------------------------------

    @abstractmethod
    def embedding_config(self) -> EmbeddingConfig:
        """How clips become vectors."""

    @abstractmethod
    def settle(self, features: Tensor, labels: Tensor, old: Moments) -> None:
        """Set `figures` by the step's features (n, M), which are part of the moments already; `old`: without them."""

    @abstractmethod
    def linear(self) -> tuple[Tensor, Tensor]:
        """Weight (M, C) and bias (C,) that the moments give, and its `report` figures."""

    # -- the life of a step ------------------------------------------------------------------------------------------

    def grow(self, count: int) -> None:
        self.classes += count
        if self.moments is not None:
            self.moments.grow(count)

    def observe(self, audio: Tensor | None, visual: Tensor | None, labels: Tensor) -> None:
        if len(labels) and int(labels.max()) >= self.classes:
            raise InputError(
                f"class number {int(labels.max())} is unknown: {self.classes} classes. Grow first"
            )
        self._waiting.append((pool(audio, visual, self.modality), labels))

    def solve(self) -> LinearScores:
        if self._waiting:
            self._take_in()
        if self.embedding is None:
            raise AvcilError(f"method {self.name} has seen no clip yet")
        weight, bias = self.linear()
        return LinearScores(self.name, self.modality, self.embedding, weight, bias)

    def _take_in(self) -> None:
        parts = tuple(torch.cat(group) for group in zip(*(parts for parts, _ in self._waiting), strict=True))
        labels = torch.cat([labels for _, labels in self._waiting])
        self._waiting = []
        if self.embedding is None or self.moments is None:
            self.embedding = Embedding.fit(self.embedding_config(), parts)
            self.moments = Moments(self.embedding.width)
            self.moments.grow(self.classes)
        features = torch.cat([self.embedding(chunk) for chunk in _chunks(parts)])
        old = self.moments.copy()
        self.moments.add(features, labels)
        self.settle(features, labels, old)

    def forget(self, audio: Tensor | None, visual: Tensor | None, labels: Tensor) -> None:
        """Subtract clips: to rounding, the moments are then those of the other clips alone.

        Mean and deviation of the first step, and a penalty or sharpness that clips of the current step chose,
        stay; `normalise=length` keeps no such thing of the first step.
        """
        if self._waiting:
            self._take_in()
        if self.embedding is None or self.moments is None:
            raise InputError("nothing has been learnt yet: there is nothing to forget")
        self.moments.remove(self.embedding(pool(audio, visual, self.modality)), labels)

    # -- saving --------------------------------------------------------------------------------------------------------

    def tensors(self) -> dict[str, Tensor]:
        assert self.embedding is not None
        assert self.moments is not None
        saved = {f"moments.{name}": tensor for name, tensor in self.moments.tensors().items()}
        saved |= {f"embedding.{name}": tensor for name, tensor in self.embedding.tensors().items()}
        saved |= {
            f"figure.{name}": torch.tensor(value, dtype=torch.float64) for name, value in self.figures.items()
        }
        return saved | {"widths": torch.tensor(self.embedding.widths)}

    def load(self, tensors: dict[str, Tensor]) -> None:
        groups: dict[str, dict[str, Tensor]] = {"moments": {}, "embedding": {}, "figure": {}}
        for name, tensor in tensors.items():
            if name != "widths":
                group, _, key = name.partition(".")
                groups[group][key] = tensor
        widths = tuple(tensors["widths"].tolist())
        self.embedding = Embedding(self.embedding_config(), widths, groups["embedding"])
        self.moments = Moments.from_tensors(groups["moments"])
        self.figures = {name: float(value) for name, value in groups["figure"].items()}
        self.classes, self._waiting = self.moments.classes, []

    @classmethod
    def load_model(cls, config: dict[str, Any], tensors: dict[str, Tensor]) -> LinearScores:
        return LinearScores.from_config(cls.name, config, tensors)

    def report(self) -> dict[str, float]:
        """The figures, and the bytes that are kept from step to step."""
        assert self.embedding is not None
        assert self.moments is not None
        return self.figures | {"bytes": float(self.moments.bytes + self.embedding.bytes)}


def _chunks(parts: tuple[Tensor, ...]) -> list[tuple[Tensor, ...]]:
    return list(zip(*(part.split(CHUNK) for part in parts), strict=True))
