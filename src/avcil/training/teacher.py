"""The last step's model, frozen, and a memory of what it said.

A step's clips and its teacher do not change, so what the teacher gives for a clip is computed once a step and
recalled by the clip's row; where that would fit nowhere, it is computed for each batch again. The values are the same
to rounding.
"""

from __future__ import annotations

import copy
from collections.abc import Callable
from pathlib import Path

import torch
from torch import Tensor

from avcil.methods.base import Batch
from avcil.nn.network import Network
from avcil.nn.token_rows import Tokens
from avcil.training.data import Table
from avcil.training.memory_pool import Budget
from avcil.training.teacher_cache import TeacherCache, teacher_cache_for

Compute = Callable[[Network, Batch], tuple[Tensor, ...]]
"""Asked of the network about a batch: tensors (N, ...), what is said of a clip independent of the others."""


EVAL_BATCH_SIZE = {"cpu": 8, "cuda": 64}
"""Clips that the network is asked about at once: their tokens are copied, beside all that an iteration holds."""


def _logits(network: Network, batch: Batch) -> tuple[Tensor, ...]:
    return (network(batch.audio, batch.visual).logits,)


class Teacher:
    """A frozen copy of a network beside the pool of clips it is asked about."""

    def __init__(
        self, network: Network, pool: Table, *, new_count: int, budget: Budget, scratch: Path | None = None
    ) -> None:
        """`new_count`: how many of the pool's first clips are new; the others are exemplars.

        `budget`, `scratch`: the rooms for what it said, and the folder of scratch files.
        """
        self.network = copy.deepcopy(network).eval().requires_grad_(False)
        self._pool, self._new_count = pool, new_count
        self._budget, self._scratch = budget, scratch
        self._shelves: dict[str, TeacherCache | None] = {}

    @property
    def places(self) -> dict[str, str | None]:
        """Where what it was asked is kept, by name; None: it is asked each time."""
        return {name: None if shelf is None else shelf.place for name, shelf in self._shelves.items()}

    def recall(self, name: str, compute: Compute, batch: Batch) -> tuple[Tensor, ...]:
        """`compute(network, batch)`, each tensor (N, ...), from memory where it has room there.

        `name` stands for `compute` in the memory. Runs without gradient.
        """
        shelf = self._shelf(name, compute, batch)
        return self._asked(compute, batch) if shelf is None else shelf.get(batch.rows)

    def recall_rows(self, name: str, compute: Compute, batch: Batch) -> tuple[Tokens, ...]:
        """As `recall`, but what stands in a processor's memory is not copied together."""
        shelf = self._shelf(name, compute, batch)
        return self._asked(compute, batch) if shelf is None else shelf.get_rows(batch.rows)

    def _shelf(self, name: str, compute: Compute, batch: Batch) -> TeacherCache | None:
        if name not in self._shelves:
            self._shelves[name] = self._filled(compute, batch)
        return self._shelves[name]

    def _asked(self, compute: Compute, batch: Batch) -> tuple[Tensor, ...]:
        if not batch.is_whole:  # clips too many to be held at once
            parts = [self._ask(compute, rows) for rows in batch.rows.split(self._company)]
            return tuple(torch.cat(tensors) for tensors in zip(*parts, strict=True))
        with torch.no_grad():
            return compute(self.network, batch)

    def logits(self, batch: Batch) -> Tensor:
        """The frozen network's logits (N, K_old)."""
        return self.recall("logits", _logits, batch)[0]

    @property
    def _company(self) -> int:
        """A fixed number for a run, the same whatever the batches are; less where memory is short."""
        return max(1, min(EVAL_BATCH_SIZE[self._pool.labels.device.type], self._pool.eval_batch_size // 4))

    def _ask(self, compute: Compute, rows: Tensor, taken: tuple | None = None) -> tuple[Tensor, ...]:
        audio, visual = self._pool.take(rows) if taken is None else taken
        labels = self._pool.labels[rows]
        batch = Batch(audio=audio, visual=visual, labels=labels, rows=rows, new_count=len(rows))
        with torch.no_grad():
            return compute(self.network, batch)

    def _filled(self, compute: Compute, batch: Batch) -> TeacherCache | None:
        """All that will be asked for: of exemplars, which stand last, where the batch holds them alone."""
        sample = self._ask(compute, batch.rows[:1])
        first = self._new_count if batch.new_count == 0 else 0
        count = len(self._pool) - first
        shelf = teacher_cache_for(sample, count, first=first, budget=self._budget, scratch=self._scratch)
        if shelf is not None:
            # A clip is computed in the same company whatever the batches are: a resumed run recalls the same bits.
            companies = list(torch.arange(count).split(self._company))
            stream = self._pool.stream(rows + first for rows in companies)
            for rows, taken in zip(companies, stream, strict=True):
                values = self._ask(compute, rows + first, taken)
                shelf.put(slice(int(rows[0]), int(rows[-1]) + 1), values)
        return shelf
