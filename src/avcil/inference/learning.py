"""Teaching a recognizer: features of clips in, a new state out; the old state stays as it is.

n clips, Da and Dv widths of sound and picture, T time slices, S spatial tokens.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from avcil.data.clips import check_labels
from avcil.data.scan import ClipProblem
from avcil.errors import AvcilError, InputError
from avcil.inference.clip_features import ClipFeatures, Source, name_of
from avcil.saved_models.folder import BACKGROUND, SavedModel
from avcil.saved_models.learning_state import LearningState
from avcil.training.update import NewClips, closed_form, closed_form_names, sit
from avcil.utils.files import without_path
from avcil.utils.progress import ProgressCallback

FeaturesOf = Callable[[Sequence[Source]], Iterator[ClipFeatures | AvcilError]]


@dataclass(frozen=True, kw_only=True)
class LearnReport:
    """What one learning came to."""

    new: dict[str, int]
    """Clips learnt of each new class."""
    extended: dict[str, int]
    """Clips learnt of each class that was known before."""
    problems: tuple[ClipProblem, ...]
    """Clips left out, and why."""
    notes: tuple[str, ...]
    """What a user should know besides."""
    seconds_reading: float
    seconds_learning: float


def learn(
    state: SavedModel,
    features_of: FeaturesOf,
    clips: Sequence[Source],
    labels: Sequence[str],
    progress: ProgressCallback | None = None,
    *,
    background: bool = False,
) -> tuple[SavedModel, LearnReport]:
    """The state after the clips, and the report; see `Recognizer.learn` and `learn_background`."""
    if BACKGROUND in labels and not background:
        raise InputError(
            f"the label {BACKGROUND} is reserved for clips to be rejected: give them to avcil learn --background, or "
            "rename the class"
        )
    tell = progress or (lambda what, done, total: None)
    learning = _learning(state)
    clips, labels = list(clips), [str(label) for label in labels]
    _check(state, clips, labels)
    began = time.monotonic()
    found, problems = read_features(features_of, clips, state, tell)
    if not found:
        raise nothing_usable(len(clips), problems)
    new_clips = _new_clips(state, found, labels, sitting=int(state.description.get("updates", 0)) + 1)
    read = time.monotonic()
    epochs, done = 1 if closed_form_like(learning) else learning.settings.epochs, 0
    tell("learning", 0, epochs)

    def tick() -> None:
        nonlocal done
        done += 1
        tell("learning", done, epochs)

    model, after = sit(state.model, learning, new_clips, tick=tick)
    tell("learning", epochs, epochs)
    counts = Counter(new_clips.labels)
    new = {label: count for label, count in counts.items() if label not in learning.counts}
    report = LearnReport(
        new=new,
        extended={label: count for label, count in counts.items() if label not in new},
        problems=tuple(problems),
        notes=(*_notes(learning, labels, counts), *getattr(model, "notes", ())),
        seconds_reading=read - began,
        seconds_learning=time.monotonic() - read,
    )
    description = {**state.description, "updates": int(state.description.get("updates", 0)) + 1}
    labels_after = (*state.labels, *new)
    return SavedModel(model=model, labels=labels_after, description=description, learning=after), report


def nothing_usable(count: int, problems: Sequence[ClipProblem]) -> InputError:
    """The error where no clip of `count` can be learned."""
    shown = "; ".join(f"{problem.path}: {problem.reason}" for problem in problems[:3])
    return InputError(f"none of the {count} clips can be learned: {shown or 'all are held out'}")


def forget(
    state: SavedModel, features_of: FeaturesOf, clips: Sequence[Source], labels: Sequence[str]
) -> SavedModel:
    """The state without clips; see `Recognizer.forget`. A clip that cannot be read stops it: nothing is forgotten."""
    learning, clips, labels = _learning(state), list(clips), list(labels)
    method = _forgetful(learning)
    if len(clips) != len(labels) or not clips:
        raise InputError(
            f"give a label for each clip to be forgotten: {len(clips)} clips, {len(labels)} labels"
        )
    unknown = sorted(set(labels) - set(state.labels))
    if unknown:
        raise InputError(f"this recognizer knows no class {', '.join(map(repr, unknown))}")
    found, problems = read_features(features_of, clips, state, lambda *_: None)
    if problems:
        raise InputError(f"{problems[0].path}: {problems[0].reason}. Nothing was forgotten")
    left = Counter(learning.counts)
    left.subtract(labels)
    for label, count in left.items():
        if count < 0:
            raise InputError(
                f"{labels.count(label)} clips of class {label!r} are given, but only {learning.counts[label]} were "
                "learned. Give only clips that were learned; held-out clips were not"
            )
    audio, visual = _joined([features for _, features in found], state, np.dtype(state.description["dtype"]))
    numbers = torch.tensor([state.labels.index(label) for label in labels])
    method.forget(
        *(None if part is None else torch.from_numpy(part).float() for part in (audio, visual)), numbers
    )
    return _solved(state, learning, method, {label: left[label] for label in state.labels if left[label] > 0})


def forget_class(state: SavedModel, label: str) -> SavedModel:
    """The state that never answers with `label`; see `Recognizer.forget_class`."""
    learning = _learning(state)
    if label not in state.labels:
        raise InputError(f"this recognizer knows no class {label!r}. It knows: {', '.join(state.labels)}")
    method = _forgetful(learning)
    return _solved(state, learning, method, {name: n for name, n in learning.counts.items() if name != label})


def rename(state: SavedModel, old: str, new: str) -> SavedModel:
    """The state with a class under another name."""
    if old not in state.classes:
        raise InputError(f"this recognizer knows no class {old!r}. It knows: {', '.join(state.classes)}")
    if new == BACKGROUND:
        raise InputError(f"the name {BACKGROUND} is reserved for clips to be rejected")
    labels = tuple(new if label == old else label for label in state.labels)
    check_labels(labels, "the classes after renaming")
    if len(set(labels)) != len(labels):
        raise InputError(f"this recognizer has a class {new!r} already")
    if state.learning is None:
        return replace(state, labels=labels)

    def named(name: str) -> str:
        return new if name == old else name

    learning = replace(
        state.learning,
        steps=tuple(tuple(map(named, step)) for step in state.learning.steps),
        counts={named(label): count for label, count in state.learning.counts.items()},
        exemplars={named(label): ids for label, ids in state.learning.exemplars.items()},
    )
    return replace(state, labels=labels, learning=learning)


def read_features(
    features_of: FeaturesOf, clips: Sequence[Source], state: SavedModel, tell: ProgressCallback
) -> tuple[list[tuple[int, ClipFeatures]], list[ClipProblem]]:
    """Positions and features of the clips that have all that the model uses, and the others with the reason."""
    found: list[tuple[int, ClipFeatures]] = []
    problems: list[ClipProblem] = []
    modality = state.model.modality
    tell("reading clips", 0, len(clips))
    for position, features in enumerate(features_of(clips)):
        path = Path(name_of(clips[position]))
        if isinstance(features, AvcilError):
            problems.append(ClipProblem(path=path, reason=without_path(features, path)))
        elif (modality.has_audio and features.audio is None) or (
            modality.has_visual and features.visual is None
        ):
            lacks = "picture" if features.audio is not None else "sound"
            reason = f"{features.notes or 'it lacks a modality'}; to learn from it, its {lacks} is needed"
            problems.append(ClipProblem(path=path, reason=reason))
        else:
            # the frames and the sound themselves are not needed any more
            found.append((position, replace(features, read=None)))
        tell("reading clips", position + 1, len(clips))
    return found, problems


def _learning(state: SavedModel) -> LearningState:
    if state.learning is None:
        raise InputError(
            "this model was saved without what learning on needs (format version 1, or learning.json was removed). "
            "Make it again with its avcil train command into a new --out"
        )
    return state.learning


def _check(state: SavedModel, clips: Sequence[Source], labels: Sequence[str]) -> None:
    if len(clips) != len(labels):
        raise InputError(f"give a label for each clip: {len(clips)} clips, {len(labels)} labels")
    check_labels({*labels, *state.labels}, "the new clips and the classes known")


def _new_clips(
    state: SavedModel, found: Sequence[tuple[int, ClipFeatures]], labels: Sequence[str], *, sitting: int
) -> NewClips:
    dtype = np.dtype(state.description["dtype"])
    audio, visual = _joined([features for _, features in found], state, dtype)
    kept = set() if state.learning is None else set(state.learning.exemplar_ids)
    ids = []
    for position, features in found:
        clip_id = features.clip_id or f"clip {position:09d}"
        ids.append(clip_id if clip_id not in kept else f"{clip_id} (sitting {sitting})")
    twice = [clip_id for clip_id, count in Counter(ids).items() if count > 1]
    if twice:
        raise InputError(f"clips given twice: {', '.join(map(repr, twice[:5]))}. Give each once")
    return NewClips(ids=ids, labels=[labels[position] for position, _ in found], audio=audio, visual=visual)


def _joined(
    features: Sequence[ClipFeatures], state: SavedModel, dtype: Any
) -> tuple[np.ndarray | None, np.ndarray | None]:
    """Audio (n, Da) and visual (n, T, S, Dv) of what the model uses."""

    def of(parts: Iterable[Tensor]) -> np.ndarray:
        return torch.cat(list(parts)).numpy().astype(dtype)

    modality = state.model.modality
    audio = of(f.audio for f in features if f.audio is not None) if modality.has_audio else None
    visual = of(f.visual for f in features if f.visual is not None) if modality.has_visual else None
    return audio, visual


def _forgetful(learning: LearningState) -> Any:
    method = closed_form(learning)
    if method is None:
        raise InputError(
            f"method {learning.settings.method} cannot forget: what its weights took from a clip cannot be told "
            f"apart. Methods whose statistics can: {', '.join(closed_form_names())}"
        )
    return method


def _solved(state: SavedModel, learning: LearningState, method: Any, counts: dict[str, int]) -> SavedModel:
    """The state of a method that was made to forget; classes that `counts` lacks are dropped."""
    if not counts.keys() - {BACKGROUND}:
        raise InputError("nothing would be left: a recognizer needs a class. Nothing was forgotten")
    for number in reversed(range(len(state.labels))):
        if state.labels[number] not in counts:
            method.drop(number)
    model = method.solve()
    steps = (tuple(label for label in step if label in counts) for step in learning.steps)
    after = replace(learning, steps=tuple(filter(None, steps)), counts=counts, tensors=method.tensors())
    labels = tuple(label for label in state.labels if label in counts)
    description = {**state.description, "updates": int(state.description.get("updates", 0)) + 1}
    return SavedModel(model=model, labels=labels, description=description, learning=after)


def _notes(learning: LearningState, labels: Sequence[str], counts: Counter[str]) -> Iterator[str]:
    for label in dict.fromkeys(labels):
        if not counts[label]:
            yield f"class {label!r} has no clip that can be used"
        elif counts[label] == 1 and label not in learning.counts and label != BACKGROUND:
            yield f"class {label!r} has one clip, which is few"
    if learning.settings.selection == "best" and not closed_form_like(learning):
        yield (
            "the run chose the best epoch of each step on its validation clips, which a model does not keep; "
            "this step ended with its last epoch"
        )


def closed_form_like(learning: LearningState) -> bool:
    """Whether its method has statistics instead of epochs."""
    return learning.settings.method in closed_form_names()
