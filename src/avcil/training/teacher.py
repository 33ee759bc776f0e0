"""The frozen model of the previous step, with a cache of its outputs.

During a step, neither the clips nor the teacher change, so its outputs are computed once per step and cached by row. If
the cache does not fit into memory, they are computed for each batch. The values are equal up to rounding.
"""

from __future__ import annotations

import copy
from collections.abc import Callable
from pathlib import Path

import torch
from torch import Tensor

from avcil.methods.step import Batch
from avcil.nn.network import Network
from avcil.nn.token_rows import Tokens
from avcil.training.data import Table
from avcil.training.memory_pool import Budget
from avcil.training.teacher_cache import TeacherCache, teacher_cache_for

Compute = Callable[[Network, Batch], tuple[Tensor, ...]]
"""Computes tensors (N, ...) of a batch; the row of a clip must not depend on other clips."""


_EVAL_BATCH_SIZE = {"cpu": 8, "cuda": 64}
"""Batch size of the teacher, by device type. Small, because the tokens are copied in addition to a training batch."""


def _logits(network: Network, batch: Batch) -> tuple[Tensor, ...]:
    return (network(batch.audio, batch.visual).logits,)


class CachedTeacher:
    """A frozen copy of a network, for the clips of one step."""

    def __init__(
        self, network: Network, pool: Table, *, new_count: int, budget: Budget, scratch: Path | None = None
    ) -> None:
        """Copy the network.

        Args:
            network: The model of the previous step.
            pool: The clips of the step: new clips, then exemplars.
            new_count: Number of new clips in the pool.
            budget: Memory for the caches.
            scratch: Folder for temporary files; None for no cache on disk.
        """
        self.network = copy.deepcopy(network).eval().requires_grad_(False)
        self._pool, self._new_count = pool, new_count
        self._budget, self._scratch = budget, scratch
        self._caches: dict[str, TeacherCache | None] = {}

    @property
    def locations(self) -> dict[str, str | None]:
        """Location of each cache by name; None: computed for each batch."""
        return {name: None if cache is None else cache.location for name, cache in self._caches.items()}

    def cached(self, name: str, compute: Compute, batch: Batch) -> tuple[Tensor, ...]:
        """The result of `compute(network, batch)` without gradient, from the cache if it fits.

        Args:
            name: Name of the cache; use one name for each function.
            compute: The function.
            batch: The batch.

        Returns:
            Tensors (N, ...).
        """
        cache = self._cache(name, compute, batch)
        return self._compute_batch(compute, batch) if cache is None else cache.get(batch.rows)

    def cached_rows(self, name: str, compute: Compute, batch: Batch) -> tuple[Tokens, ...]:
        """As `cached`, but tensors in main memory are not copied if the computation runs on the CPU."""
        cache = self._cache(name, compute, batch)
        return self._compute_batch(compute, batch) if cache is None else cache.get_rows(batch.rows)

    def _cache(self, name: str, compute: Compute, batch: Batch) -> TeacherCache | None:
        if name not in self._caches:
            self._caches[name] = self._filled_cache(compute, batch)
        return self._caches[name]

    def _compute_batch(self, compute: Compute, batch: Batch) -> tuple[Tensor, ...]:
        if not batch.is_whole:  # too many clips for one pass
            parts = [self._compute_rows(compute, rows) for rows in batch.rows.split(self._batch_size)]
            return tuple(torch.cat(tensors) for tensors in zip(*parts, strict=True))
        with torch.no_grad():
            return compute(self.network, batch)

    def logits(self, batch: Batch) -> Tensor:
        """Logits (N, K_old) of the frozen network."""
        return self.cached("logits", _logits, batch)[0]

    @property
    def _batch_size(self) -> int:
        """Batch size of the teacher; it depends on the memory but not on the training batches."""
        return max(1, min(_EVAL_BATCH_SIZE[self._pool.labels.device.type], self._pool.eval_batch_size // 4))

    def _compute_rows(
        self, compute: Compute, rows: Tensor, features: tuple | None = None
    ) -> tuple[Tensor, ...]:
        audio, visual = self._pool.take(rows) if features is None else features
        labels = self._pool.labels[rows]
        batch = Batch(audio=audio, visual=visual, labels=labels, rows=rows, new_count=len(rows))
        with torch.no_grad():
            return compute(self.network, batch)

    def _filled_cache(self, compute: Compute, batch: Batch) -> TeacherCache | None:
        """A cache of all clips of the pool, or only of the exemplars (the last ones) if the batch has no new clips."""
        sample = self._compute_rows(compute, batch.rows[:1])
        first = self._new_count if batch.new_count == 0 else 0
        count = len(self._pool) - first
        cache = teacher_cache_for(sample, count, first=first, budget=self._budget, scratch=self._scratch)
        if cache is not None:
            # Batches are the same in a resumed run, because batch composition can change the last bits.
            batches = list(torch.arange(count).split(self._batch_size))
            stream = self._pool.stream(rows + first for rows in batches)
            for rows, features in zip(batches, stream, strict=True):
                values = self._compute_rows(compute, rows + first, features)
                cache.put(slice(int(rows[0]), int(rows[-1]) + 1), values)
        return cache
