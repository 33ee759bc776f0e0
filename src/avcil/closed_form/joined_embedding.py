"""Several embeddings side by side: of all of a clip's vectors, or each of some.

B clips, M features of all blocks together.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from avcil.closed_form.embedding import Embedding, EmbeddingConfig, Standard
from avcil.errors import InputError
from avcil.models import checks

Block = tuple[EmbeddingConfig, tuple[int, ...]]
"""A block's embedding and the numbers of the clip's vectors (see `pool`) that it looks at."""
MOST_BLOCKS = 64
CHUNK = 1024
"""Clips that are embedded at once."""


class JoinedEmbedding:
    """h = [h_1, ..., h_n], a block each."""

    def __init__(self, blocks: Sequence[tuple[Embedding, tuple[int, ...]]]) -> None:
        self.blocks = list(blocks)

    @classmethod
    def fit(
        cls,
        blocks: Sequence[Block],
        parts: tuple[Tensor, ...],
        standards: Sequence[Standard] | None = None,
    ) -> JoinedEmbedding:
        """Fit each block; arguments as of `Embedding.fit`, for all vectors of a clip."""

        def of_block(config: EmbeddingConfig, at: tuple[int, ...]) -> Embedding:
            own = None if standards is None else [standards[i] for i in at]
            return Embedding.fit(config, tuple(parts[i] for i in at), own)

        return cls([(of_block(config, at), at) for config, at in blocks])

    @property
    def sizes(self) -> list[int]:
        """Features of each block."""
        return [embedding.width for embedding, _ in self.blocks]

    @property
    def bytes(self) -> int:
        """Memory of its numbers."""
        return sum(embedding.bytes for embedding, _ in self.blocks)

    def of_block(self, number: int, parts: tuple[Tensor, ...]) -> Tensor:
        """h of one block (B, M_b)."""
        embedding, at = self.blocks[number]
        chunks = zip(*(parts[i].split(CHUNK) for i in at), strict=True)
        return torch.cat([embedding(chunk) for chunk in chunks])

    def __call__(self, parts: tuple[Tensor, ...]) -> Tensor:
        """h (B, M) of clips' vectors."""
        return torch.cat([self.of_block(number, parts) for number in range(len(self.blocks))], dim=1)

    def to_config(self) -> list[dict[str, Any]]:
        """Plain JSON that builds it again, with `tensors`."""
        return [{"at": list(at), "embedding": embedding.to_config()} for embedding, at in self.blocks]

    def tensors(self) -> dict[str, Tensor]:
        """Every number of it, under its block's."""
        numbered = enumerate(embedding.tensors() for embedding, _ in self.blocks)
        return {f"{n}.{name}": tensor for n, tensors in numbered for name, tensor in tensors.items()}

    @classmethod
    def from_config(cls, config: Sequence[dict[str, Any]], tensors: dict[str, Tensor]) -> JoinedEmbedding:
        """What `to_config` and `tensors` describe.

        Raises:
            InputError: If they do not fit each other, or hold what no embedding has.
        """
        if not isinstance(config, list) or not 1 <= len(config) <= MOST_BLOCKS:
            raise InputError(f"the embedding must be a list of 1 to {MOST_BLOCKS} blocks")
        blocks, used = [], set()
        for number, block in enumerate(config):
            start = f"{number}."
            own = {n.removeprefix(start): tensor for n, tensor in tensors.items() if n.startswith(start)}
            used |= {start + name for name in own}
            at = checks.whole_numbers(block, "at", most=MOST_BLOCKS)
            blocks.append((Embedding.from_config(checks.entry(block, "embedding"), own), tuple(at)))
        checks.no_others(tensors, used)
        new = cls(blocks)
        new.vector_widths()
        return new

    def vector_widths(self) -> list[int]:
        """Of each of a clip's vectors, as the blocks know them; InputError where blocks disagree."""
        known: dict[int, int] = {}
        for embedding, at in self.blocks:
            if len(at) != len(embedding.widths) or len(set(at)) != len(at):
                raise InputError(f"a block looks at the vectors {at} of widths {embedding.widths}")
            for vector, width in zip(at, embedding.widths, strict=True):
                if known.setdefault(vector, width) != width:
                    raise InputError(
                        f"vector {vector} is {known[vector]} wide in one block, {width} in another"
                    )
        if sorted(known) != list(range(len(known))):
            raise InputError(f"the blocks look at the vectors {sorted(known)}, and skip some")
        return [known[vector] for vector in sorted(known)]
