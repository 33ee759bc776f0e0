"""Learn clips and evaluate held-out clips of old and new classes before and after.

The command line, the page and the API use `learn_and_evaluate` to add classes.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace

from avcil.data.scan import ClipProblem
from avcil.inference.clip_features import ClipFeatures, Source
from avcil.inference.held_out import FRACTION, HeldOut, hold_out
from avcil.inference.learning import FeaturesOf, LearnReport, new_clips, nothing_usable, read_features
from avcil.inference.recognizer import Recognizer
from avcil.saved_models.folder import BACKGROUND, SavedModel
from avcil.utils.progress import ProgressCallback


@dataclass(frozen=True, kw_only=True)
class Score:
    """Numbers of correct predictions of held-out clips of a class, before and after an update."""

    label: str
    clips: int
    before: int | None
    """None if the class is new."""
    after: int


@dataclass(frozen=True, kw_only=True)
class EvaluatedLearnReport:
    """What was learned, and accuracy before and after."""

    learned: LearnReport
    old: tuple[Score, ...]
    """Of the old classes, on their test clips."""
    new: tuple[Score, ...]
    """Of the classes of the given clips, on those that were held out."""
    held_out: HeldOut
    """Those of the given clips that were held out."""
    problems: tuple[ClipProblem, ...]
    """Clips that cannot be used, with reasons."""
    notes: tuple[str, ...]


def learn_and_evaluate(
    recognizer: Recognizer,
    clips: Sequence[Source],
    labels: Sequence[str],
    *,
    old: HeldOut,
    held_out: Sequence[bool] | None = None,
    fraction: float = FRACTION,
    features_of: FeaturesOf | None = None,
    progress: ProgressCallback | None = None,
) -> EvaluatedLearnReport:
    """Learn the clips that are not held out, and evaluate before and after.

    Args:
        recognizer: The recognizer; it is unchanged after an error.
        clips: The clips.
        labels: Their classes.
        old: Test clips of the old classes.
        held_out: Whether each clip is held out; by default `hold_out` selects among the usable clips.
        fraction: The fraction of `hold_out`.
        features_of: Computes the features of clips; by default the recognizer.
        progress: Called with the phase, the number of finished items, and the number of all items.

    Raises:
        InputError: As for `Recognizer.learn`, or no clip can be used.
    """
    progress = progress or (lambda phase, done, total: None)
    before, start = recognizer.snapshot(), time.monotonic()
    read = features_of or recognizer.features_of
    usable, problems = read_features(read, clips, before, progress)
    if held_out is None:
        is_held_out = _hold_out([index for index, _ in usable], clips, labels, fraction)
    else:
        is_held_out = dict(enumerate(held_out))
    usable, known = new_clips(usable, clips, labels, before)
    problems += known
    mask = [is_held_out[index] for index, _ in usable]
    reading = time.monotonic() - start
    learned, new = (_selected(usable, labels, mask, value) for value in (False, True))
    if not learned.labels:
        raise nothing_usable(len(clips), problems, held_out=len(new.labels))
    if set(learned.labels) == {BACKGROUND}:
        report = recognizer.learn_background(learned.features, progress=progress)
    else:
        report = recognizer.learn(learned.features, learned.labels, progress=progress)
    progress("evaluating", 0, 1)
    after = recognizer.snapshot()
    found = {*learned.labels, *new.labels}
    unused = [f"no clip of class {label!r} was used" for label in dict.fromkeys(labels) if label not in found]
    return EvaluatedLearnReport(
        learned=replace(report, seconds_reading=reading),
        old=_scores(old, before, after),
        new=_scores(new, before, after),
        held_out=new,
        problems=tuple(problems),
        notes=(*unused, *report.notes, *old.notes),
    )


def _hold_out(
    usable: Sequence[int], clips: Sequence[Source], labels: Sequence[str], fraction: float
) -> dict[int, bool]:
    """Whether each usable clip is held out, by index.

    Clips that the model has learned take part, so that a clip that was held out before is held out again.
    """
    usable_labels = [labels[index] for index in usable]
    fraction = 0 if set(usable_labels) == {BACKGROUND} else fraction
    return dict(
        zip(usable, hold_out([clips[index] for index in usable], usable_labels, fraction), strict=True)
    )


def _selected(
    clips: Sequence[tuple[int, ClipFeatures]], labels: Sequence[str], mask: Sequence[bool], value: bool
) -> HeldOut:
    """The clips (index and features) for which `mask` has a value."""
    chosen = [clip for clip, is_chosen in zip(clips, mask, strict=True) if is_chosen == value]
    return HeldOut(
        features=tuple(features for _, features in chosen), labels=tuple(labels[i] for i, _ in chosen)
    )


def total(label: str, scores: Sequence[Score]) -> Score | None:
    """The sum of the scores of several classes; None without scores."""
    if not scores:
        return None
    has_new = any(score.before is None for score in scores)
    return Score(
        label=label,
        clips=sum(score.clips for score in scores),
        before=None if has_new else sum(score.before or 0 for score in scores),
        after=sum(score.after for score in scores),
    )


def _scores(clips: HeldOut, before: SavedModel, after: SavedModel) -> tuple[Score, ...]:
    counts, then, now = Counter(clips.labels), clips.correct(before), clips.correct(after)
    return tuple(
        Score(
            label=label, clips=count, before=then[label] if label in before.labels else None, after=now[label]
        )
        for label, count in counts.items()
    )
