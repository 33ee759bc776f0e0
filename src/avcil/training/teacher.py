"""The last step's model, frozen, and a memory of what it said.

A step's clips and its teacher do not change, so what the teacher gives for a clip is computed once a step and
recalled by the clip's row; where that would not fit, it is computed for each batch again. The values are the same
to rounding.
"""

from __future__ import annotations

import copy
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from avcil.methods.base import Batch
from avcil.models.network import Network
from avcil.training.data import Table, memory_budget

Compute = Callable[[Network, Batch], tuple[Tensor, ...]]
"""Asked of the network about a batch: tensors (N, ...), what is said of a clip independent of the others."""


COMPANY = 8
"""Clips that the network is asked about at once: their tokens are copied, beside all that an iteration holds."""


def _logits(network: Network, batch: Batch) -> tuple[Tensor, ...]:
    return (network(batch.audio, batch.visual).logits,)


@dataclass(frozen=True, kw_only=True)
class _Memory:
    """What was said of the pool's clips from `first` on."""

    first: int
    tensors: tuple[Tensor, ...]
    """(n, ...) each"""
    filled: Tensor
    """(n,) bool: of which clips it is known"""


class Teacher:
    """A frozen copy of a network beside the pool of clips it is asked about."""

    def __init__(self, network: Network, pool: Table, *, new_count: int, budget: int | None = None) -> None:
        self.network = copy.deepcopy(network).eval().requires_grad_(False)
        self._pool, self._new_count = pool, new_count
        self._budget = memory_budget() // 2 if budget is None else budget
        self._memory: dict[str, _Memory | None] = {}

    def recall(self, name: str, compute: Compute, batch: Batch) -> tuple[Tensor, ...]:
        """`compute(network, batch)`, each tensor (N, ...), from memory where known.

        `name` stands for `compute` in the memory. Runs without gradient.
        """
        if name not in self._memory:
            self._start(name, compute, batch)
        memory = self._memory[name]
        if memory is None:
            with torch.no_grad():
                return compute(self.network, batch)
        self._fill(memory, compute, batch.rows)
        return tuple(tensor[batch.rows - memory.first] for tensor in memory.tensors)

    def logits(self, batch: Batch) -> Tensor:
        """The frozen network's logits (N, K_old)."""
        return self.recall("logits", _logits, batch)[0]

    def _batch(self, rows: Tensor) -> Batch:
        audio, visual = self._pool.take(rows)
        labels = self._pool.labels[rows]
        return Batch(audio=audio, visual=visual, labels=labels, rows=rows, new_count=len(rows))

    def _start(self, name: str, compute: Compute, batch: Batch) -> None:
        """Decide by one clip's size whether all that will be asked for would fit."""
        with torch.no_grad():
            sample = compute(self.network, self._batch(batch.rows[:1]))
        first = self._new_count if batch.new_count == 0 else 0  # of exemplars alone, which stand last
        count = len(self._pool) - first
        size = count * sum(tensor[0].numel() * tensor.element_size() for tensor in sample)
        self._memory[name] = None
        if size <= self._budget:
            tensors = tuple(tensor.new_empty((count, *tensor.shape[1:])) for tensor in sample)
            self._memory[name] = _Memory(
                first=first, tensors=tensors, filled=torch.zeros(count, dtype=torch.bool)
            )

    def _fill(self, memory: _Memory, compute: Compute, rows: Tensor) -> None:
        places = rows - memory.first
        unknown = places[~memory.filled[places]]
        # One clip is computed in the same company whatever the batches are, so a resumed run recalls the same bits.
        for chunk in sorted({int(place) // COMPANY for place in unknown}):
            part = torch.arange(chunk * COMPANY, min((chunk + 1) * COMPANY, len(memory.filled)))
            with torch.no_grad():
                values = compute(self.network, self._batch(part + memory.first))
            for tensor, value in zip(memory.tensors, values, strict=True):
                tensor[part] = value
            memory.filled[part] = True
