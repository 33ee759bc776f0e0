"""Merging recognizers: what several models learned becomes one model, as if it had learned all clips itself."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import fields, replace
from typing import Any

import torch

from avcil.data.clips import check_labels
from avcil.errors import InputError
from avcil.inference.learning import rename
from avcil.methods.blade import Blade
from avcil.saved_models.folder import SavedModel
from avcil.saved_models.learning_state import LearningState
from avcil.training.update import closed_form

MERGEABLE = Blade.name
FEATURES = {
    "audio": "audio encoders",
    "visual": "visual encoders",
    "sampling": "settings of reading clips",
    "dtype": "number formats of features",
}
"""Of a model's description: what must be the same in both, and what an error calls it."""


def merge(
    state: SavedModel,
    other: SavedModel,
    *,
    same_classes: bool = False,
    renamed: Mapping[str, str] | None = None,
) -> SavedModel:
    """The state that knows what both know; see `Recognizer.merge`."""
    own_learning, learning = _learning(state, "the first model"), _learning(other, "the other model")
    _check_settings(own_learning, learning)
    _check_features(state, other)
    other = _renamed(other, renamed or {})
    if not same_classes:
        _check_names(state.classes, other.classes)
    assert other.learning is not None
    labels = tuple(dict.fromkeys((*state.labels, *other.labels)))
    check_labels(labels, "the merged classes")
    method, theirs = closed_form(own_learning), closed_form(other.learning)
    assert isinstance(method, Blade)
    assert isinstance(theirs, Blade)
    method.grow(len(labels) - len(state.labels))
    method.merge(theirs, torch.tensor([labels.index(label) for label in other.labels]))
    model = method.solve()
    after = replace(
        own_learning,
        steps=_steps(own_learning, other.learning),
        counts={label: _count(own_learning, label) + _count(other.learning, label) for label in labels},
        tensors=method.tensors(),
    )
    return SavedModel(model=model, labels=labels, description=_description(state, other), learning=after)


def shared_clips(state: SavedModel, other: SavedModel) -> int:
    """How many clips of their calibration samples are the same: clips that a merged model counts twice."""
    own, theirs = (
        {bytes(row.numpy()) for row in one.learning.tensors.get("sample.vectors", ())}
        if one.learning
        else set()
        for one in (state, other)
    )
    return len(own & theirs)


def _learning(state: SavedModel, which: str) -> LearningState:
    """What the model needs to be merged; InputError where it is not there, or of another method or format."""
    if state.learning is None:
        raise InputError(
            f"{which} was saved without what merging needs (format version 1, or learning.json was removed). "
            "Train it again with avcil train"
        )
    name = state.learning.settings.method
    if name != MERGEABLE:
        raise InputError(
            f"{which} was taught by the method {name}. Only models of the method {MERGEABLE} can be merged"
        )
    if "moments.gram" in state.learning.tensors:
        raise InputError(
            f"{which} has statistics of format version 2, from which a merged model would not be exact. Train it "
            "again, or teach it a clip with avcil learn --extend, which converts them"
        )
    return state.learning


def _check_settings(one: LearningState, other: LearningState) -> None:
    """Refuse models of different modalities or options."""
    modalities = one.settings.modality, other.settings.modality
    if modalities[0] != modalities[1]:
        raise InputError(
            f"the models have different modalities: {modalities[0]} and {modalities[1]}. Only models of the same "
            "modality can be merged"
        )
    first, second = one.settings.options(Blade), other.settings.options(Blade)
    for name in (field.name for field in fields(first)):
        if getattr(first, name) != getattr(second, name):
            raise InputError(
                f"the models have different values of the option {name}: {getattr(first, name)} and "
                f"{getattr(second, name)}. Only models of the same options can be merged"
            )


def _check_features(one: SavedModel, other: SavedModel) -> None:
    """Refuse models whose features were made in different ways."""
    for name, called in FEATURES.items():
        first, second = one.description.get(name), other.description.get(name)
        if first != second:
            raise InputError(
                f"the models have different {called}: {_differences(first, second)}. Their features cannot be "
                "compared. Extract both data sets with the same encoders and options, and train again"
            )


def _differences(one: Any, other: Any) -> str:
    """What differs, by name where both are JSON objects."""
    if not (isinstance(one, Mapping) and isinstance(other, Mapping)):
        return f"{one!r:.100} and {other!r:.100}"
    names = [name for name in dict.fromkeys((*one, *other)) if one.get(name) != other.get(name)]
    return "; ".join(f"{name} {_differences(one.get(name), other.get(name))}" for name in names)


def _renamed(state: SavedModel, names: Mapping[str, str]) -> SavedModel:
    for old, new in names.items():
        state = rename(state, old, new)
    return state


def _check_names(own: tuple[str, ...], theirs: tuple[str, ...]) -> None:
    clash = sorted(set(own) & set(theirs))
    if clash:
        raise InputError(
            f"both models know {', '.join(map(repr, clash[:5]))}{' and others' * (len(clash) > 5)}. Set same_classes "
            "(--same-classes) if classes of the same name are the same class, or give the second model's another name "
            f"by rename (--rename {clash[0]!r}=OTHER-NAME)"
        )


def _steps(one: LearningState, other: LearningState) -> tuple[tuple[str, ...], ...]:
    """The first model's steps, then those of the other without classes that the first knows."""
    more = (tuple(label for label in step if label not in one.counts) for step in other.steps)
    return (*one.steps, *filter(None, more))


def _count(learning: LearningState, label: str) -> int:
    return learning.counts.get(label, 0)


def _description(state: SavedModel, other: SavedModel) -> dict[str, Any]:
    """The first model's, without measurements, which neither model's would be right for; and what was merged."""
    merged = [entry for one in (state, other) for entry in _sources(one)]
    kept = {name: value for name, value in state.description.items() if name not in ("metrics", "data")}
    sittings = sum(int(one.description.get("updates", 0)) for one in (state, other))
    return {**kept, "updates": sittings + 1, "merged": merged}


def _sources(state: SavedModel) -> list[dict[str, Any]]:
    """Classes and clips of a model; of those that it was merged from, where it learned and forgot nothing since."""
    assert state.learning is not None
    own = {"classes": len(state.classes), "clips": sum(state.learning.counts.values())}
    merged = list(state.description.get("merged", []))
    return merged if sum(source["clips"] for source in merged) == own["clips"] else [own]
