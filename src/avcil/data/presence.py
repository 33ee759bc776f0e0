"""Which modalities each of n clips has: the presence mask."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from avcil.data.modality import Modality


class _StoredClip(Protocol):
    @property
    def audio(self) -> bool: ...
    @property
    def visual(self) -> bool: ...


@dataclass(frozen=True, kw_only=True)
class Presence:
    """A mask for each modality. The features of a missing modality are zeros in a store, and must not be used.

    >>> presence = Presence(audio=np.array([True, False]), visual=np.array([True, True]))
    >>> presence.complete(Modality.AUDIO_VISUAL).tolist()
    [True, False]
    >>> {str(modality): rows.tolist() for modality, rows in presence.groups(Modality.AUDIO_VISUAL).items()}
    {'audio-visual': [0], 'visual': [1]}
    """

    audio: np.ndarray
    """(n,) bool"""
    visual: np.ndarray
    """(n,) bool"""

    def __post_init__(self) -> None:
        if self.audio.dtype != bool or self.visual.dtype != bool or self.audio.shape != self.visual.shape:
            raise TypeError("audio and visual must be boolean arrays of the same length")

    @classmethod
    def of(cls, clips: Iterable[Sequence[bool]]) -> Presence:
        """From pairs (has audio, has visual)."""
        pairs = np.array(list(clips), dtype=bool).reshape(-1, 2)
        return cls(audio=pairs[:, 0], visual=pairs[:, 1])

    @classmethod
    def of_clips(cls, clips: Iterable[_StoredClip]) -> Presence:
        """Of clips in a feature store."""
        return cls.of((clip.audio, clip.visual) for clip in clips)

    def __len__(self) -> int:
        return len(self.audio)

    def take(self, rows: Sequence[int]) -> Presence:
        """The masks of some clips."""
        return Presence(audio=self.audio[rows], visual=self.visual[rows])

    def has(self, part: Modality) -> np.ndarray:
        """Which clips have a single modality, "audio" or "visual": (n,) bool."""
        return {Modality.AUDIO: self.audio, Modality.VISUAL: self.visual}[part]

    def complete(self, modality: Modality) -> np.ndarray:
        """Which clips have all parts of a modality: (n,) bool."""
        return np.logical_and.reduce([self.has(part) for part in modality.parts])

    def groups(self, modality: Modality) -> dict[Modality, np.ndarray]:
        """Positions of the clips that have the same parts of a modality, ascending.

        Args:
            modality: The modality of the model.

        Returns:
            Positions by the part of `modality` that the clips have; the first group has all of it. Clips that have none
            of it are in no group, and there are no empty groups.
        """
        found = {modality: np.flatnonzero(self.complete(modality))}
        for part in modality.parts:
            if part is not modality:
                found[part] = np.flatnonzero(self.has(part) & ~self.complete(modality))
        return {own: rows for own, rows in found.items() if len(rows)}
