"""Which clips of a store a run does not use for what, in words and in the run's folder."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from avcil.data.modality import Modality
from avcil.training.task_data import TaskData

SPLITS = ("train", "val", "test")
SHOWN = 5
WORDS = {"audio": "audio", "visual": "frames"}


@dataclass(frozen=True, kw_only=True)
class Validation:
    """The validation clips by which a step's epoch is chosen."""

    rows: list[int]
    is_used: bool
    """False where they would choose wrongly: the step ends with its last epoch."""
    note: str
    """What is not as usual, for people; empty if nothing is."""


def validation_of_step(data: TaskData, step: int, *, chooses: bool) -> Validation:
    """The validation clips of all classes seen up to `step`.

    Where none of the step's new classes has one, the old classes alone would choose the epoch that changed the least,
    which is the one that learned the least of the new ones. Such a step ends with its last epoch.

    Args:
        data: The run's clips.
        step: Number of the step, from 0.
        chooses: Whether accuracy on these clips chooses an epoch.
    """
    rows = [
        row
        for task in range(step + 1)
        for row in data.rows("val", task)
        if data.store.clips[row].label in data.class_number  # not removed
    ]
    new = {data.store.clips[row].label for row in data.rows("val", step)}
    if chooses and not data.benchmark.steps[step] and not new:
        note = f"step {step + 1}: no validation clip of its own; it ends with its last epoch instead of the best one"
        return Validation(rows=rows, is_used=False, note=note)
    lacking = [label for label in data.benchmark.steps[step] if label not in new]
    if not (chooses and lacking):
        return Validation(rows=rows, is_used=True, note="")
    what = f"step {step + 1}: no validation clip of {_shown(lacking)}"
    if new:
        note = f"{what}; the best epoch is chosen by the other classes seen"
    else:
        note = f"{what}, all its new classes; it ends with its last epoch instead of the best one"
    return Validation(rows=rows, is_used=bool(new), note=note)


def incomplete_note(data: TaskData) -> str:
    """How many clips lack a part of the modality, and what that means; empty if none does."""
    rows = {split: data.incomplete_rows(split) for split in SPLITS}
    every = [row for group in rows.values() for row in group]
    if not every:
        return ""
    withheld = sum(bool(data.stream.hidden.get(row)) for row in every)
    counts = ", ".join(f"{len(group)} {split}" for split, group in rows.items() if group)
    names = _shown([data.store.clips[row].clip_id for row in every])
    needed = " or ".join(WORDS[part] for part in data.modality.parts)
    note = f" ({withheld} of them because the stream withholds it)" if withheld else ""
    return (
        f"clips that lack {needed}: {counts}{note}, such as {names}. They are not used for training; test clips among "
        "them are evaluated if the model can predict from what they have"
    )


def incomplete_counts(data: TaskData, answers: Sequence[Modality]) -> dict[str, int]:
    """Clips by split that lack a part of the modality, and test clips that were not evaluated; {} if there are none."""
    counts = {split: len(data.incomplete_rows(split)) for split in SPLITS}
    if not any(counts.values()):
        return {}
    asked = [data.test_rows(task, answers) for task in range(len(data.benchmark.steps))]
    evaluated = sum(len(rows) for groups in asked for part, rows in groups.items() if part != data.modality)
    return {**counts, "test_not_evaluated": counts["test"] - evaluated}


def incomplete_table(data: TaskData) -> list[tuple[str, str, str, str]]:
    """Clip id, label, split and what it lacks, of each clip that lacks a part of the modality."""
    return [
        (
            clip.clip_id,
            clip.label,
            split,
            " and ".join(WORDS[part] for part in data.lacking_parts(row)),
        )
        for split in SPLITS
        for row in data.incomplete_rows(split)
        for clip in [data.store.clips[row]]
    ]


def _shown(names: Sequence[str]) -> str:
    more = f" and {len(names) - SHOWN} more" if len(names) > SHOWN else ""
    return ", ".join(map(repr, names[:SHOWN])) + more
