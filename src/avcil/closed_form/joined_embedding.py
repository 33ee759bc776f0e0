"""Concatenation of several embeddings, each of some or all vectors of a clip.

B clips, M features of all blocks.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from avcil.closed_form.embedding import (
    FROM_FIRST_STEP,
    Embedding,
    EmbeddingConfig,
    Pooling,
    Standard,
    vector_count,
)
from avcil.data.modality import Modality
from avcil.errors import InputError
from avcil.utils import checks
from avcil.utils.tensor_names import add_prefix, strip_prefix

Block = tuple[EmbeddingConfig, tuple[int, ...]]
"""An embedding and the indices of the vectors (see `pool`) that it uses."""
_MAX_BLOCKS = 64
_CHUNK = 1024
"""Clips that are embedded together."""
_FIRST_STEP_NOTE = (
    "features are scaled with the clips of the first step, so the model depends on the order of the classes"
)


class JoinedEmbedding:
    """h = [h_1, ..., h_n], one h per block."""

    def __init__(self, blocks: Sequence[tuple[Embedding, tuple[int, ...]]]) -> None:
        self.blocks = list(blocks)

    @classmethod
    def fit(
        cls,
        blocks: Sequence[Block],
        parts: tuple[Tensor, ...],
        standards: Sequence[Standard] | None = None,
    ) -> JoinedEmbedding:
        """Fit all blocks; see `Embedding.fit`. `parts` and `standards` are for all vectors of a clip."""

        def fit_block(config: EmbeddingConfig, at: tuple[int, ...]) -> Embedding:
            constants = None if standards is None else [standards[i] for i in at]
            return Embedding.fit(config, tuple(parts[i] for i in at), constants)

        return cls([(fit_block(config, at), at) for config, at in blocks])

    @property
    def sizes(self) -> list[int]:
        """Features of each block."""
        return [embedding.width for embedding, _ in self.blocks]

    @property
    def bytes(self) -> int:
        """Size of the tensors."""
        return sum(embedding.bytes for embedding, _ in self.blocks)

    @property
    def notes(self) -> tuple[str, ...]:
        """Notes for the user."""
        scales = {block.config.normalize for block, _ in self.blocks}
        return (_FIRST_STEP_NOTE,) if scales & set(FROM_FIRST_STEP) else ()

    def of_block(self, number: int, parts: tuple[Tensor, ...]) -> Tensor:
        """h of one block (B, M_b)."""
        embedding, at = self.blocks[number]
        chunks = zip(*(parts[i].split(_CHUNK) for i in at), strict=True)
        return torch.cat([embedding(chunk) for chunk in chunks])

    def __call__(self, parts: tuple[Tensor, ...]) -> Tensor:
        """h (B, M) of the vectors of clips."""
        return torch.cat([self.of_block(number, parts) for number in range(len(self.blocks))], dim=1)

    def to_config(self) -> list[dict[str, Any]]:
        """The configuration as JSON."""
        return [{"at": list(at), "embedding": embedding.to_config()} for embedding, at in self.blocks]

    def tensors(self) -> dict[str, Tensor]:
        """The tensors to save, with the block number as prefix."""
        saved: dict[str, Tensor] = {}
        for number, (embedding, _) in enumerate(self.blocks):
            saved |= add_prefix(str(number), embedding.tensors())
        return saved

    @classmethod
    def from_config(cls, config: Sequence[dict[str, Any]], tensors: dict[str, Tensor]) -> JoinedEmbedding:
        """Restore from `to_config` and `tensors`.

        Raises:
            InputError: They are invalid or inconsistent.
        """
        if not isinstance(config, list) or not 1 <= len(config) <= _MAX_BLOCKS:
            raise InputError(f"the embedding must be a list of 1 to {_MAX_BLOCKS} blocks")
        blocks, used = [], set()
        for number, block in enumerate(config):
            block_tensors = strip_prefix(str(number), tensors)
            used |= set(add_prefix(str(number), block_tensors))
            at = checks.whole_numbers(block, "at", most=_MAX_BLOCKS)
            blocks.append((Embedding.from_config(checks.entry(block, "embedding"), block_tensors), tuple(at)))
        checks.no_others(tensors, used)
        new = cls(blocks)
        new.vector_widths()
        return new

    def input_widths(self, modality: Modality) -> dict[str, int]:
        """Da and Dv, as far as the modality has them."""
        widths = self.vector_widths()
        ends = {"audio": widths[0], "visual": widths[-1]}
        return {part.value: ends[part] for part in modality.parts}

    def check_vectors(self, modality: Modality, pooling: Pooling) -> None:
        """Raise InputError unless the blocks use all vectors of a clip; see `pool`."""
        vectors = vector_count(modality, pooling)
        if len(self.vector_widths()) != vectors:
            raise InputError(f"the embedding uses {len(self.vector_widths())} of {vectors} vectors")

    def vector_widths(self) -> list[int]:
        """Widths of the vectors of a clip; InputError if the blocks are inconsistent."""
        widths: dict[int, int] = {}
        for embedding, at in self.blocks:
            if len(at) != len(embedding.widths) or len(set(at)) != len(at):
                raise InputError(f"a block uses the vectors {at} with the widths {embedding.widths}")
            for vector, width in zip(at, embedding.widths, strict=True):
                if widths.setdefault(vector, width) != width:
                    raise InputError(
                        f"vector {vector} has width {widths[vector]} in one block, {width} in another"
                    )
        if sorted(widths) != list(range(len(widths))):
            raise InputError(f"the blocks use the vectors {sorted(widths)}; some are missing")
        return [widths[vector] for vector in sorted(widths)]
