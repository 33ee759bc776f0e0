"""Learn more clips with a saved model. Functions return a new state; the given state does not change.

n clips, Da and Dv widths of audio and visual features, T time slices, S spatial tokens.
"""

from __future__ import annotations

import itertools
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from avcil.data.clips import check_labels
from avcil.data.modality import Modality
from avcil.data.presence import Presence
from avcil.data.scan import ClipProblem
from avcil.errors import AvcilError, InputError
from avcil.inference.clip_features import ClipFeatures, Source, name_of
from avcil.inference.recorded_clips import Usable, joined_features, without_learned
from avcil.methods.model import Model
from avcil.saved_models.description import UPDATES
from avcil.saved_models.folder import BACKGROUND, SavedModel
from avcil.saved_models.learning_state import LearningState
from avcil.training.update import (
    closed_form_method,
    closed_form_method_names,
    learns_incomplete_clips,
    update_model,
)
from avcil.training.update_data import UpdateClips
from avcil.utils.files import without_path
from avcil.utils.progress import ProgressCallback

FeaturesOf = Callable[[Sequence[Source]], Iterator[ClipFeatures | AvcilError]]


@dataclass(frozen=True, kw_only=True)
class LearnReport:
    """The outcome of learning."""

    new: dict[str, int]
    """Number of learned clips by new class."""
    extended: dict[str, int]
    """Number of learned clips by class that the model had before."""
    problems: tuple[ClipProblem, ...]
    """Clips that were not used, with reasons."""
    notes: tuple[str, ...]
    """Further remarks."""
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
    """Learn clips; see `Recognizer.learn` and `Recognizer.learn_background`."""
    clips, labels = labeled(clips, labels)
    if BACKGROUND in labels and not background:
        raise InputError(
            f"the label {BACKGROUND} is reserved for clips to be rejected: give them to avcil learn --background, or "
            "rename the class"
        )
    report_progress = progress or (lambda phase, done, total: None)
    learning = learning_of(state)
    check_labels({*labels, *state.labels}, "the new clips and the known classes")
    start = time.monotonic()
    usable, unusable = read_features(features_of, clips, state, report_progress)
    usable, known = new_clips(usable, clips, labels, state)
    problems = [*unusable, *known]
    if not usable:
        raise nothing_usable(len(clips), problems)
    update = _update_clips(state, usable, labels)
    incomplete = _incomplete_note(update.presence, state.model.modality)
    read = time.monotonic()
    epochs, done = 1 if is_closed_form(learning) else learning.settings.epochs, itertools.count(1)
    report_progress("learning", 0, epochs)
    model, after = update_model(
        state.model, learning, update, tick=lambda: report_progress("learning", next(done), epochs)
    )
    report_progress("learning", epochs, epochs)
    counts = Counter(update.labels)
    new = {label: count for label, count in counts.items() if label not in learning.counts}
    report = LearnReport(
        new=new,
        extended={label: count for label, count in counts.items() if label not in new},
        problems=tuple(problems),
        notes=(*incomplete, *_notes(learning, labels, counts), *getattr(model, "notes", ())),
        seconds_reading=read - start,
        seconds_learning=time.monotonic() - read,
    )
    labels_after = (*state.labels, *new)
    return updated(state, model, labels_after, after), report


def _updates(state: SavedModel) -> int:
    """Number of updates since training."""
    return int(state.description.get(UPDATES, 0))


def updated(state: SavedModel, model: Model, labels: tuple[str, ...], learning: LearningState) -> SavedModel:
    """The state after an update, which is counted in the description."""
    description = {**state.description, UPDATES: _updates(state) + 1}
    return SavedModel(model=model, labels=labels, description=description, learning=learning)


def nothing_usable(count: int, problems: Sequence[ClipProblem], held_out: int = 0) -> InputError:
    """The error if none of `count` clips can be learned; `held_out`: how many of them are held out."""
    if not count:
        return InputError("no clips are given. Give at least one")
    reasons = [f"{problem.path}: {problem.reason}" for problem in problems[:3]]
    if held_out:
        reasons.insert(0, f"{held_out} are held out")
    return InputError(f"none of the {count} clips can be learned: {'; '.join(reasons)}")


def labeled(clips: Iterable[Source], labels: Iterable[str]) -> tuple[list[Source], list[str]]:
    """Both as lists; InputError unless there is a label for each clip."""
    for name, value in (("clips", clips), ("labels", labels)):
        if isinstance(value, str | Path):  # would be read as a list of characters
            raise InputError(f"{name} must be a list, such as [{str(value)!r}], not one value")
    clips, labels = list(clips), [str(label) for label in labels]
    if len(clips) != len(labels):
        raise InputError(f"give a label for each clip: there are {len(clips)} clips and {len(labels)} labels")
    return clips, labels


