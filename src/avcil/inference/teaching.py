"""Teaching with a look at what it did: a share of the new clips is held out, and old and new classes are asked about
before and after.
"""

from __future__ import annotations

import hashlib
from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch

from avcil.data.scan import Problem
from avcil.errors import InputError
from avcil.features import FeatureStore
from avcil.inference.clip_features import ClipFeatures, Source, name_of
from avcil.inference.learning import LearnReport, read_features
from avcil.inference.recognizer import Progress, Recognizer
from avcil.saved_models.folder import SavedModel
from avcil.training.data import Table
from avcil.training.device_config import DeviceConfig
from avcil.training.evaluate import ask
from avcil.training.memory_pool import Budget

ENOUGH = 3
"""Clips of a class from which one is held out."""


@dataclass(frozen=True, kw_only=True)
class Score:
    """How many held-out clips of a class are told rightly."""

    label: str
    clips: int
    before: int | None
    """None: the class was not known."""
    after: int
    new: bool


@dataclass(frozen=True, kw_only=True)
class TeachReport:
    """What teaching came to."""

    learned: LearnReport
    scores: tuple[Score, ...]
    """Of the classes of which clips were held out, the old ones first."""
    problems: tuple[Problem, ...]
    """All clips left out, of those to be learnt and of those held out."""
    notes: tuple[str, ...]

    def total(self, *, new: bool | None = None) -> Score | None:
        """All old classes together, all new ones, or all; None where no clip was held out."""
        group = [score for score in self.scores if new is None or score.new == new]
        if not group:
            return None
        name = {True: "new classes", False: "old classes", None: "all classes"}[new]
        before = None if any(score.before is None for score in group) else sum(s.before or 0 for s in group)
        return Score(
            label=name,
            clips=sum(score.clips for score in group),
            before=before,
            after=sum(score.after for score in group),
            new=bool(new),
        )


def hold_out(clips: Sequence[Source], labels: Sequence[str], share: float) -> list[bool]:
    """Which clips are held out: the same ones at every call, about `share` of each class, by a hash of their names.

    Classes with fewer than three clips keep all; others give at least one and keep at least two.

    >>> hold_out(["a.mp4", "b.mp4", "c.mp4"], ["dog"] * 3, 0.2)
    [False, False, True]
    """
    if not 0 <= share < 1:
        raise InputError(f"the share held out must be from 0 up to 1, not {share!r}")
    by_label = defaultdict(list)
    for position, label in enumerate(labels):
        by_label[label].append(position)
    held = [False] * len(clips)
    for own in by_label.values():
        if len(own) < ENOUGH or not share:
            continue
        count = min(max(1, round(share * len(own))), len(own) - 2)
        keys = {at: hashlib.sha256(Path(name_of(clips[at])).name.encode()).hexdigest() for at in own}
        for at in sorted(own, key=lambda at: (keys[at], at))[:count]:
            held[at] = True
    return held


def teach(
    recognizer: Recognizer,
    clips: Sequence[Source],
    labels: Sequence[str],
    *,
    held_out: Sequence[bool],
    old: FeatureStore | None = None,
    progress: Progress | None = None,
) -> TeachReport:
    """Learn the clips that are not held out, and count right answers before and after.

    `old`: the feature store of the run, whose test clips tell of the old classes. Raises what `Recognizer.learn`
    raises.
    """
    clips, labels = list(clips), list(labels)
    before = recognizer.snapshot()
    asked = [at for at, held in enumerate(held_out) if held]
    learnt = [at for at, held in enumerate(held_out) if not held]
    tell = progress or (lambda what, done, total: None)
    found, problems = read_features(
        recognizer.features_of,
        [clips[at] for at in asked],
        before,
        lambda _, *n: tell("reading held-out clips", *n),
    )
    report = recognizer.learn([clips[at] for at in learnt], [labels[at] for at in learnt], progress=progress)
    after = recognizer.snapshot()
    rows, lacking = ([], 0) if old is None else _test_rows(old, before)
    scores = [] if old is None else _old_scores(old, rows, before, after)
    scores += _new_scores(recognizer, [(labels[asked[at]], f) for at, f in found], before, after)
    return TeachReport(
        learned=report,
        scores=tuple(scores),
        problems=(*report.problems, *problems),
        notes=(*report.notes, *_lacking_note(lacking)),
    )


def _test_rows(store: FeatureStore, state: SavedModel) -> tuple[list[int], int]:
    """Rows of the test clips of classes known that have all that the model uses, and how many others there are."""
    known = set(state.labels)
    rows = [row for row, clip in enumerate(store.clips) if clip.split == "test" and clip.label in known]
    whole = [row for row in rows if store.clips[row].has(state.model.modality)]
    return whole, len(rows) - len(whole)


def _lacking_note(count: int) -> list[str]:
    return (
        [f"{count} test clips of old classes lack sound or picture and were not asked about"] if count else []
    )


def _old_scores(store: FeatureStore, rows: list[int], before: SavedModel, after: SavedModel) -> list[Score]:
    if not rows:
        return []
    labels = [store.clips[row].label for row in rows]
    right = [_right(state, store, rows, labels) for state in (before, after)]
    counts = Counter(labels)
    return [
        Score(label=label, clips=counts[label], before=right[0][label], after=right[1][label], new=False)
        for label in before.labels
        if counts[label]
    ]


def _right(state: SavedModel, store: FeatureStore, rows: list[int], labels: list[str]) -> Counter[str]:
    dtype = next(t.dtype for t in state.model.tensors().values() if t.is_floating_point())
    numbers = [state.labels.index(label) for label in labels]
    table = Table(
        store,
        rows,
        numbers,
        modality=state.model.modality,
        device_config=DeviceConfig.on_cpu(dtype),
        budget=Budget.of_host(0),
        whole_tokens=True,
    )
    correct = ask(state.model, table).correct.tolist()
    return Counter(label for label, good in zip(labels, correct, strict=True) if good)


def _new_scores(
    recognizer: Recognizer, asked: Sequence[tuple[str, ClipFeatures]], before: SavedModel, after: SavedModel
) -> list[Score]:
    answers: dict[str, list[tuple[bool, bool]]] = defaultdict(list)
    with torch.inference_mode():
        for label, features in asked:
            said = [recognizer.answer_features("", features, state=state).label for state in (before, after)]
            answers[label].append((said[0] == label, said[1] == label))
    return [
        Score(
            label=label,
            clips=len(pairs),
            before=sum(a for a, _ in pairs) if label in before.labels else None,
            after=sum(b for _, b in pairs),
            new=label not in before.labels,
        )
        for label, pairs in answers.items()
    ]
