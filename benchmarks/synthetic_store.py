"""A synthetic feature store without files: any number of clips, which repeat a few dozen.

For runs with the shape of a benchmark, such as the 60,000 clips of 2.4 MB of VS100-CI, with the training loop for real
stores. N clips of a batch, T time slices, S spatial tokens, D width.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from avcil.features import StoredClip
from avcil.features.feature_spec import FeatureSpec
from avcil.features.manifest import Manifest

BANK = 64
"""Number of different clips; the others repeat them."""


class SyntheticStore:
    """What a run needs of a store: clips by class and split, their audio and tokens, in float16."""

    path = "synthetic"
    unlisted: tuple[str, ...] = ()
    """Ids of stored clips that a later clip list does not have; none here."""

    def __init__(self, *, classes: int, counts: dict[str, int], grid: tuple[int, int, int]) -> None:
        """`counts`: number of clips of each split, divided evenly among the classes; `grid`: (T, S, D)."""
        draw = np.random.default_rng(0)
        self.visual_shape, self.audio_width = grid, grid[2]
        self.manifest = Manifest(
            visual=FeatureSpec(shape=grid, encoder={"name": "synthetic"}),
            audio=FeatureSpec(shape=grid[2:], encoder={"name": "synthetic"}),
        )
        self._visual = draw.standard_normal((BANK, *grid), dtype=np.float32).astype(np.float16)
        self._audio = draw.standard_normal((BANK, grid[2]), dtype=np.float32).astype(np.float16)
        self.clips = [
            self._clip(split, i, i % classes) for split, count in counts.items() for i in range(count)
        ]
        self.fingerprint = f"synthetic-{classes}-{counts}-{grid}"

    @staticmethod
    def _clip(split: str, number: int, label: int) -> StoredClip:
        return StoredClip(
            clip_id=f"{split}-{number:06}",
            label=f"c{label:03}",
            split=split,
            path="",
            start=None,
            end=None,
            visual=True,
            audio=True,
        )

    def audio(self, rows: Sequence[int] | np.ndarray) -> np.ndarray:
        """(N, D)"""
        return self._audio[np.asarray(rows, dtype=np.int64) % BANK]

    def visual(self, rows: Sequence[int] | np.ndarray) -> np.ndarray:
        """(N, T, S, D)"""
        return self._visual[np.asarray(rows, dtype=np.int64) % BANK]
