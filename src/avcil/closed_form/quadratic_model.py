"""A closed-form model whose scores are distances under a matrix of each class: that of FeCAM.

B clips, P width of the embedding's features h, C classes:   score_c = -s (h - mu_c)^T A_c (h - mu_c)
"""

from __future__ import annotations

from typing import Any, get_args

import torch
from torch import Tensor

from avcil.closed_form.embedding import Pooling, pool
from avcil.closed_form.joined_embedding import JoinedEmbedding
from avcil.closed_form.symmetric import packed, unpacked
from avcil.errors import InputError
from avcil.models import checks
from avcil.models.base import MODALITIES, Modality, modality_parts

DOUBLE = (torch.float64,)


class QuadraticScores:
    """Embedding, class means and matrices; `kind` is the method's name."""

    def __init__(
        self,
        kind: str,
        modality: Modality,
        *,
        pooling: Pooling,
        embedding: JoinedEmbedding,
        means: Tensor,
        matrices: Tensor,
        inverse_temperature: float,
    ) -> None:
        """means (C, P), matrices A (C, P, P) symmetric, float64; the inverse temperature s."""
        self.kind, self.modality = kind, modality
        self.pooling, self.embedding = pooling, embedding
        self.inverse_temperature = inverse_temperature
        self.means, self.matrices = means.contiguous(), matrices.contiguous()

    @property
    def classes(self) -> int:
        """C"""
        return len(self.means)

    @property
    def input_widths(self) -> dict[str, int]:
        """Da and Dv of what it looks at."""
        has_audio, has_visual = modality_parts(self.modality)
        widths = self.embedding.vector_widths()
        return ({"audio": widths[0]} if has_audio else {}) | ({"visual": widths[-1]} if has_visual else {})

    @property
    def answers(self) -> tuple[Modality, ...]:
        """Its own modality alone: a part of A_c says nothing about one modality."""
        return (self.modality,)

    def scores(self, audio: Tensor | None, visual: Tensor | None) -> Tensor:
        """Scores (B, C) of audio (B, Da) and visual (B, T, S, Dv)."""
        has_audio, has_visual = modality_parts(self.modality)
        if (has_audio and audio is None) or (has_visual and visual is None):
            raise InputError(f"this {self.kind} model answers for clips with {self.modality} alone")
        features = self.embedding(pool(audio, visual, self.modality, self.pooling))
        return self.inverse_temperature * quadratic_scores(features, self.means, self.matrices)

    def to_config(self) -> dict[str, Any]:
        return {
            "modality": self.modality,
            "pooling": self.pooling,
            "embedding": self.embedding.to_config(),
            "classes": self.classes,
        }

    def tensors(self) -> dict[str, Tensor]:
        saved = {f"embedding.{name}": tensor for name, tensor in self.embedding.tensors().items()}
        return saved | {
            "means": self.means,
            "matrices": torch.stack([packed(matrix) for matrix in self.matrices]),
            "inverse_temperature": torch.tensor(self.inverse_temperature, dtype=torch.float64),
        }

    @classmethod
    def from_config(cls, kind: str, config: dict[str, Any], tensors: dict[str, Tensor]) -> QuadraticScores:
        """What `to_config` and `tensors` describe.

        Raises:
            InputError: If they do not fit each other, or hold what no such model has.
        """
        modality = checks.choice(config, "modality", MODALITIES)
        start = "embedding."
        inner = {name.removeprefix(start): t for name, t in tensors.items() if name.startswith(start)}
        embedding = JoinedEmbedding.from_config(checks.entry(config, "embedding"), inner)
        width, classes = sum(embedding.sizes), checks.whole_number(config, "classes", least=1)
        checks.no_others(
            tensors, ["means", "matrices", "inverse_temperature", *(start + name for name in inner)]
        )
        half = checks.tensor(tensors, "matrices", (classes, width * (width + 1) // 2), dtypes=DOUBLE)
        inverse_temperature = checks.tensor(tensors, "inverse_temperature", (), dtypes=DOUBLE)
        return cls(
            kind,
            modality,
            pooling=checks.choice(config, "pooling", get_args(Pooling)),
            embedding=embedding,
            means=checks.tensor(tensors, "means", (classes, width), dtypes=DOUBLE),
            matrices=torch.stack([unpacked(numbers, width) for numbers in half]),
            inverse_temperature=checks.positive(inverse_temperature, "the inverse temperature"),
        )


def quadratic_scores(features: Tensor, means: Tensor, matrices: Tensor) -> Tensor:
    """-(h - mu_c)^T A_c (h - mu_c), (B, C), of features (B, P), means (C, P) and matrices (C, P, P)."""
    scores = []
    for mean, matrix in zip(means, matrices, strict=True):
        away = features - mean
        scores.append(-((away @ matrix) * away).sum(dim=1))
    return torch.stack(scores, dim=1)
