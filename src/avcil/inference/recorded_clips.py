"""Which clips a model has recorded as learned. Closed-form methods record a hash of each clip."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from avcil.data.modality import Modality
from avcil.data.presence import Presence
from avcil.data.scan import ClipProblem
from avcil.inference.clip_features import ClipFeatures, concatenated
from avcil.methods.base import ClosedFormMethod
from avcil.saved_models.folder import SavedModel

Usable = list[tuple[int, ClipFeatures]]
"""Index and features of clips that can be learned."""


def joined_features(
    features: Sequence[ClipFeatures], state: SavedModel
) -> tuple[np.ndarray | None, np.ndarray | None, Presence]:
    """Concatenated features that the model uses: audio (n, Da), visual (n, T, S, Dv), and which clips have them.

    The rows of missing features are zeros; an array is None if no clip has the features or the model does not use them.
    """
    parts, dtype = state.model.modality.parts, np.dtype(state.description["dtype"])

    def joined(part: Modality) -> np.ndarray | None:
        rows = concatenated([getattr(clip, part) if part in parts else None for clip in features])
        return None if rows is None else rows.numpy().astype(dtype)

    presence = Presence.of(
        tuple(part in parts and getattr(clip, part) is not None for part in Modality.AUDIO_VISUAL.parts)
        for clip in features
    )
    return joined(Modality.AUDIO), joined(Modality.VISUAL), presence


def tensor_groups(
    features: Sequence[ClipFeatures], state: SavedModel
) -> Iterator[tuple[np.ndarray, Tensor | None, Tensor | None]]:
    """Yield clips that have the same modalities: positions (k,), audio (k, Da) and visual (k, T, S, Dv) features."""
    audio, visual, presence = joined_features(features, state)
    for modality, at in presence.groups(state.model.modality).items():
        yield (
            at,
            torch.from_numpy(audio[at]).float() if audio is not None and modality.has_audio else None,
            torch.from_numpy(visual[at]).float() if visual is not None and modality.has_visual else None,
        )


def clip_hashes(method: ClosedFormMethod, features: Sequence[ClipFeatures], state: SavedModel) -> list[int]:
    """The hash of each clip, as in `method.learned`."""
    found = np.zeros(len(features), dtype=np.int64)
    for at, audio, visual in tensor_groups(features, state):
        found[at] = method.clip_hashes(audio, visual).numpy()
    return found.tolist()


def without_learned(
    method: ClosedFormMethod | None,
    usable: Usable,
    clips: Sequence[tuple[str, str]],
    state: SavedModel,
) -> tuple[Usable, list[ClipProblem]]:
    """Remove clips that the model has learned already, and copies of clips among the new ones.

    Args:
        method: The method of the model with its statistics; None for methods that record no clips.
        usable: The new clips.
        clips: Name and class of each clip, by index.
        state: The model.

    Returns:
        The remaining clips, and the removed ones with reasons.
    """
    if method is None or method.learned is None:
        return usable, []
    hashes = clip_hashes(method, [features for _, features in usable], state)
    known = method.learned.classes_of(torch.tensor(hashes, dtype=torch.int64))
    remaining: Usable = []
    problems = []
    first: dict[int, tuple[str, str]] = {}
    for (index, features), value, number in zip(usable, hashes, known, strict=True):
        name, label = clips[index]
        if number is not None:
            reason = f"the model has learned it already, as class {state.labels[number]!r}"
        elif value in first:
            other, other_label = first[value]
            reason = f"it has the same features as {other}"
            if label != other_label:
                reason += f", which was learned as class {other_label!r}; a clip has one class"
        else:
            first[value] = name, label
            remaining.append((index, features))
            continue
        problems.append(ClipProblem(path=Path(name), reason=reason))
    return remaining, problems