def read_features(
    features_of: FeaturesOf, clips: Sequence[Source], state: SavedModel, progress: ProgressCallback
) -> tuple[Usable, list[ClipProblem]]:
    """Read clips for learning.

    Args:
        features_of: Computes the features of clips.
        clips: The clips.
        state: The model.
        progress: Called with the phase, the number of clips read, and the number of all clips.

    Returns:
        Index and features of each clip that can be learned, and the other clips with reasons. Clips need all modalities
        of the model, or one of them if the method learns from incomplete clips.
    """
    usable: Usable = []
    problems: list[ClipProblem] = []
    parts = state.model.modality.parts
    allowed = len(parts) - 1 if state.learning and learns_incomplete_clips(state.learning) else 0
    progress("reading clips", 0, len(clips))
    for index, features in enumerate(features_of(clips)):
        path = Path(name_of(clips[index]))
        if isinstance(features, AvcilError):
            problems.append(ClipProblem(path=path, reason=without_path(features, path)))
        elif reason := _incomplete_reason(features, parts, allowed):
            problems.append(ClipProblem(path=path, reason=reason))
        else:
            usable.append((index, replace(features, read=None)))  # frees the decoded frames and audio
        progress("reading clips", index + 1, len(clips))
    return usable, problems


def new_clips(
    usable: Usable, clips: Sequence[Source], labels: Sequence[str], state: SavedModel
) -> tuple[Usable, list[ClipProblem]]:
    """Remove clips that the model has learned already, and copies of other clips, from what `read_features` returned.

    Returns:
        The remaining clips, and the removed ones with reasons.
    """
    method = closed_form_method(learning_of(state))
    named = [(name_of(clip), label) for clip, label in zip(clips, labels, strict=True)]
    return without_learned(method, usable, named, state)


def _incomplete_reason(features: ClipFeatures, parts: Sequence[Modality], allowed: int) -> str:
    """Why a clip that lacks more than `allowed` of `parts` cannot be learned; otherwise empty."""
    missing = [part.in_words for part in parts if getattr(features, part) is None]
    if len(missing) <= allowed:
        return ""
    return f"{features.notes or 'it lacks a modality'}; learning needs {' and '.join(missing)}"


def learning_of(state: SavedModel) -> LearningState:
    """What the model needs for further learning; InputError if it was saved without that."""
    if state.learning is None:
        raise InputError(
            "this model was saved without the files for further learning (format version 1, or learning.json was "
            "removed). Train it again with its avcil train command and a new --out"
        )
    return state.learning


def _update_clips(
    state: SavedModel, usable: Sequence[tuple[int, ClipFeatures]], labels: Sequence[str]
) -> UpdateClips:
    audio, visual, presence = joined_features([features for _, features in usable], state)
    exemplars = set() if state.learning is None else set(state.learning.exemplar_ids)
    ids = []
    for index, features in usable:
        clip_id = features.clip_id or f"clip {index:09d}"
        ids.append(clip_id if clip_id not in exemplars else f"{clip_id} (update {_updates(state) + 1})")
    twice = [clip_id for clip_id, count in Counter(ids).items() if count > 1]
    if twice:
        raise InputError(f"clips are given twice: {', '.join(map(repr, twice[:5]))}. Give each once")
    return UpdateClips(
        ids=ids, labels=[labels[index] for index, _ in usable], audio=audio, visual=visual, presence=presence
    )


def _incomplete_note(presence: Presence, modality: Modality) -> Iterator[str]:
    """How many clips lack a modality; nothing if all are complete."""
    counts = [
        f"{int((~presence.has(part)).sum())} without {part.in_words}"
        for part in modality.parts
        if not presence.has(part).all()
    ]
    if counts:
        yield f"learned from clips that lack a modality: {', '.join(counts)}"


def _notes(learning: LearningState, labels: Sequence[str], counts: Counter[str]) -> Iterator[str]:
    for label in dict.fromkeys(labels):
        if not counts[label]:
            yield f"no clip of class {label!r} was used"
        elif counts[label] == 1 and label not in learning.counts and label != BACKGROUND:
            yield f"class {label!r} has only one clip"
    if learning.settings.selection == "best" and not is_closed_form(learning):
        yield (
            "the training run selected the best epoch of each step on its validation clips, which a model does not "
            "store; this update used its last epoch"
        )


def is_closed_form(learning: LearningState) -> bool:
    """Whether the method has a closed-form solution, without epochs."""
    return learning.settings.method in closed_form_method_names()
