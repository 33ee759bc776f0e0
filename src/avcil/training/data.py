"""Clips of a step as tensors: held on the device or in memory where they fit, else read from the store ahead of use.

N clips, Da and Dv widths, T time slices, S spatial tokens.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Sequence
from typing import Protocol

import numpy as np
import torch
from torch import Tensor

from avcil.data.modality import Modality
from avcil.nn.token_rows import TokenRows, Tokens
from avcil.training.device_config import DeviceConfig
from avcil.training.memory_pool import Budget
from avcil.utils.prefetch import prefetch

CHUNK = 64
"""Clips that are read from the store at once."""

Taken = tuple[Tensor | None, Tokens | None]
"""Audio (n, Da) and visual tokens (n, T, S, Dv) of some clips; None is a modality that is not looked at."""


class Features(Protocol):
    """What a table needs of a feature store."""

    @property
    def visual_shape(self) -> tuple[int, int, int] | None: ...
    @property
    def audio_width(self) -> int | None: ...
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
        modality: Modality,
        device_config: DeviceConfig,
        budget: Budget,
        whole_tokens: bool = False,
    ) -> None:
        """`budget`: what tokens may be held in; `whole_tokens`: keep all tokens even where the picture is alone."""
        self._store, self.device_config = store, device_config
        self._rows = np.asarray(rows, dtype=np.int64)
        self.labels = torch.as_tensor(labels, dtype=torch.int64, device=device_config.device)
        self._hears, self._sees = modality.has_audio, modality.has_visual
        self._audio = self._sounds() if self._hears else None
        self._visual: Tensor | None = None
        self._dtype = device_config.tokens
        if self._sees and not self._hears and not whole_tokens:
            self._visual, self._dtype = self._mean_tokens(), device_config.weights
        elif self._sees:
            self._visual = self._held_tokens(budget)

    def __len__(self) -> int:
        return len(self._rows)

    @property
    def rows_of_store(self) -> np.ndarray:
        """(N,), where each clip is in the store."""
        return self._rows

    @property
    def is_streamed(self) -> bool:
        """Whether tokens are read from the store each time."""
        return self._sees and self._visual is None

    @property
    def clip_bytes(self) -> int:
        """Of one clip's tokens, as they are computed with."""
        if not self._sees:
            return 0
        shape = self._store.visual_shape if self._visual is None else self._visual.shape[1:]
        return math.prod(shape or (0,)) * self._dtype.itemsize

    def _sounds(self) -> Tensor:
        """(N, Da), small enough to stand where they are used."""
        return torch.from_numpy(self._store.audio(self._rows)).to(
            self.device_config.device, self.device_config.weights
        )

    def _held_tokens(self, budget: Budget) -> Tensor | None:
        """All tokens, on a GPU as they are computed with, in memory as they are stored; None where they do not fit."""
        shape = (len(self._rows), *(self._store.visual_shape or (0,)))
        place = self.device_config
        if place.on_gpu and budget.device.take(math.prod(shape) * place.tokens.itemsize):
            tokens = torch.empty(shape, dtype=place.tokens, device=place.device)
            for start in range(0, len(self._rows), CHUNK):
                part = self._store.visual(self._rows[start : start + CHUNK])
                tokens[start : start + CHUNK] = torch.from_numpy(part).to(place.device)
            return tokens
        if budget.host.take(math.prod(shape) * self._store.visual([]).itemsize):
            return torch.from_numpy(self._store.visual(self._rows))
        return None

    def _mean_tokens(self) -> Tensor:
        """Mean over T and S, kept as one token (N, 1, 1, Dv), whose mean is itself."""
        place, parts = self.device_config, []
        chunk = place.eval_batch_size_for(math.prod(self._store.visual_shape or ()) * place.weights.itemsize)
        for start in range(0, len(self._rows), chunk):
            tokens = torch.from_numpy(self._store.visual(self._rows[start : start + chunk]))
            parts.append(tokens.to(place.device, place.weights).mean(dim=(1, 2), keepdim=True))
        assert self._store.visual_shape is not None
        empty = torch.zeros(0, 1, 1, self._store.visual_shape[2], dtype=place.weights, device=place.device)
        return torch.cat([empty, *parts])

    def take(self, index: Tensor) -> Taken:
        """Audio (n, Da) and visual (n, T, S, Dv) of the rows `index` (n,), where and as they are computed with."""
        audio = None if self._audio is None else self._audio[index]
        if not self._sees:
            return audio, None
        if self._visual is not None:
            tokens = self._visual[index]
        else:
            tokens = torch.from_numpy(self._store.visual(self._rows[index.numpy(force=True)]))
        return audio, tokens.to(self.device_config.device).to(self._dtype)

    def rows(self, index: Tensor) -> Taken:
        """As `take`, but tokens that stand in memory where they are computed with are not copied together."""
        if (
            self._visual is None
            or self._visual.device != self.device_config.device
            or self.device_config.on_gpu
        ):
            return self.take(index)
        audio = None if self._audio is None else self._audio[index]
        return audio, TokenRows(self._visual, index, self._dtype)

    def stream(self, indices: Iterable[Tensor]) -> Iterator[Taken]:
        """`rows` of each, in order; what does not stand on the device is brought while the one before is used."""
        is_elsewhere = self._visual is not None and self._visual.device != self.device_config.device
        return prefetch(indices, self.take) if self.is_streamed or is_elsewhere else map(self.rows, indices)

    @property
    def eval_batch_size(self) -> int:
        """Clips that a model may be asked about at once, when no gradient is wanted."""
        return self.device_config.eval_batch_size_for(self.clip_bytes)

    def all(self, part: slice = slice(None)) -> Iterator[tuple[Tensor, Taken]]:
        """Row numbers and clips, all (or a part) in order, as many at a time as a model may be asked about."""
        rows = torch.arange(len(self))[part]
        batches = rows.split(self.eval_batch_size) if len(rows) else ()
        return zip(batches, self.stream(batches), strict=True)
