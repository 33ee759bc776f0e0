"""Rename a class of a saved model. The given state does not change."""

from __future__ import annotations

from dataclasses import replace

from avcil.data.clips import check_labels
from avcil.errors import InputError
from avcil.saved_models.folder import BACKGROUND, SavedModel


def rename(state: SavedModel, old: str, new: str) -> SavedModel:
    """Rename a class."""
    if old not in state.classes:
        raise InputError(f"this model has no class {old!r}. Its classes: {', '.join(state.classes)}")
    if new == BACKGROUND:
        raise InputError(f"the name {BACKGROUND} is reserved for clips to be rejected")
    labels = tuple(new if label == old else label for label in state.labels)
    check_labels(labels, "the classes after renaming")
    if len(set(labels)) != len(labels):
        raise InputError(f"this model has a class {new!r} already")
    if state.learning is None:
        return replace(state, labels=labels)

    def renamed(name: str) -> str:
        return new if name == old else name

    learning = replace(
        state.learning,
        steps=tuple(tuple(map(renamed, step)) for step in state.learning.steps),
        counts={renamed(label): count for label, count in state.learning.counts.items()},
        exemplars={renamed(label): ids for label, ids in state.learning.exemplars.items()},
    )
    return replace(state, labels=labels, learning=learning)
