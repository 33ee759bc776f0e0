"""Merge models: the result equals one model that learned the clips of both."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import fields, replace
from typing import Any

import torch

from avcil.data.clips import check_labels
from avcil.errors import InputError
from avcil.inference.renaming import rename
from avcil.methods.blade import BladeMethod
from avcil.saved_models.description import UPDATES
from avcil.saved_models.folder import SavedModel
from avcil.saved_models.learning_state import LearningState
from avcil.training.update import closed_form_method
from avcil.utils.listing import difference

_MERGEABLE = BladeMethod.name
FEATURES = {
    "audio": "audio encoders",
    "visual": "visual encoders",
    "sampling": "sampling of clips",
    "dtype": "dtypes of features",
}
"""Entries of the descriptions that must be equal, and their names in messages."""


def merge(
    state: SavedModel,
    other: SavedModel,
    *,
    same_classes: bool = False,
    renamed: Mapping[str, str] | None = None,
) -> SavedModel:
    """Merge two models; see `Recognizer.merge`."""
    own_learning, learning = _learning(state, "the first model"), _learning(other, "the other model")
    _check_settings(own_learning, learning)
    _check_features(state, other)
    other = rename(other, renamed or {})
    if not same_classes:
        _check_names(state.classes, other.classes)
    assert other.learning is not None
    labels = tuple(dict.fromkeys((*state.labels, *other.labels)))
    check_labels(labels, "the merged classes")
    method, other_method = closed_form_method(own_learning), closed_form_method(other.learning)
    assert isinstance(method, BladeMethod)
    assert isinstance(other_method, BladeMethod)
    method.add_classes(len(labels) - len(state.labels))
    method.merge(other_method, torch.tensor([labels.index(label) for label in other.labels]))
    model = method.solve()
    after = replace(
        own_learning,
        steps=_steps(own_learning, other.learning),
        counts={
            label: own_learning.counts.get(label, 0) + other.learning.counts.get(label, 0) for label in labels
        },
        tensors=method.tensors(),
    )
    return SavedModel(model=model, labels=labels, description=_description(state, other), learning=after)


def shared_clips(state: SavedModel, other: SavedModel) -> int:
    """Number of clips that both models have recorded as learned. The merged model counts them twice."""
    methods = [closed_form_method(model.learning) for model in (state, other) if model.learning]
    learned = [method.learned for method in methods if method is not None and method.learned is not None]
    return learned[0].shared(learned[1]) if len(learned) == 2 else 0


def _learning(state: SavedModel, name: str) -> LearningState:
    """The learning state of a model; InputError if it cannot be merged."""
    if state.learning is None:
        raise InputError(
            f"{name} was saved without the files for merging (format version 1, or learning.json was removed). "
            "Train it again with avcil train"
        )
    method = state.learning.settings.method
    if method != _MERGEABLE:
        raise InputError(
            f"{name} was trained with the method {method}. Only models of the method {_MERGEABLE} can be merged"
        )
    if "moments.gram" in state.learning.tensors:
        raise InputError(
            f"{name} has statistics of format version 2, which cannot be merged exactly. Train it again, or convert "
            "it by learning a clip with avcil learn --extend"
        )
    return state.learning


def _check_settings(one: LearningState, other: LearningState) -> None:
    modalities = one.settings.modality, other.settings.modality
    if modalities[0] != modalities[1]:
        raise InputError(
            f"the models have different modalities: {modalities[0]} and {modalities[1]}. Only models of the same "
            "modality can be merged"
        )
    first, second = one.settings.options(BladeMethod), other.settings.options(BladeMethod)
    for name in (field.name for field in fields(first)):
        if getattr(first, name) != getattr(second, name):
            raise InputError(
                f"the models have different values of the option {name}: {getattr(first, name)} and "
                f"{getattr(second, name)}. Only models with the same options can be merged"
            )


def _check_features(one: SavedModel, other: SavedModel) -> None:
    for key, title in FEATURES.items():
        first, second = one.description.get(key), other.description.get(key)
        if first != second:
            raise InputError(
                f"the models have different {title}: {difference(first, second)}. Their features are not "
                "comparable. Extract both data sets with the same encoders and options, and train again"
            )


def _check_names(labels: tuple[str, ...], other_labels: tuple[str, ...]) -> None:
    clash = sorted(set(labels) & set(other_labels))
    if clash:
        raise InputError(
            f"both models have {', '.join(map(repr, clash[:5]))}{' and others' * (len(clash) > 5)}. Set same_classes "
            "(--same-classes) if classes with the same name are the same class, or rename those of the second model "
            f"with rename (--rename {clash[0]!r}=OTHER-NAME)"
        )


def _steps(one: LearningState, other: LearningState) -> tuple[tuple[str, ...], ...]:
    """The steps of the first model, then those of the other without classes of the first."""
    added = (tuple(label for label in step if label not in one.counts) for step in other.steps)
    return (*one.steps, *filter(None, added))


def _description(state: SavedModel, other: SavedModel) -> dict[str, Any]:
    """The description of the first model without its metrics, and the sizes of the merged models."""
    merged = [entry for model in (state, other) for entry in _sources(model)]
    kept_entries = {
        name: value for name, value in state.description.items() if name not in ("metrics", "data")
    }
    updates = sum(int(model.description.get(UPDATES, 0)) for model in (state, other))
    return {**kept_entries, UPDATES: updates + 1, "merged": merged}


def _sources(state: SavedModel) -> list[dict[str, Any]]:
    """Numbers of classes and clips of a model, or of the models that it was merged from if it is unchanged since."""
    assert state.learning is not None
    total = {"classes": len(state.classes), "clips": sum(state.learning.counts.values())}
    merged = list(state.description.get("merged", []))
    return merged if sum(source["clips"] for source in merged) == total["clips"] else [total]
