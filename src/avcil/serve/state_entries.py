"""Entries of state.json: one for each change of a served model.

An entry without `kind` is learning clips of a class, or background clips if its label is "(background)" (`TEACH`). The
others are

    rename   label, new_label
    forget   label; clips (number of forgotten clips, null for the whole class); forgotten (removed classes)
    merge    label (name of the uploaded file); classes (of that model); new_classes (that the model did not have)

and have a `result` with accuracies, the number of test clips, and notes.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final, Literal, NotRequired, TypedDict

from pydantic import BaseModel, ValidationError

from avcil.errors import InputError
from avcil.saved_models.folder import BACKGROUND
from avcil.serve.schema import SkippedClip, TeachResult
from avcil.utils import checks

Kind = Literal["teach", "rename", "forget", "merge"]
TEACH: Final = "teach"
RENAME: Final = "rename"
FORGET: Final = "forget"
MERGE: Final = "merge"


class ChangeEntry(TypedDict):
    """An entry of state.json. Entries of format version 1 may lack the keys of a job and the result."""

    number: NotRequired[int]
    """Assigned when the entry is committed."""
    label: str
    held_out: list[str]
    """Labels of the held-out clips."""
    kind: NotRequired[Kind]
    result: NotRequired[dict[str, Any]]
    """`schema.TeachResult`, or accuracies, the number of test clips and notes of another change."""
    learned: NotRequired[int]
    teaching: NotRequired[int]
    """Number of the learning job."""
    clips: NotRequired[int | None]
    left_out: NotRequired[list[dict[str, str]]]
    new_label: NotRequired[str]
    forgotten: NotRequired[list[str]]
    classes: NotRequired[list[str]]
    new_classes: NotRequired[list[str]]


class LostJob(TypedDict):
    """An accepted learning job that cannot be finished, in state.json."""

    number: int
    label: str
    clips: int
    reason: str


def kind_of(entry: ChangeEntry) -> Kind:
    """The kind of an entry."""
    return entry.get("kind", TEACH)


def is_learning(entry: ChangeEntry) -> bool:
    """Whether an entry is learning clips of a class."""
    return kind_of(entry) == TEACH


def is_class_learning(entry: ChangeEntry) -> bool:
    """Whether an entry is learning clips of a class, not of the background."""
    return is_learning(entry) and entry["label"] != BACKGROUND


def current_label(label: str, later: Sequence[ChangeEntry]) -> str | None:
    """The current name of a class.

    Args:
        label: Its name before the changes.
        later: Entries of the changes, in order.

    Returns:
        The name; None if the class was forgotten.

    >>> current_label("dog", [{"kind": "rename", "label": "dog", "new_label": "hound"}])
    'hound'
    """
    for entry in later:
        if kind_of(entry) == RENAME and entry["label"] == label:
            label = entry["new_label"]
        elif kind_of(entry) == FORGET and label in entry["forgotten"]:
            return None
    return label


def learned_classes(entries: Sequence[ChangeEntry]) -> list[tuple[str, ChangeEntry]]:
    """Current class name and entry of each learned class that was not forgotten, in order."""
    learned = []
    for position, entry in enumerate(entries):
        if is_class_learning(entry):
            label = current_label(entry["label"], entries[position + 1 :])
            learned += [] if label is None else [(label, entry)]
    return learned


def describe_change(entry: ChangeEntry) -> str:
    """Describe a change in a few words.

    >>> describe_change({"kind": "rename", "label": "dog", "new_label": "hound"})
    '“dog” renamed to “hound”'
    """
    label, kind = f"“{entry['label']}”", kind_of(entry)
    if entry["label"] == BACKGROUND:
        label = "the background"
    if kind == RENAME:
        return f"{label} renamed to “{entry['new_label']}”"
    if kind == FORGET:
        return (
            f"{label} forgotten"
            if entry["clips"] is None
            else f"{_clips(entry['clips'])} of {label} forgotten"
        )
    if kind == MERGE:
        return f"{label} merged ({len(entry['classes'])} classes, {len(entry['new_classes'])} of them new)"
    return (
        f"{label} learned" if is_class_learning(entry) else f"{_clips(entry['learned'])} of {label} learned"
    )


def _clips(count: int) -> str:
    return f"{count} clip{'' if count == 1 else 's'}"


def check_entry(entry: dict[str, Any]) -> None:
    """Check an entry from a file; InputError if it is invalid."""
    checks.typed(entry, "label", str)
    checks.strings(entry, "held_out")
    kind = entry.get("kind", TEACH)
    if kind == TEACH:
        if "teaching" in entry:
            check_job(entry, number="teaching")
            for clip in checks.typed(entry, "left_out", list):
                _check_model(SkippedClip, clip, "left_out")
            _check_model(TeachResult, checks.entry(entry, "result"), "result")
        return
    if entry["held_out"]:
        raise InputError(f"an entry of the kind {kind!r:.40} has no held-out clips")
    checks.typed(entry, "result", dict)
    if kind == RENAME:
        checks.typed(entry, "new_label", str)
    elif kind == FORGET:
        checks.strings(entry, "forgotten")
        if checks.entry(entry, "clips") is not None:
            checks.whole_number(entry, "clips", least=1, most=2**40)
    elif kind == MERGE:
        checks.strings(entry, "classes")
        checks.strings(entry, "new_classes")
    else:
        raise InputError(f"kind is {kind!r:.40}; it must be {RENAME}, {FORGET} or {MERGE}")


def check_job(entry: dict[str, Any], *, number: str) -> None:
    """Check the keys of a job in an entry, or in the list of lost jobs; `number` is the key of its number."""
    checks.whole_number(entry, number, least=1, most=2**40)
    checks.whole_number(entry, "clips", least=1, most=2**40)
    checks.typed(entry, "label", str)


def _check_model(kind: type[BaseModel], value: Any, name: str) -> None:
    try:
        kind.model_validate(value)
    except ValidationError as error:
        raise InputError(f"{name} is {value!r:.60}: {error.errors()[0]['msg']}") from None
