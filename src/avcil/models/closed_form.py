"""The model of a learner in closed form: scores that are linear in an embedding of the clip.

B clips, M features, C classes:   scores = h Theta + bias
"""

from __future__ import annotations

from typing import Any

from torch import Tensor

from avcil.models.base import Modality
from avcil.models.embedding import Pooling, pool
from avcil.models.joined_embedding import JoinedEmbedding


class LinearScores:
    """Embedding and linear scores; `kind` is the method's name."""

    def __init__(
        self,
        kind: str,
        modality: Modality,
        *,
        pooling: Pooling,
        embedding: JoinedEmbedding,
        weight: Tensor,
        bias: Tensor,
    ) -> None:
        """weight (M, C), bias (C,), float64."""
        self.kind, self.modality = kind, modality
        self.pooling, self.embedding = pooling, embedding
        self.weight, self.bias = weight, bias

    @property
    def classes(self) -> int:
        """C"""
        return self.weight.shape[1]

    def scores(self, audio: Tensor | None, visual: Tensor | None) -> Tensor:
        """Scores (B, C) of audio (B, Da) and visual (B, T, S, Dv)."""
        return self.embedding(pool(audio, visual, self.modality, self.pooling)) @ self.weight + self.bias

    def to_config(self) -> dict[str, Any]:
        return {"modality": self.modality, "pooling": self.pooling, "embedding": self.embedding.to_config()}

    def tensors(self) -> dict[str, Tensor]:
        own = {"weight": self.weight, "bias": self.bias}
        return own | {f"embedding.{name}": tensor for name, tensor in self.embedding.tensors().items()}

    @classmethod
    def from_config(cls, kind: str, config: dict[str, Any], tensors: dict[str, Tensor]) -> LinearScores:
        """What `to_config` and `tensors` describe."""
        inner = {
            name.removeprefix("embedding."): tensor
            for name, tensor in tensors.items()
            if name.startswith("embedding.")
        }
        return cls(
            kind,
            config["modality"],
            pooling=config["pooling"],
            embedding=JoinedEmbedding.from_config(config["embedding"], inner),
            weight=tensors["weight"],
            bias=tensors["bias"],
        )
