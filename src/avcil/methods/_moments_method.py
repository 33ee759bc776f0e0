"""What learners in closed form share: the pooled vectors of the step at work, and the second moments of features.

B clips of a batch, n of the step at work, P pooled width, M features, C classes.

The pooled vectors of the step at work (8 n P bytes) wait until `solve`: the first step's make the embedding,
and those of each step judge the penalty. Then they enter the statistics and are dropped; no clip outlives its
step.
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


class StepwiseMethod(ClosedFormMethod):
    """Base of the learners that take in a step's clips together, however they came in."""

    def __init__(self, options: Any, *, modality: Modality) -> None:
        super().__init__(options, modality=modality)
        self.classes = 0
        self.figures: dict[str, float] = {}
        """Numbers that steps settled and that later calls need, saved with the statistics."""
        self._waiting: list[tuple[tuple[Tensor, ...], Tensor]] = []

    @abstractmethod
    def take_in(self, parts: tuple[Tensor, ...], labels: Tensor) -> None:
        """Add a step: pooled vectors (n, Da) and (n, Dv) or one of them, labels (n,)."""

    @abstractmethod
    def linear_scores(self) -> LinearScores:
        """The model that the statistics give."""

    def grow(self, count: int) -> None:
        self.classes += count

    def observe(self, audio: Tensor | None, visual: Tensor | None, labels: Tensor) -> None:
        self._check(labels)
        self._waiting.append((pool(audio, visual, self.modality), labels))

    def _check(self, labels: Tensor) -> None:
        if len(labels) and int(labels.max()) >= self.classes:
            raise InputError(
                f"class number {int(labels.max())} is unknown: there are {self.classes} classes. Grow first"
            )

    def solve(self) -> LinearScores:
        self.flush()
        return self.linear_scores()

    def flush(self) -> None:
        """Take in what waits."""
        if self._waiting:
            waiting, self._waiting = self._waiting, []
            parts = tuple(torch.cat(group) for group in zip(*(parts for parts, _ in waiting), strict=True))
            self.take_in(parts, torch.cat([labels for _, labels in waiting]))

    @classmethod
    def load_model(cls, config: dict[str, Any], tensors: dict[str, Tensor]) -> LinearScores:
        return LinearScores.from_config(cls.name, config, tensors)


class MomentsMethod(StepwiseMethod):
    """Base of the learners whose state is `Moments` of one embedding."""

    def __init__(self, options: Any, *, modality: Modality) -> None:
        super().__init__(options, modality=modality)
        self.embedding: Embedding | None = None
        self.moments: Moments | None = None

    @abstractmethod
    def embedding_config(self) -> EmbeddingConfig:
        """How clips become vectors."""

    @abstractmethod
    def settle(self, features: Tensor, labels: Tensor, old: Moments) -> None:
        """Set `figures` by the step's features (n, M), part of the moments already; `old`: without them."""

    @abstractmethod
    def linear(self) -> tuple[Tensor, Tensor]:
        """Weight (M, C) and bias (C,) that the moments give; sets the figures that come of it."""

    def grow(self, count: int) -> None:
        self.flush()
        super().grow(count)
        if self.moments is not None:
            self.moments.grow(count)

    def take_in(self, parts: tuple[Tensor, ...], labels: Tensor) -> None:
        if self.embedding is None or self.moments is None:
            self.embedding = Embedding.fit(self.embedding_config(), parts)
            self.moments = Moments(self.embedding.width)
            self.moments.grow(self.classes)
        features = embed(self.embedding, parts)
        old = self.moments.copy()
        self.moments.add(features, labels)
        self.settle(features, labels, old)

    def linear_scores(self) -> LinearScores:
        if self.embedding is None:
            raise AvcilError(f"method {self.name} has seen no clip yet")
        weight, bias = self.linear()
        return LinearScores(self.name, self.modality, self.embedding, weight, bias)

    def forget(self, audio: Tensor | None, visual: Tensor | None, labels: Tensor) -> None:
        """Subtract clips: to rounding, the moments are then those of the other clips alone.

        Mean and deviation of the first step, and a penalty or sharpness that clips of the current step chose,
        stay; `normalise=length` keeps no such thing of the first step.
        """
        self.flush()
        if self.embedding is None or self.moments is None:
            raise InputError("nothing has been learnt yet: there is nothing to forget")
        self._check(labels)
        self.moments.remove(self.embedding(pool(audio, visual, self.modality)), labels)

    def tensors(self) -> dict[str, Tensor]:
        assert self.embedding is not None
        assert self.moments is not None
        saved = prefixed("moments", self.moments.tensors()) | prefixed("embedding", self.embedding.tensors())
        return saved | {"widths": torch.tensor(self.embedding.widths)} | figure_tensors(self.figures)

    def load(self, tensors: dict[str, Tensor]) -> None:
        widths = tuple(tensors["widths"].tolist())
        self.embedding = Embedding(self.embedding_config(), widths, under("embedding", tensors))
        self.moments = Moments.from_tensors(under("moments", tensors))
        self.figures = {name: float(value) for name, value in under("figure", tensors).items()}
        self.classes, self._waiting = self.moments.classes, []

    def report(self) -> dict[str, float]:
        """The figures, and the bytes that are kept from step to step."""
        assert self.embedding is not None
        assert self.moments is not None
        return self.figures | {"bytes": float(self.moments.bytes + self.embedding.bytes)}


def embed(embedding: Embedding, parts: tuple[Tensor, ...]) -> Tensor:
    """h (n, M), `CHUNK` clips at a time."""
    return torch.cat([embedding(chunk) for chunk in zip(*(part.split(CHUNK) for part in parts), strict=True)])


def prefixed(prefix: str, tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    """Tensors under `prefix.name`."""
    return {f"{prefix}.{name}": tensor for name, tensor in tensors.items()}


def under(prefix: str, tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    """What `prefixed` put away."""
    start = prefix + "."
    return {name.removeprefix(start): tensor for name, tensor in tensors.items() if name.startswith(start)}


def figure_tensors(figures: dict[str, float]) -> dict[str, Tensor]:
    """Numbers as tensors to be saved."""
    return prefixed("figure", {k: torch.tensor(v, dtype=torch.float64) for k, v in figures.items()})
