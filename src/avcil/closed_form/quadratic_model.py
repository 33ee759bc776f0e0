"""A closed-form model whose scores are Mahalanobis distances with a matrix for each class, as in FeCAM.

B clips, P width of the embedding h, C classes:   score_c = -s (h - mu_c)^T A_c (h - mu_c)
"""

from __future__ import annotations

from typing import Any, get_args

import torch
from torch import Tensor

from avcil.closed_form.embedding import Pooling, pool
from avcil.closed_form.joined_embedding import JoinedEmbedding
from avcil.closed_form.symmetric import packed, unpacked
from avcil.data.modality import Modality
from avcil.errors import InputError
from avcil.models import checks
from avcil.models.prefixes import add_prefix, strip_prefix

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
        """
        Args:
            kind: The method's name.
            modality: Modality of the model.
            pooling: Pooling of visual tokens.
            embedding: The embedding, of width P.
            means: (C, P), float64.
            matrices: A (C, P, P), symmetric, float64.
            inverse_temperature: s.
        """
        self.kind, self.modality = kind, Modality(modality)
        self.pooling, self.embedding = pooling, embedding
        self.inverse_temperature = inverse_temperature
        self.means, self.matrices = means.contiguous(), matrices.contiguous()

    @property
    def classes(self) -> int:
        """C"""
        return len(self.means)

    @property
    def input_widths(self) -> dict[str, int]:
        """Da and Dv, as far as the modality has them."""
        return self.embedding.input_widths(self.modality)

    @property
    def input_modalities(self) -> tuple[Modality, ...]:
        """Only the modality of the model: A_c cannot be restricted to one modality."""
        return (self.modality,)

    @property
    def notes(self) -> tuple[str, ...]:
        """Notes for the user."""
        return self.embedding.notes

    def scores(self, audio: Tensor | None, visual: Tensor | None) -> Tensor:
        """Scores (B, C) of audio (B, Da) and visual (B, T, S, Dv)."""
        if (self.modality.has_audio and audio is None) or (self.modality.has_visual and visual is None):
            raise InputError(
                f"this {self.kind} model can only predict clips with the modality {self.modality}"
            )
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
        return add_prefix("embedding", self.embedding.tensors()) | {
            "means": self.means,
            "matrices": torch.stack([packed(matrix) for matrix in self.matrices]),
            "inverse_temperature": torch.tensor(self.inverse_temperature, dtype=torch.float64),
        }

    @classmethod
    def from_config(cls, kind: str, config: dict[str, Any], tensors: dict[str, Tensor]) -> QuadraticScores:
        """Restore from `to_config` and `tensors`.

        Raises:
            InputError: They are invalid or inconsistent.
        """
        modality = checks.modality(config)
        saved = strip_prefix("embedding", tensors)
        embedding = JoinedEmbedding.from_config(checks.entry(config, "embedding"), saved)
        width, classes = sum(embedding.sizes), checks.whole_number(config, "classes", least=1)
        checks.no_others(
            tensors, ["means", "matrices", "inverse_temperature", *add_prefix("embedding", saved)]
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
        difference = features - mean
        scores.append(-((difference @ matrix) * difference).sum(dim=1))
    return torch.stack(scores, dim=1)
