"""Held-out clips: which are not learned, and how many of them a model predicts right.

The command line, the page and the API evaluate with the same functions. n clips, Da and Dv widths of audio and visual
features, T time slices, S spatial tokens.
"""

from __future__ import annotations

import hashlib
from collections import Counter, defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from avcil.errors import AvcilError, InputError
from avcil.features import FeatureStore
from avcil.inference.answering import answer_features
from avcil.inference.clip_features import ClipFeatures, Source, name_of
from avcil.runs.run_store import store_of_run
from avcil.saved_models.folder import SavedModel, save_tensors
from avcil.utils.tensor_files import load_tensors

FEWEST = 4
"""Clips of a class from which one is held out; fewer are all learned."""
FRACTION = 0.2
"""Of the clips of each class, held out by default."""
MAX_TEST_CLIPS = 500
"""Test clips of a run that are evaluated, evenly chosen: their features are in memory at once."""


@dataclass(frozen=True, kw_only=True)
class HeldOut:
    """Features of held-out clips, with their classes."""

    features: tuple[ClipFeatures, ...] = ()
    labels: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()
    """Which clips are missing here, and why."""

    def __add__(self, other: HeldOut) -> HeldOut:
        return HeldOut(
            features=self.features + other.features,
            labels=self.labels + other.labels,
            notes=self.notes + other.notes,
        )

    def relabeled(self, label_of: Callable[[str], str | None]) -> HeldOut:
        """The same clips with other labels; without those for whose label `label_of` gives None."""
        labels = [label_of(label) for label in self.labels]
        kept = [(clip, label) for clip, label in zip(self.features, labels, strict=True) if label is not None]
        return HeldOut(
            features=tuple(clip for clip, _ in kept),
            labels=tuple(label for _, label in kept),
            notes=self.notes,
        )

    def correct(self, state: SavedModel) -> Counter[str]:
        """How many clips of each class are predicted right."""
        pairs = zip(self.labels, self.features, strict=True)
        return Counter(
            label for label, features in pairs if answer_features(state, label, features).label == label
        )

    def save(self, path: Path) -> None:
        """Write the features; the caller keeps the labels."""
        tensors = {}
        for name in ("audio", "visual"):
            parts = [getattr(clip, name) for clip in self.features]
            if parts and parts[0] is not None:
                tensors[name] = torch.cat(parts)
        save_tensors(path, tensors)

    @classmethod
    def load(cls, path: Path, labels: Sequence[str]) -> HeldOut:
        """Read what `save` wrote; InputError if it does not fit `labels`."""
        if not labels:
            return cls()
        tensors = load_tensors(path)
        if any(len(tensor) != len(labels) for tensor in tensors.values() if tensor.ndim) or not tensors:
            raise InputError(f"{path} does not hold the features of {len(labels)} clips")
        features = _rows(tensors.get("audio"), tensors.get("visual"), len(labels))
        return cls(labels=tuple(labels), features=features)


def hold_out(clips: Sequence[Source], labels: Sequence[str], fraction: float = FRACTION) -> list[bool]:
    """Choose which clips are held out: the same ones at every call, by a hash of their file names.

    Args:
        clips: The clips.
        labels: Their classes.
        fraction: Of the clips of each class. Of fewer than 4 clips none is held out; of more at least one.

    >>> hold_out(["a.mp4", "b.mp4", "c.mp4", "d.mp4"], ["dog"] * 4, 0.2)
    [False, False, True, False]
    """
    if not 0 <= fraction < 1:
        raise InputError(f"the fraction held out must be from 0 up to 1, not {fraction!r}")
    by_label = defaultdict(list)
    for position, label in enumerate(labels):
        by_label[label].append(position)
    held = [False] * len(clips)
    for own in by_label.values():
        if len(own) < FEWEST or not fraction:
            continue
        count = min(max(1, round(fraction * len(own))), len(own) - 2)
        keys = {at: hashlib.sha256(Path(name_of(clips[at])).name.encode()).hexdigest() for at in own}
        for at in sorted(own, key=lambda at: (keys[at], at))[:count]:
            held[at] = True
    return held


def clips_of_run(run: Path, state: SavedModel) -> HeldOut:
    """Test clips of the run that a model is from, out of its feature store; none where they cannot be read.

    Args:
        run: A run directory, or the folder of a model without its run.
        state: The model. Clips of classes that it does not know are left out.
    """
    store, reason = store_of_run(run)
    if store is None:
        return HeldOut(notes=(f"the old classes are not evaluated: {reason}",))
    try:
        return _test_clips(store, state)
    except (AvcilError, OSError) as error:
        return HeldOut(notes=(f"the old classes are not evaluated: {error}",))


def _test_clips(store: FeatureStore, state: SavedModel) -> HeldOut:
    known, modality = set(state.labels), state.model.modality
    tests = [row for row, clip in enumerate(store.clips) if clip.split == "test" and clip.label in known]
    whole = [row for row in tests if store.clips[row].has(modality)]
    rows = whole[:: max(1, -(-len(whole) // MAX_TEST_CLIPS))]
    notes = []
    if not tests:
        notes.append("the old classes are not evaluated: the run has no test clip of them")
    if len(whole) < len(tests):
        notes.append(f"{len(tests) - len(whole)} test clips of old classes lack audio or visual features")
    if len(rows) < len(whole):
        notes.append(f"{len(rows)} of {len(whole)} test clips of old classes were evaluated, evenly chosen")
    if not rows:
        return HeldOut(notes=tuple(notes))
    audio = torch.from_numpy(store.audio(rows).astype(np.float32)) if modality.has_audio else None
    visual = torch.from_numpy(store.visual(rows).astype(np.float32)) if modality.has_visual else None
    labels = tuple(store.clips[row].label for row in rows)
    return HeldOut(labels=labels, features=_rows(audio, visual, len(rows)), notes=tuple(notes))


def _rows(audio: torch.Tensor | None, visual: torch.Tensor | None, count: int) -> tuple[ClipFeatures, ...]:
    if audio is None and visual is None:
        raise InputError("the held-out clips have neither audio nor visual features")
    return tuple(
        ClipFeatures(
            audio=None if audio is None else audio[i : i + 1],
            visual=None if visual is None else visual[i : i + 1],
            clip_id=f"held out {i}",
        )
        for i in range(count)
    )
