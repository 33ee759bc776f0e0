"""From a media file to what a model was trained on: the same reading, encoders and rounding as extraction.

F frames, N samples of sound, T time slices, S spatial tokens, Da and Dv widths.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from avcil.clips import Clip
from avcil.encoders.registry import from_fingerprint
from avcil.errors import InputError
from avcil.features.manifest import IMPORTED
from avcil.features.reading import ReadClip, Wanted, read_one
from avcil.models.base import modality_parts


@dataclass(frozen=True, kw_only=True)
class ClipFeatures:
    """One clip as a model sees and hears it; what its modality lacks is None."""

    audio: Tensor | None
    """(1, Da)"""
    visual: Tensor | None
    """(1, T, S, Dv)"""
    read: ReadClip
    """The frames and the sound that they were made from."""


class ClipReader:
    """Reads clips the way the features of a model's training were made."""

    def __init__(self, description: Mapping[str, Any], *, modality: str) -> None:
        hears, sees = modality_parts(modality)
        self.modality = modality
        self.audio_encoder = _encoder(description["audio"]["encoder"]) if hears else None
        self.visual_encoder = _encoder(description["visual"]["encoder"]) if sees else None
        self.stored_dtype = np.dtype(description["dtype"])
        self.wanted = Wanted.of(self.visual_encoder, self.audio_encoder)

    def features(
        self, path: Path | str, *, start: float | None = None, end: float | None = None
    ) -> ClipFeatures:
        """Features of (a stretch of) a file; InputError naming the file if it lacks what the model needs."""
        path = Path(path)
        clip = Clip(clip_id=str(path), path=path, label="?", split="test", start=start, end=end)
        read = read_one(clip, self.wanted)
        lacks = read.lacks(self.wanted)
        if lacks:
            reason = read.reason or f"it has no {' and no '.join(lacks)}"
            missing = (
                ""
                if read.frames is None and read.sound is None
                else f"; this recogniser needs its {' and '.join(lacks)}"
            )
            raise InputError(reason + missing if str(path) in reason else f"{path}: {reason}{missing}")
        audio = visual = None
        if self.audio_encoder is not None:
            audio = self._rounded(self.audio_encoder.encode([read.sound]))
        if self.visual_encoder is not None:
            visual = self._rounded(self.visual_encoder.encode([read.frames]))
        return ClipFeatures(audio=audio, visual=visual, read=read)

    def _rounded(self, values: np.ndarray) -> Tensor:
        """As the feature store would give it back."""
        return torch.from_numpy(values.astype(self.stored_dtype).astype(np.float32))


def _encoder(fingerprint: Mapping[str, Any]) -> Any:
    """The encoder of a fingerprint; features that were imported have none."""
    name = str(fingerprint.get("name"))
    if name.startswith(IMPORTED):
        raise InputError(
            f"this model learnt from features that were released as files ({name}); they cannot be made again "
            "from a media file, so it cannot be asked about one. Its accuracies are in its run directory; for "
            "files, train on a store that avcil extract made"
        )
    return from_fingerprint(dict(fingerprint))
