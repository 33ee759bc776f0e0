"""Remove clips or classes from a saved model. Functions return a new state; the given state does not change."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import torch

from avcil.errors import InputError
from avcil.inference.clip_features import Source
from avcil.inference.learning import FeaturesOf, joined_features, learning_of, read_features, updated
from avcil.saved_models.folder import BACKGROUND, SavedModel, unknown_classes
from avcil.saved_models.learning_state import LearningState
from avcil.training.update import closed_form_method, closed_form_method_names


def forget(
    state: SavedModel, features_of: FeaturesOf, clips: Sequence[Source], labels: Sequence[str]
) -> SavedModel:
    """Remove learned clips; see `Recognizer.forget`. If a clip cannot be read, nothing is forgotten."""
    learning, clips, labels = learning_of(state), list(clips), list(labels)
    method = _method_that_forgets(learning)
    if len(clips) != len(labels) or not clips:
        raise InputError(
            f"give a label for each clip to forget: there are {len(clips)} clips and {len(labels)} labels"
        )
    if unknown := sorted(set(labels) - set(state.labels)):
        raise unknown_classes(unknown, state.labels)
    usable, problems = read_features(features_of, clips, state, lambda *_: None)
    if problems:
        raise InputError(f"{problems[0].path}: {problems[0].reason}. Nothing was forgotten")
    remaining = Counter(learning.counts)
    remaining.subtract(labels)
    for label, count in remaining.items():
        if count < 0:
            raise InputError(
                f"{labels.count(label)} clips of class {label!r} are given, but only {learning.counts[label]} were "
                "learned. Give only clips that were learned, and no held-out clips"
            )
    audio, visual, presence = joined_features([features for _, features in usable], state)
    numbers = torch.tensor([state.labels.index(label) for label in labels])
    for modality, at in presence.groups(state.model.modality).items():
        method.forget(
            torch.from_numpy(audio[at]).float() if audio is not None and modality.has_audio else None,
            torch.from_numpy(visual[at]).float() if visual is not None and modality.has_visual else None,
            numbers[at],
        )
    return _solve(
        state, learning, method, {label: remaining[label] for label in state.labels if remaining[label] > 0}
    )


def forget_class(state: SavedModel, label: str) -> SavedModel:
    """Remove a class; see `Recognizer.forget_class`."""
    learning = learning_of(state)
    if label not in state.labels:
        raise unknown_classes([label], state.labels)
    method = _method_that_forgets(learning)
    return _solve(state, learning, method, {name: n for name, n in learning.counts.items() if name != label})


def _method_that_forgets(learning: LearningState) -> Any:
    method = closed_form_method(learning)
    if method is None:
        raise InputError(
            f"method {learning.settings.method} cannot forget: the effect of a clip on its weights cannot be removed. "
            f"Methods that can: {', '.join(closed_form_method_names())}"
        )
    return method


def _solve(state: SavedModel, learning: LearningState, method: Any, counts: dict[str, int]) -> SavedModel:
    """The state after a method has forgotten; classes that are not in `counts` are dropped."""
    if not counts.keys() - {BACKGROUND}:
        raise InputError("a model needs at least one class, and none would be left. Nothing was forgotten")
    for number in reversed(range(len(state.labels))):
        if state.labels[number] not in counts:
            method.remove_class(number)
    model = method.solve()
    steps = (tuple(label for label in step if label in counts) for step in learning.steps)
    after = replace(learning, steps=tuple(filter(None, steps)), counts=counts, tensors=method.tensors())
    return updated(state, model, tuple(label for label in state.labels if label in counts), after)
