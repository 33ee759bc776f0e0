"""Clips of the current step that lack a modality, until they are added to the statistics.

n clips.
"""

from __future__ import annotations

from collections import defaultdict

import torch
from torch import Tensor

from avcil.data.modality import Modality
from avcil.errors import InputError


class IncompleteBatches:
    """Vectors and labels of clips, by the only modality that they have."""

    def __init__(self) -> None:
        self._batches: defaultdict[Modality, list[tuple[tuple[Tensor, ...], Tensor]]] = defaultdict(list)

    def add(self, modality: Modality, parts: tuple[Tensor, ...], labels: Tensor) -> None:
        """Add a batch: its vectors, as returned by `pool`, and labels (n,)."""
        self._batches[modality].append((parts, labels))

    def widths(self, modality: Modality) -> dict[str, int]:
        """Number of features of each part of `modality`.

        Raises:
            InputError: No clip has one of the parts.
        """
        for part in modality.parts:
            if part not in self._batches:
                raise InputError(
                    f"the first step has no clip with {part} features. Add one, or train on one modality "
                    f"(--modality {next(iter(self._batches))})"
                )
        return {part: self._batches[part][0][0][0].shape[1] for part in modality.parts}

    def __bool__(self) -> bool:
        return bool(self._batches)

    def pop(self) -> dict[Modality, tuple[Tensor, Tensor]]:
        """Remove all clips, and return their features (n, m) and labels (n,)."""
        batches, self._batches = self._batches, defaultdict(list)
        return {
            modality: (
                torch.cat([torch.cat(parts, dim=1) for parts, _ in own]),
                torch.cat([labels for _, labels in own]),
            )
            for modality, own in batches.items()
        }
