"""Held-out clips: select clips that are not learned, and evaluate a model on them.

The command line, the page and the API use these functions.
"""

from __future__ import annotations

import hashlib
from collections import Counter, defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from avcil.errors import AvcilError, InputError
from avcil.features import FeatureStore
from avcil.inference.clip_features import ClipFeatures, Source, concatenated, name_of
from avcil.inference.prediction import predict_labels
from avcil.runs.run_store import store_of_run
from avcil.saved_models.folder import SavedModel, save_tensors
from avcil.utils.tensor_files import load_tensors

_MIN_CLIPS = 4
"""Minimum number of clips of a class; of a class with fewer, none is held out."""
FRACTION = 0.2
"""Fraction of the clips of each class that is held out by default."""
_MAX_TEST_CLIPS = 500
"""Maximum number of test clips of a run that are evaluated; it limits memory, which holds their features."""


@dataclass(frozen=True, kw_only=True)
class HeldOut:
    """Features and classes of held-out clips."""

    features: tuple[ClipFeatures, ...] = ()
    labels: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()
    """Why clips are missing."""

    def __add__(self, other: HeldOut) -> HeldOut:
        return HeldOut(
            features=self.features + other.features,
            labels=self.labels + other.labels,
            notes=self.notes + other.notes,
        )

    def relabeled(self, label_of: Callable[[str], str | None]) -> HeldOut:
        """The same clips with new labels; clips for whose label `label_of` returns None are dropped."""
        labels = [label_of(label) for label in self.labels]
        pairs = [
            (clip, label) for clip, label in zip(self.features, labels, strict=True) if label is not None
        ]
        return HeldOut(
            features=tuple(clip for clip, _ in pairs),
            labels=tuple(label for _, label in pairs),
            notes=self.notes,
        )

    def correct(self, state: SavedModel) -> Counter[str]:
        """Number of correct predictions by class."""
        predicted = predict_labels(state, self.features)
        return Counter(label for label, found in zip(self.labels, predicted, strict=True) if found == label)

    def save(self, path: Path) -> None:
        """Write the features, without the labels."""
        tensors = {}
        for name in ("audio", "visual"):
            parts = [getattr(clip, name) for clip in self.features]
            joined = concatenated(parts)
            if joined is None:
                continue
            tensors[name] = joined
            if any(part is None for part in parts):
                tensors[f"has_{name}"] = torch.tensor([part is not None for part in parts])
        save_tensors(path, tensors)

    @classmethod
    def load(cls, path: Path, labels: Sequence[str]) -> HeldOut:
        """Read features that `save` wrote; InputError if they do not fit `labels`."""
        if not labels:
            return cls()
        tensors = load_tensors(path)
        if any(len(tensor) != len(labels) for tensor in tensors.values() if tensor.ndim) or not tensors:
            raise InputError(f"{path} does not contain the features of {len(labels)} clips")
        has = {name: tensors.get(f"has_{name}") for name in ("audio", "visual")}
        features = _rows(tensors.get("audio"), tensors.get("visual"), len(labels), has)
        return cls(labels=tuple(labels), features=features)


def hold_out(clips: Sequence[Source], labels: Sequence[str], fraction: float = FRACTION) -> list[bool]:
    """Select held-out clips by a hash of their file names, so that the selection is reproducible.

    Args:
        clips: The clips.
        labels: Their classes.
        fraction: Of the clips of each class. Of fewer than 4 clips none is held out, of more at least one.

    Returns:
        Whether each clip is held out.

    >>> hold_out(["a.mp4", "b.mp4", "c.mp4", "d.mp4"], ["dog"] * 4, 0.2)
    [False, False, True, False]
    """
    if not 0 <= fraction < 1:
        raise InputError(f"the held-out fraction must be at least 0 and below 1; not {fraction!r}")
    by_label = defaultdict(list)
    for index, label in enumerate(labels):
        by_label[label].append(index)
    is_held_out = [False] * len(clips)
    for indices in by_label.values():
        if len(indices) < _MIN_CLIPS or not fraction:
            continue
        count = min(max(1, round(fraction * len(indices))), len(indices) - 2)
        keys = {i: hashlib.sha256(Path(name_of(clips[i])).name.encode()).hexdigest() for i in indices}
        for i in sorted(indices, key=lambda i: (keys[i], i))[:count]:
            is_held_out[i] = True
    return is_held_out


def clips_of_run(run: Path, state: SavedModel) -> HeldOut:
    """Test clips from the feature store of a model's run; none, with a note, if they cannot be read.

    Args:
        run: A run directory, or a model folder.
        state: The model. Clips of other classes are ignored.
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
    parts = {modality, *state.model.input_modalities}
    usable = [row for row in tests if any(store.clips[row].has(part) for part in parts)]
    rows = usable[:: max(1, -(-len(usable) // _MAX_TEST_CLIPS))]
    notes = []
    if not tests:
        notes.append("the old classes are not evaluated: the run has no test clips of them")
    if lacking := len(tests) - len(usable):
        notes.append(
            f"test clips of old classes that are not evaluated, because they lack audio or frames: {lacking}"
        )
    if len(rows) < len(usable):
        notes.append(
            f"{len(rows)} of {len(usable)} test clips of old classes, at equal distances in the store, were evaluated"
        )
    if not rows:
        return HeldOut(notes=tuple(notes))
    audio = torch.from_numpy(store.audio(rows).astype(np.float32)) if modality.has_audio else None
    visual = torch.from_numpy(store.visual(rows).astype(np.float32)) if modality.has_visual else None
    clips = [store.clips[row] for row in rows]
    has = {name: torch.tensor([getattr(clip, name) for clip in clips]) for name in ("audio", "visual")}
    labels = tuple(clip.label for clip in clips)
    return HeldOut(labels=labels, features=_rows(audio, visual, len(rows), has), notes=tuple(notes))


def _rows(
    audio: torch.Tensor | None,
    visual: torch.Tensor | None,
    count: int,
    has: Mapping[str, torch.Tensor | None] | None = None,
) -> tuple[ClipFeatures, ...]:
    """`count` clips; `has`: which of them have "audio" and "visual" features, if not all."""
    if audio is None and visual is None:
        raise InputError("the held-out clips have neither audio nor visual features")

    def row(name: str, tensor: torch.Tensor | None, i: int) -> torch.Tensor | None:
        mask = (has or {}).get(name)
        return None if tensor is None or (mask is not None and not mask[i]) else tensor[i : i + 1]

    return tuple(
        ClipFeatures(
            audio=row("audio", audio, i),
            visual=row("visual", visual, i),
            clip_id=f"held out {i}",
        )
        for i in range(count)
    )
