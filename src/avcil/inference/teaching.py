"""Learn more classes and evaluate: held-out clips of new and old classes are predicted before and after.

The command line, the page and the API add classes by `teach`.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace

from avcil.data.scan import ClipProblem
from avcil.inference.clip_features import Source
from avcil.inference.held_out import FRACTION, HeldOut, hold_out
from avcil.inference.learning import FeaturesOf, LearnReport, nothing_usable, read_features
from avcil.inference.recognizer import Recognizer
from avcil.saved_models.folder import SavedModel
from avcil.utils.progress import ProgressCallback


@dataclass(frozen=True, kw_only=True)
class Score:
    """How many held-out clips of a class are predicted right."""

    label: str
    clips: int
    before: int | None
    """None: the class was not known."""
    after: int


@dataclass(frozen=True, kw_only=True)
class TeachReport:
    """What was learned, and accuracy before and after."""

    learned: LearnReport
    old: tuple[Score, ...]
    """On test clips of the classes known before."""
    new: tuple[Score, ...]
    """On held-out clips of those that were given."""
    held_out: HeldOut
    """Those clips."""
    problems: tuple[ClipProblem, ...]
    """Clips that cannot be used, and why."""
    notes: tuple[str, ...]


def teach(
    recognizer: Recognizer,
    clips: Sequence[Source],
    labels: Sequence[str],
    *,
    old: HeldOut,
    held_out: Sequence[bool] | None = None,
    fraction: float = FRACTION,
    features_of: FeaturesOf | None = None,
    progress: ProgressCallback | None = None,
) -> TeachReport:
    """Learn the clips that are not held out, and count right predictions before and after.

    Args:
        recognizer: Learns; it is unchanged if anything fails.
        clips: The clips.
        labels: Their classes.
        old: Test clips of the classes known before.
        held_out: Which clips are held out; by default `hold_out` chooses among those that can be used.
        fraction: What `hold_out` holds out of each class.
        features_of: Computes the features of clips; by default the recognizer's reader.
        progress: Called with what is being done, how much of it is done, and how much there is.

    Raises:
        InputError: What `Recognizer.learn` raises, or no clip can be used.
    """
    tell = progress or (lambda what, done, total: None)
    before, began = recognizer.snapshot(), time.monotonic()
    found, problems = read_features(features_of or recognizer.features_of, clips, before, tell)
    reading = time.monotonic() - began
    own = [labels[at] for at, _ in found]
    mask = hold_out([clips[at] for at, _ in found], own, fraction)
    if held_out is not None:
        mask = [held_out[at] for at, _ in found]
    groups: dict[bool, HeldOut] = {
        held: HeldOut(
            features=tuple(features for (_, features), m in zip(found, mask, strict=True) if m == held),
            labels=tuple(label for label, m in zip(own, mask, strict=True) if m == held),
        )
        for held in (False, True)
    }
    learned, new = groups[False], groups[True]
    if not learned.labels:
        raise nothing_usable(len(clips), problems)
    report = recognizer.learn(learned.features, learned.labels, progress=tell)
    tell("evaluating", 0, 1)
    after = recognizer.snapshot()
    unused = [
        f"class {label!r} has no clip that can be used" for label in dict.fromkeys(labels) if label not in own
    ]
    return TeachReport(
        learned=replace(report, seconds_reading=reading),
        old=_scores(old, before, after),
        new=_scores(new, before, after),
        held_out=new,
        problems=tuple(problems),
        notes=(*unused, *report.notes, *old.notes),
    )


def total(label: str, scores: Sequence[Score]) -> Score | None:
    """The scores of several classes added up; None where there is none."""
    if not scores:
        return None
    unknown = any(score.before is None for score in scores)
    return Score(
        label=label,
        clips=sum(score.clips for score in scores),
        before=None if unknown else sum(score.before or 0 for score in scores),
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
