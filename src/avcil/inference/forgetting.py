"""Remove clips or classes from a saved model. Functions return a new state; the given state does not change."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

import torch

from avcil.data.scan import ClipProblem
from avcil.errors import AvcilError, InputError
from avcil.inference.clip_features import Source, name_of
from avcil.inference.learning import FeaturesOf, labeled, learning_of, read_features, updated
from avcil.inference.recorded_clips import clip_hashes, tensor_groups
from avcil.methods.base import ClosedFormMethod
from avcil.saved_models.folder import BACKGROUND, SavedModel, unknown_classes
from avcil.saved_models.learning_state import LearningState
from avcil.training.update import closed_form_method, closed_form_method_names

_UNCHECKED = (
    "the model does not record all clips that it has learned, because an earlier version trained it, or because clips "
    "were subtracted without a check. So it was not checked that each of these clips was learned"
)
_UNKNOWN = "the model has not learned it"
NotLearned = Literal["fail", "skip", "subtract"]
"""What to do with a clip that the model has not recorded as learned."""


@dataclass(frozen=True, kw_only=True)
class ForgetReport:
    """The outcome of forgetting clips."""

    forgotten: dict[str, int]
    """Number of removed clips by class."""
    problems: tuple[ClipProblem, ...]
    """Clips that were skipped, with reasons."""
    notes: tuple[str, ...]
    """Further remarks."""


def forget(
    state: SavedModel,
    features_of: FeaturesOf,
    clips: Sequence[Source],
    labels: Sequence[str],
    *,
    not_learned: NotLearned = "fail",
) -> tuple[SavedModel, ForgetReport]:
    """Remove learned clips; see `Recognizer.forget`. If a clip cannot be read, nothing is forgotten."""
    learning = learning_of(state)
    method = _method_that_forgets(learning)
    clips, labels = labeled(clips, labels)
    if not clips:
        raise InputError("give at least one clip to forget")
    if unknown := sorted(set(labels) - set(state.labels)):
        raise unknown_classes(unknown, state.labels)
    usable, problems = read_features(features_of, clips, state, lambda *_: None)
    if problems:
        raise InputError(f"{problems[0].path}: {problems[0].reason}. Nothing was forgotten")
    numbers = [state.labels.index(label) for label in labels]
    features = [features for _, features in usable]
    hashes = clip_hashes(method, features, state)
    notes = () if _records_all(method, learning) else (_UNCHECKED,)
    reasons = dict(_reasons(method, hashes, numbers, state, check=not_learned != "subtract"))
    problems = [ClipProblem(path=Path(name_of(clips[i])), reason=reason) for i, reason in reasons.items()]
    if problems and (not_learned != "skip" or len(problems) == len(clips)):
        raise InputError(_not_learned_message(problems))
    kept = [i for i in range(len(clips)) if i not in reasons]
    forgotten = Counter(labels[i] for i in kept)
    counts = _counts_without(learning, forgotten)
    targets = torch.tensor([numbers[i] for i in kept])
    for at, audio, visual in tensor_groups([features[i] for i in kept], state):
        method.forget(audio, visual, targets[at])
    report = ForgetReport(forgotten=dict(forgotten), problems=tuple(problems), notes=notes)
    return _solve(state, learning, method, counts), report


def _counts_without(learning: LearningState, forgotten: Mapping[str, int]) -> dict[str, int]:
    """The number of clips of each class that is left; InputError if more clips are forgotten than were learned."""
    for label, count in forgotten.items():
        if count > learning.counts[label]:
            raise InputError(
                f"{count} clips of class {label!r} are given, but only {learning.counts[label]} were learned. Give "
                "only clips that were learned, and no held-out clips"
            )
    counts = {label: count - forgotten.get(label, 0) for label, count in learning.counts.items()}
    return {label: count for label, count in counts.items() if count}


def _records_all(method: ClosedFormMethod, learning: LearningState) -> bool:
    return method.learned is not None and len(method.learned) == sum(learning.counts.values())


def _reasons(
    method: ClosedFormMethod, hashes: Sequence[int], numbers: Sequence[int], state: SavedModel, *, check: bool
) -> Iterator[tuple[int, str]]:
    """Yield the index of each clip that was not learned as the given class, with the reason.

    Args:
        method: The method with its statistics.
        hashes: The hash of each clip.
        numbers: The class number of each clip.
        state: The model.
        check: Whether a clip without a record is a problem, if the method records all clips.
    """
    learned = method.learned
    if learned is None:
        return
    check = check and _records_all(method, learning_of(state))
    classes = learned.classes_of(torch.tensor(hashes, dtype=torch.int64))
    records = Counter(zip(learned.hashes.tolist(), learned.labels.tolist(), strict=True))
    for index, (value, number, found) in enumerate(zip(hashes, numbers, classes, strict=True)):
        records[value, number] -= 1
        if records[value, number] >= 0:
            continue
        if found == number:
            yield index, "it is given more often than it was learned"
        elif found is not None:
            yield index, f"it was learned as class {state.labels[found]!r}"
        elif check:
            yield index, _UNKNOWN


def _not_learned_message(problems: Sequence[ClipProblem]) -> str:
    shown = "; ".join(f"{problem.path}: {problem.reason}" for problem in problems[:3])
    more = f"; and {len(problems) - 3} more" if len(problems) > 3 else ""
    message = (
        f"{shown}{more}. Nothing was forgotten. Give only clips that were learned, not held-out clips, with the "
        "classes that they were learned with"
    )
    if not any(problem.reason == _UNKNOWN for problem in problems):
        return message
    return (
        f"{message}. Learned clips whose features differ by rounding, because another processor computed them, can be "
        "forgotten with avcil forget --not-learned subtract"
    )


def forget_class(state: SavedModel, label: str) -> SavedModel:
    """Remove a class; see `Recognizer.forget_class`."""
    learning = learning_of(state)
    if label not in state.labels:
        raise unknown_classes([label], state.labels)
    method = _method_that_forgets(learning)
    return _solve(state, learning, method, {name: n for name, n in learning.counts.items() if name != label})


def _method_that_forgets(learning: LearningState) -> ClosedFormMethod:
    method = closed_form_method(learning)
    if method is None:
        raise InputError(
            f"method {learning.settings.method} cannot forget: the effect of a clip on its weights cannot be removed. "
            f"Methods that can: {', '.join(closed_form_method_names())}"
        )
    return method


def _solve(
    state: SavedModel, learning: LearningState, method: ClosedFormMethod, counts: dict[str, int]
) -> SavedModel:
    """The state after a method has forgotten; classes that are not in `counts` are dropped."""
    if not counts.keys() - {BACKGROUND}:
        raise InputError("a model needs at least one class, and none would be left. Nothing was forgotten")
    for number in reversed(range(len(state.labels))):
        if state.labels[number] not in counts:
            method.remove_class(number)
    try:
        model = method.solve()
    except AvcilError as error:
        raise InputError(
            f"no model can be computed from the remaining statistics ({error}). Some of the clips were probably not "
            "learned. Nothing was forgotten"
        ) from error
    steps = (tuple(label for label in step if label in counts) for step in learning.steps)
    after = replace(learning, steps=tuple(filter(None, steps)), counts=counts, tensors=method.tensors())
    return updated(state, model, tuple(label for label in state.labels if label in counts), after)
