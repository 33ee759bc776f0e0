"""Rename classes of a saved model. The given state does not change."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import replace

from avcil.data.clips import check_labels
from avcil.errors import InputError
from avcil.saved_models.folder import BACKGROUND, SavedModel, unknown_classes


def rename(state: SavedModel, names: Mapping[str, str]) -> SavedModel:
    """Rename classes, all at the same time, so that two classes can exchange their names.

    Args:
        state: The model.
        names: New names by old ones.

    Raises:
        InputError: The model lacks a class, a new name is reserved, or two classes would have the same name.
    """
    if unknown := sorted(set(names) - set(state.classes)):
        raise unknown_classes(unknown, state.classes)
    if same := [old for old, new in names.items() if old == new]:
        raise InputError(f"the class {same[0]!r} already has this name")
    if BACKGROUND in names.values():
        raise InputError(f"the name {BACKGROUND} is reserved for clips to be rejected")

    def renamed(label: str) -> str:
        return names.get(label, label)

    labels = tuple(map(renamed, state.labels))
    check_labels(labels, "the classes after renaming")
    twice = [label for label, count in Counter(labels).items() if count > 1]
    if twice:
        raise InputError(
            f"this model would have two classes {twice[0]!r}. Choose another name for one of them"
        )
    if state.learning is None:
        return replace(state, labels=labels)
    learning = replace(
        state.learning,
        steps=tuple(tuple(map(renamed, step)) for step in state.learning.steps),
        counts={renamed(label): count for label, count in state.learning.counts.items()},
        exemplars={renamed(label): ids for label, ids in state.learning.exemplars.items()},
    )
    return replace(state, labels=labels, learning=learning)
