"""What a method sees of a training step: a batch, the clips of the step, the teacher, and the network.

N clips of a batch (new ones first, then exemplars), T time slices, S spatial tokens, D width of the features; classes
are numbered in the order in which they are learned; `known` is K_old and `total` is K.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import torch
from torch import Tensor

from avcil.nn.network import Network
from avcil.nn.token_rows import Tokens


@dataclass(frozen=True, kw_only=True)
class Batch:
    """Clips of one iteration."""

    audio: Tensor | None
    """(N, Da)"""
    visual: Tokens | None
    """(N, T, S, Dv), a tensor or rows of one that are not copied yet"""
    labels: Tensor
    """(N,) class numbers"""
    rows: Tensor
    """(N,) rows of the step's pool, the keys of the teacher's cache"""
    new_count: int
    """Number of new clips, which come first; the others are exemplars."""
    is_whole: bool = True
    """False if the batch does not fit into memory: `forward` gets parts of it, and `loss` gets no features."""

    def exemplars(self) -> Batch:
        """The batch without its new clips."""
        part = slice(self.new_count, None)
        return Batch(
            audio=None if self.audio is None else self.audio[part],
            visual=None if self.visual is None else self.visual[part],
            labels=self.labels[part],
            rows=self.rows[part],
            new_count=0,
            is_whole=self.is_whole,
        )


class ClipPool(Protocol):
    """The training clips of a step, as a method may read them. `training.data.Table` is one."""

    def __len__(self) -> int: ...

    @property
    def rows_of_store(self) -> np.ndarray:
        """(n,) row of each clip in the feature store."""
        ...

    @property
    def labels(self) -> Tensor:
        """(n,) class numbers."""
        ...

    @property
    def eval_batch_size(self) -> int:
        """Number of clips to read at once."""
        ...

    def all(self) -> Iterator[tuple[Tensor, tuple[Tensor | None, Tokens | None]]]:
        """Row numbers (n,) and features of all clips, in batches."""
        ...

    def stream(self, indices: Iterable[Tensor]) -> Iterator[tuple[Tensor | None, Tokens | None]]:
        """Audio (n, Da) and visual tokens (n, T, S, Dv) for each tensor of row numbers (n,), prefetched."""
        ...


class Teacher(Protocol):
    """The frozen model of the previous step. `training.teacher.CachedTeacher` is one.

    What it computes for a clip does not change during a step, so it is cached by the row of the clip.
    """

    network: Network

    def logits(self, batch: Batch) -> Tensor:
        """(N, K_old) scores of the previous classes."""
        ...

    def cached(
        self, name: str, compute: Callable[[Network, Batch], tuple[Tensor, ...]], batch: Batch
    ) -> tuple[Tensor, ...]:
        """`compute(network, batch)`, each tensor (N, ...), cached under `name`."""
        ...

    def cached_rows(
        self, name: str, compute: Callable[[Network, Batch], tuple[Tensor, ...]], batch: Batch
    ) -> tuple[Tokens, ...]:
        """As `cached`, but the tensors may be rows of a tensor that are not copied yet."""
        ...


@dataclass(kw_only=True)
class Step:
    """The state of one training step, as methods see it."""

    index: int
    """s, from 0"""
    task_sizes: tuple[int, ...]
    """Number of classes of each step so far, including this one."""
    network: Network
    teacher: Teacher | None
    """The frozen model of the previous step; None at step 0 and for methods without a teacher."""
    pool: ClipPool
    """This step's training clips: the new ones first, then the exemplars."""
    new_count: int
    """Number of new clips in the pool."""
    seed: int
    next_exemplars: Tensor | None = None
    """(E,) rows of the pool that are exemplars after this step; None with herding or without exemplars."""

    @property
    def known(self) -> int:
        """K_old: classes seen before this step."""
        return sum(self.task_sizes[:-1])

    @property
    def total(self) -> int:
        """K: classes seen up to and including this step."""
        return sum(self.task_sizes)

    def features(self, rows: Tensor) -> Tensor:
        """h (n, D) of rows (n,) of the pool, computed by the current network."""
        with torch.no_grad():
            batches = self.pool.stream(rows.split(self.pool.eval_batch_size))
            return torch.cat([self.network(*clips).feature for clips in batches])
