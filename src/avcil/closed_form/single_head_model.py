"""Base class of closed-form models with one head: scores of an embedding. Clips need all modalities of the model.

B clips, M features, C classes:   scores = s f(h),   h (B, M) the embedding, s the inverse temperature
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import Any, Self

import torch
from torch import Tensor

from avcil.closed_form.embedded_model import EmbeddedModel
from avcil.closed_form.embedding import pool
from avcil.data.modality import Modality
from avcil.errors import InputError
from avcil.utils import checks


@dataclass(kw_only=True, eq=False, repr=False)
class SingleHeadModel(EmbeddedModel, ABC):
    """Pooling, embedding and inverse temperature; subclasses add `raw_scores`, and name their weights."""

    inverse_temperature: float
    """s"""
    weights: dict[str, Tensor]

    def __post_init__(self) -> None:
        self.weights = {name: tensor.contiguous() for name, tensor in self.weights.items()}

    @property
    @abstractmethod
    def classes(self) -> int:
        """C"""

    @staticmethod
    @abstractmethod
    def raw_scores(features: Tensor, weights: dict[str, Tensor]) -> Tensor:
        """Scores (B, C) before the inverse temperature, of features h (B, M)."""

    @classmethod
    @abstractmethod
    def check(cls, tensors: dict[str, Tensor], *, classes: int, sizes: list[int]) -> dict[str, Tensor]:
        """The weights, from tensors read from a file, with M = sum(sizes); InputError if they are invalid."""

    @property
    def input_modalities(self) -> tuple[Modality, ...]:
        """Only the modality of the model: there is no head for one modality alone."""
        return (self.modality,)

    def scores(self, audio: Tensor | None, visual: Tensor | None) -> Tensor:
        """Scores (B, C) of audio (B, Da) and visual (B, T, S, Dv)."""
        if self.modality.present(audio, visual) is not self.modality:
            raise InputError(
                f"this {self.kind} model can only predict clips with the modality {self.modality}"
            )
        features = self.embedding(pool(audio, visual, self.modality, self.pooling))
        return self.inverse_temperature * self.raw_scores(features, self.weights)

    def to_config(self) -> dict[str, Any]:
        return super().to_config() | {"classes": self.classes}

    def tensors(self) -> dict[str, Tensor]:
        factor = torch.tensor(self.inverse_temperature, dtype=torch.float64)
        return super().tensors() | self.weights | {"inverse_temperature": factor}

    @classmethod
    def from_config(cls, kind: str, config: dict[str, Any], tensors: dict[str, Tensor]) -> Self:
        """Restore from `to_config` and `tensors`.

        Raises:
            InputError: They are invalid or inconsistent.
        """
        arguments = cls.read_embedding(config, tensors)
        factor = checks.tensor(tensors, "inverse_temperature", (), dtypes=checks.DOUBLE)
        weights = {
            name: tensor
            for name, tensor in tensors.items()
            if name != "inverse_temperature" and not name.startswith("embedding.")
        }
        classes = checks.whole_number(config, "classes", least=1)
        return cls(
            kind=kind,
            **arguments,
            inverse_temperature=checks.positive(factor, "the inverse temperature"),
            weights=cls.check(weights, classes=classes, sizes=arguments["embedding"].sizes),
        )
