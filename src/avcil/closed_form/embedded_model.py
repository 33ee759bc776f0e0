"""Base class of closed-form models: pooling and embedding of a clip."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, get_args

from torch import Tensor

from avcil.closed_form.embedding import Pooling
from avcil.closed_form.joined_embedding import JoinedEmbedding
from avcil.data.modality import Modality
from avcil.utils import checks
from avcil.utils.tensor_names import add_prefix, strip_prefix


@dataclass(kw_only=True, eq=False, repr=False)
class EmbeddedModel:
    """Pooling and embedding; subclasses compute scores of the embedding."""

    kind: str
    """The method's name."""
    modality: Modality
    pooling: Pooling
    """Pooling of visual tokens."""
    embedding: JoinedEmbedding

    @property
    def input_widths(self) -> dict[str, int]:
        """Da and Dv, as far as the modality has them."""
        return self.embedding.input_widths(self.modality)

    @property
    def notes(self) -> tuple[str, ...]:
        """Notes for the user."""
        return self.embedding.notes

    def to_config(self) -> dict[str, Any]:
        return {
            "modality": self.modality,
            "pooling": self.pooling,
            "embedding": self.embedding.to_config(),
        }

    def tensors(self) -> dict[str, Tensor]:
        return add_prefix("embedding", self.embedding.tensors())

    @staticmethod
    def read_embedding(config: dict[str, Any], tensors: dict[str, Tensor]) -> dict[str, Any]:
        """The arguments `modality`, `pooling` and `embedding` from `to_config` and `tensors`.

        Raises:
            InputError: They are invalid or inconsistent.
        """
        modality = Modality(checks.choice(config, "modality", tuple(Modality)))
        pooling = checks.choice(config, "pooling", get_args(Pooling))
        embedding = JoinedEmbedding.from_config(
            checks.entry(config, "embedding"), strip_prefix("embedding", tensors)
        )
        embedding.check_vectors(modality, pooling)
        return {"modality": modality, "pooling": pooling, "embedding": embedding}
