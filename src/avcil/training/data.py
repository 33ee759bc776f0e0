"""Clips of a step as tensors: held in memory where they fit, else read from the store batch by batch.

N clips, Da and Dv widths, T time slices, S spatial tokens.
"""

from __future__ import annotations

import math
import os
from collections.abc import Iterator, Sequence
from typing import Protocol

import numpy as np
import torch
from torch import Tensor

from avcil.models.base import modality_parts

CHUNK = 64
"""Clips that are read from the store at once."""


def memory_budget() -> int:
    """Bytes that one table may hold: a quarter of the machine's memory, the same at every run on it."""
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") // 4


class Features(Protocol):
    """What a table needs of a feature store."""

    visual_shape: tuple[int, int, int] | None
    audio_width: int | None

    def audio(self, rows: Sequence[int] | np.ndarray) -> np.ndarray: ...
    def visual(self, rows: Sequence[int] | np.ndarray) -> np.ndarray: ...


class Table:
    """Rows of a store with their class numbers. Visual-only networks look at the mean token, so it alone is kept."""

    def __init__(
        self,
        store: Features,
        rows: Sequence[int],
        labels: Sequence[int],
        *,
        modality: str,
        dtype: torch.dtype,
        budget: int | None = None,
        whole_tokens: bool = False,
    ) -> None:
        """`whole_tokens`: keep all tokens even where the picture is alone."""
        self._store, self._dtype = store, dtype
        self._rows = np.asarray(rows, dtype=np.int64)
        self.labels = torch.as_tensor(labels, dtype=torch.int64)
        self._hears, self._sees = modality_parts(modality)
        self._audio = torch.from_numpy(store.audio(self._rows)) if self._hears else None
        self._visual: Tensor | None = None
        budget = memory_budget() if budget is None else budget
        if self._sees and not self._hears and not whole_tokens:
            self._visual = self._mean_tokens()
        elif self._sees and self._visual_bytes() <= budget:
            self._visual = torch.from_numpy(store.visual(self._rows))

    def _visual_bytes(self) -> int:
        """Of the table's tokens, as the store has them."""
        return len(self._rows) * math.prod(self._store.visual_shape or (0,)) * self._store.visual([]).itemsize

    def __len__(self) -> int:
        return len(self._rows)

    def _mean_tokens(self) -> Tensor:
        """Mean over T and S, kept as one token (N, 1, 1, Dv), whose mean is itself."""
        parts = []
        for start in range(0, len(self._rows), CHUNK):
            tokens = torch.from_numpy(self._store.visual(self._rows[start : start + CHUNK]))
            parts.append(tokens.to(self._dtype).mean(dim=(1, 2), keepdim=True))
        assert self._store.visual_shape is not None
        return (
            torch.cat(parts)
            if parts
            else torch.zeros(0, 1, 1, self._store.visual_shape[2], dtype=self._dtype)
        )

    def take(self, index: Tensor) -> tuple[Tensor | None, Tensor | None]:
        """Audio (n, Da) and visual (n, T, S, Dv) of the rows `index` (n,), in the dtype of the computation."""
        audio = self._audio[index].to(self._dtype) if self._audio is not None else None
        if not self._sees:
            return audio, None
        if self._visual is not None:
            return audio, self._visual[index].to(self._dtype)
        return audio, torch.from_numpy(self._store.visual(self._rows[index.numpy()])).to(self._dtype)

    def batches(self, size: int) -> Iterator[Tensor]:
        """Row numbers in order, `size` at a time."""
        return iter(torch.arange(len(self)).split(size)) if len(self) else iter(())
