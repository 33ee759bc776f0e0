"""Clips of a step as tensors: in memory if they fit, otherwise prefetched from the feature store.

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

_CHUNK = 64
"""Clips per read from the store."""

ClipTensors = tuple[Tensor | None, Tokens | None]
"""Audio (n, Da) and visual tokens (n, T, S, Dv) of some clips; None for a modality that is not used."""


class Features(Protocol):
    """The part of the interface of a feature store that a table uses."""

    @property
    def visual_shape(self) -> tuple[int, int, int] | None: ...
    @property
    def audio_width(self) -> int | None: ...
    def audio(self, rows: Sequence[int] | np.ndarray) -> np.ndarray: ...
    def visual(self, rows: Sequence[int] | np.ndarray) -> np.ndarray: ...


class Table:
    """Clips of a store with their class numbers. For visual-only networks, only the mean token is stored."""

    def __init__(
        self,
        store: Features,
        rows: Sequence[int],
        labels: Sequence[int],
        *,
        modality: Modality,
        device_config: DeviceConfig,
        budget: Budget,
        needs_all_tokens: bool = False,
    ) -> None:
        """Load the clips into memory if they fit.

        Args:
            store: The features.
            rows: (N,), rows of the store.
            labels: (N,), class numbers.
            modality: The modalities to read.
            device_config: Device and dtypes of the tensors.
            budget: Memory for tokens; it is reduced by what is used.
            needs_all_tokens: Keep all visual tokens also with the modality `visual`.
        """
        self._store, self.device_config = store, device_config
        self._rows = np.asarray(rows, dtype=np.int64)
        self.labels = torch.as_tensor(labels, dtype=torch.int64, device=device_config.device)
        self._has_audio, self._has_visual = modality.has_audio, modality.has_visual
        self._audio = self._load_audio() if self._has_audio else None
        self._visual: Tensor | None = None
        self._dtype = device_config.tokens
        if self._has_visual and not self._has_audio and not needs_all_tokens:
            self._visual, self._dtype = self._mean_tokens(), device_config.weights
        elif self._has_visual:
            self._visual = self._load_tokens(budget)

    def __len__(self) -> int:
        return len(self._rows)

    @property
    def rows_of_store(self) -> np.ndarray:
        """(N,), row of each clip in the store."""
        return self._rows

    @property
    def is_streamed(self) -> bool:
        """Whether tokens are read from the store for each batch."""
        return self._has_visual and self._visual is None

    @property
    def clip_bytes(self) -> int:
        """Bytes of the tokens of one clip in the dtype of the computation."""
        if not self._has_visual:
            return 0
        shape = self._store.visual_shape if self._visual is None else self._visual.shape[1:]
        return math.prod(shape or (0,)) * self._dtype.itemsize

    def _load_audio(self) -> Tensor:
        """(N, Da) on the device; audio features are small."""
        return torch.from_numpy(self._store.audio(self._rows)).to(
            self.device_config.device, self.device_config.weights
        )

    def _load_tokens(self, budget: Budget) -> Tensor | None:
        """All tokens: on the GPU in the dtype of the computation, or in main memory as stored; None if too large."""
        shape = (len(self._rows), *(self._store.visual_shape or (0,)))
        config = self.device_config
        if config.on_gpu and budget.device.reserve(math.prod(shape) * config.tokens.itemsize):
            tokens = torch.empty(shape, dtype=config.tokens, device=config.device)
            for start in range(0, len(self._rows), _CHUNK):
                part = self._store.visual(self._rows[start : start + _CHUNK])
                tokens[start : start + _CHUNK] = torch.from_numpy(part).to(config.device)
            return tokens
        if budget.host.reserve(math.prod(shape) * self._store.visual([]).itemsize):
            return torch.from_numpy(self._store.visual(self._rows))
        return None

    def _mean_tokens(self) -> Tensor:
        """(N, 1, 1, Dv), the mean over T and S as a single token."""
        config, parts = self.device_config, []
        chunk = config.eval_batch_size_for(
            math.prod(self._store.visual_shape or ()) * config.weights.itemsize
        )
        for start in range(0, len(self._rows), chunk):
            tokens = torch.from_numpy(self._store.visual(self._rows[start : start + chunk]))
            parts.append(tokens.to(config.device, config.weights).mean(dim=(1, 2), keepdim=True))
        assert self._store.visual_shape is not None
        empty = torch.zeros(0, 1, 1, self._store.visual_shape[2], dtype=config.weights, device=config.device)
        return torch.cat([empty, *parts])

    def take(self, index: Tensor) -> ClipTensors:
        """Audio (n, Da) and visual (n, T, S, Dv) of the rows `index` (n,), on the device."""
        audio = None if self._audio is None else self._audio[index]
        if not self._has_visual:
            return audio, None
        if self._visual is not None:
            tokens = self._visual[index]
        else:
            tokens = torch.from_numpy(self._store.visual(self._rows[index.numpy(force=True)]))
        return audio, tokens.to(self.device_config.device).to(self._dtype)

    def rows(self, index: Tensor) -> ClipTensors:
        """As `take`, but tokens in main memory are not copied if the computation runs on the CPU."""
        if (
            self._visual is None
            or self._visual.device != self.device_config.device
            or self.device_config.on_gpu
        ):
            return self.take(index)
        audio = None if self._audio is None else self._audio[index]
        return audio, TokenRows(self._visual, index, self._dtype)

    def stream(self, indices: Iterable[Tensor]) -> Iterator[ClipTensors]:
        """`rows` of each index in order; clips that are not on the device are prefetched."""
        is_elsewhere = self._visual is not None and self._visual.device != self.device_config.device
        return prefetch(indices, self.take) if self.is_streamed or is_elsewhere else map(self.rows, indices)

    @property
    def eval_batch_size(self) -> int:
        """Batch size for evaluation without gradients."""
        return self.device_config.eval_batch_size_for(self.clip_bytes)

    def all(self, part: slice = slice(None)) -> Iterator[tuple[Tensor, ClipTensors]]:
        """Row numbers and features of all clips (or of `part`), in batches of `eval_batch_size`."""
        rows = torch.arange(len(self))[part]
        batches = rows.split(self.eval_batch_size) if len(rows) else ()
        return zip(batches, self.stream(batches), strict=True)
