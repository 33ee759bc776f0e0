"""Accuracy of old and new classes on clips that were not learnt from.

n clips, Da and Dv widths of sound and picture, T time slices, S spatial tokens.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from avcil.errors import AvcilError, InputError
from avcil.inference.clip_features import ClipFeatures
from avcil.inference.recognizer import Recognizer
from avcil.models.base import modality_parts
from avcil.runs.run_store import store_of_run
from avcil.saved_models.folder import save_tensors
from avcil.utils.files import read_json
from avcil.utils.tensor_files import load_tensors

MOST = 500
"""Test clips of the run that are asked about, evenly chosen."""
SHARE = 4
"""One clip of so many is held out."""


@dataclass(frozen=True, kw_only=True)
class HeldOut:
    """Clips with their classes."""

    features: tuple[ClipFeatures, ...] = ()
    labels: tuple[str, ...] = ()

    def __add__(self, other: HeldOut) -> HeldOut:
        return HeldOut(features=self.features + other.features, labels=self.labels + other.labels)

    def accuracy(self, recognizer: Recognizer) -> float | None:
        """The fraction that is answered with its class; None without clips."""
        if not self.labels:
            return None
        state = recognizer.snapshot()
        answers = (recognizer.answer_features(clip, clip, state=state).label for clip in self.features)
        return float(np.mean([answer == label for answer, label in zip(answers, self.labels, strict=True)]))

    def save(self, path: Path) -> None:
        """Write the numbers; the labels are the caller's."""
        tensors = {}
        for name in ("audio", "visual"):
            parts = [getattr(clip, name) for clip in self.features]
            if parts and parts[0] is not None:
                tensors[name] = torch.cat(parts)
        save_tensors(path, tensors)


def load(path: Path, labels: Sequence[str]) -> HeldOut:
    """What `save` wrote."""
    if not labels:
        return HeldOut()
    tensors = load_tensors(path)
    if any(len(tensor) != len(labels) for tensor in tensors.values() if tensor.ndim) or not tensors:
        raise InputError(f"{path} does not hold the features of {len(labels)} clips")
    return HeldOut(
        labels=tuple(labels), features=_rows(tensors.get("audio"), tensors.get("visual"), len(labels))
    )


def split(count: int) -> tuple[list[int], list[int]]:
    """Positions to learn from and positions to hold out, every fourth; none is held out of fewer than four.

    >>> split(8)
    ([0, 1, 2, 4, 5, 6], [3, 7])
    """
    held = list(range(SHARE - 1, count, SHARE))
    return [position for position in range(count) if position not in held], held


def of_run(run: Path, modality: str) -> tuple[HeldOut, str]:
    """Test clips of the run that a model is from, out of its feature store; or none, and in words why."""
    store, reason = store_of_run(run)
    if store is None:
        return HeldOut(), reason
    try:
        config = read_json(run / "config.json")
        known = {label for step in config["benchmark"]["steps"] for label in step}
        tests = [i for i, clip in enumerate(store.clips) if clip.split == "test" and clip.label in known]
        chosen = [i for i in tests if store.clips[i].has(modality)]
        rows = chosen[:: max(1, -(-len(chosen) // MOST))]
        has_audio, has_visual = modality_parts(modality)
        audio = torch.from_numpy(store.audio(rows).astype(np.float32)) if has_audio and rows else None
        visual = torch.from_numpy(store.visual(rows).astype(np.float32)) if has_visual and rows else None
    except (AvcilError, OSError, KeyError, TypeError) as error:
        return HeldOut(), f"the test clips of the run cannot be had: {error}"
    if not rows:
        lacking = f" with all of {modality}; {len(tests)} lack a part" if tests else ""
        return HeldOut(), f"the run has no test clip{lacking}"
    labels = tuple(store.clips[i].label for i in rows)
    return HeldOut(labels=labels, features=_rows(audio, visual, len(rows))), ""


def _rows(audio: torch.Tensor | None, visual: torch.Tensor | None, count: int) -> tuple[ClipFeatures, ...]:
    if audio is None and visual is None:
        raise InputError("the clips held out have neither sound nor picture")
    return tuple(
        ClipFeatures(
            audio=None if audio is None else audio[i : i + 1],
            visual=None if visual is None else visual[i : i + 1],
            clip_id=f"held out {i}",
        )
        for i in range(count)
    )
