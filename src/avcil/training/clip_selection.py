"""Clips that select the epoch of a step, and clips that lack a modality."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from avcil.data.modality import Modality
from avcil.training.task_data import TaskData
from avcil.utils.listing import quoted

_SPLITS = ("train", "val", "test")


@dataclass(frozen=True, kw_only=True)
class Validation:
    """The validation clips that select the epoch of a step."""

    rows: list[int]
    is_used: bool
    """False: the step ends with its last epoch, because no new class has validation clips."""
    note: str
    """A remark for the user; may be empty."""


def validation_of_step(data: TaskData, step: int, *, selects: bool) -> Validation:
    """The validation clips of all classes seen up to `step`.

    If no new class has one, accuracy on old classes would select the epoch with the least change, which has learned
    least about the new classes. Such a step ends with its last epoch.

    Args:
        data: The run's clips.
        step: Number of the step, from 0.
        selects: Whether accuracy on these clips selects the epoch.
    """
    rows = [
        row
        for task in range(step + 1)
        for row in data.rows("val", task)
        if data.store.clips[row].label in data.class_number  # not removed
    ]
    new = {data.store.clips[row].label for row in data.rows("val", step)}
    if selects and not data.benchmark.steps[step] and not new:
        note = f"step {step + 1}: no validation clip of its own; it ends with the last epoch instead of the best one"
        return Validation(rows=rows, is_used=False, note=note)
    lacking = [label for label in data.benchmark.steps[step] if label not in new]
    if not (selects and lacking):
        return Validation(rows=rows, is_used=True, note="")
    what = f"step {step + 1}: no validation clip of {quoted(lacking)}"
    if new:
        note = f"{what}; the best epoch is selected by the other classes seen"
    else:
        note = f"{what}, which are all its new classes; it ends with the last epoch instead of the best one"
    return Validation(rows=rows, is_used=bool(new), note=note)


def incomplete_note(data: TaskData) -> str:
    """A message about clips that lack a part of the modality; empty without such clips."""
    rows = {split: data.incomplete_rows(split) for split in _SPLITS}
    every = [row for group in rows.values() for row in group]
    if not every:
        return ""
    withheld = sum(bool(data.stream.hidden.get(row)) for row in every)
    counts = ", ".join(f"{len(group)} {split}" for split, group in rows.items() if group)
    names = quoted([data.store.clips[row].clip_id for row in every])
    needed = " or ".join(part.in_words for part in data.modality.parts)
    note = f" ({withheld} of them because the stream withholds it)" if withheld else ""
    use = "They are not used for training"
    if data.learns_incomplete:
        use = "Training clips are used with the modality that they have; validation clips are not used"
    return (
        f"clips that lack {needed}: {counts}{note}, such as {names}. {use}; test clips among them are evaluated if the "
        "model can predict from what they have"
    )


def incomplete_counts(data: TaskData, input_modalities: Sequence[Modality]) -> dict[str, int]:
    """Numbers of clips that lack a part of the modality; {} if there are none.

    By split, test clips that were not evaluated, and training clips that were used all the same, if the method can.
    """
    counts = {split: len(data.incomplete_rows(split)) for split in _SPLITS}
    if not any(counts.values()):
        return {}
    tested = [data.test_rows(task, input_modalities) for task in range(len(data.benchmark.steps))]
    evaluated = sum(len(rows) for groups in tested for part, rows in groups.items() if part != data.modality)
    found = {**counts, "test_not_evaluated": counts["test"] - evaluated}
    if data.learns_incomplete:
        used = {row for task in range(len(data.benchmark.steps)) for row in data.rows("train", task)}
        found["train_used"] = len(used.intersection(data.incomplete_rows("train")))
    return found


def incomplete_table(data: TaskData) -> list[tuple[str, str, str, str]]:
    """Id, label, split and missing part of each clip that lacks a part of the modality."""
    return [
        (
            clip.clip_id,
            clip.label,
            split,
            " and ".join(part.in_words for part in data.lacking_parts(row)),
        )
        for split in _SPLITS
        for row in data.incomplete_rows(split)
        for clip in [data.store.clips[row]]
    ]
