"""Entries of the work folder: what a change did, in words and to the names of classes.

An entry without `kind` is a teaching. The others are

    rename   label, new_label
    forget   label; clips (how many were forgotten, null: the whole class); forgotten (classes that are gone)
    merge    label (the name of the file that was sent); classes (of that model); new_classes (not known before)

and have a `result` (`schema.ChangeResult`).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from avcil.errors import InputError
from avcil.models import checks

TEACH, RENAME, FORGET, MERGE = "teach", "rename", "forget", "merge"


def kind_of(entry: dict[str, Any]) -> str:
    """What kind of change an entry is."""
    return str(entry.get("kind", TEACH))


def is_teaching(entry: dict[str, Any]) -> bool:
    """Whether an entry is a teaching."""
    return kind_of(entry) == TEACH


def current_label(label: str, later: Sequence[dict[str, Any]]) -> str | None:
    """The name that a class has now.

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


def taught_classes(entries: Sequence[dict[str, Any]]) -> list[tuple[str, dict[str, Any]]]:
    """Present name and entry of each teaching whose class was not forgotten since, in order."""
    found = []
    for position, entry in enumerate(entries):
        if kind_of(entry) == TEACH:
            label = current_label(entry["label"], entries[position + 1 :])
            found += [] if label is None else [(label, entry)]
    return found


def describe(entry: dict[str, Any]) -> str:
    """What a change did, in a few words.

    >>> describe({"kind": "rename", "label": "dog", "new_label": "hound"})
    '“dog” renamed to “hound”'
    """
    label, kind = f"“{entry['label']}”", kind_of(entry)
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
    return f"{label} taught"


def _clips(count: int) -> str:
    return f"{count} clip{'' if count == 1 else 's'}"


def check_entry(entry: dict[str, Any]) -> None:
    """Refuse an entry, read from a file, that no server wrote; InputError names what is wrong."""
    if not isinstance(checks.entry(entry, "label"), str) or not _is_texts(checks.entry(entry, "held_out")):
        raise InputError("an entry must have a label and held_out, the list of labels of held-out clips")
    kind = kind_of(entry)
    if kind == TEACH:
        if "teaching" in entry:
            check_teaching(entry, number="teaching")
            _check_type(entry, "left_out", list)
            _check_type(entry, "result", dict)
        return
    if entry["held_out"]:
        raise InputError(f"an entry of the kind {kind!r:.40} has no held-out clips")
    _check_type(entry, "result", dict)
    if kind == RENAME:
        _check_type(entry, "new_label", str)
    elif kind == FORGET:
        _check_texts(entry, "forgotten")
        if checks.entry(entry, "clips") is not None:
            checks.whole_number(entry, "clips", least=1, most=2**40)
    elif kind == MERGE:
        _check_texts(entry, "classes")
        _check_texts(entry, "new_classes")
    else:
        raise InputError(f"kind is {kind!r:.40}; it must be {RENAME}, {FORGET} or {MERGE}")


def check_teaching(entry: dict[str, Any], *, number: str) -> None:
    """The same for what an entry, and a lost teaching, say of the teaching; its number is under the key `number`."""
    checks.whole_number(entry, number, least=1, most=2**40)
    checks.whole_number(entry, "clips", least=1, most=2**40)
    if not isinstance(checks.entry(entry, "label"), str):
        raise InputError("the label of a teaching must be a text")


def _check_type(entry: dict[str, Any], name: str, kind: type) -> None:
    if not isinstance(checks.entry(entry, name), kind):
        raise InputError(f"{name} is {entry[name]!r:.60}; it must be a {kind.__name__}")


def _check_texts(entry: dict[str, Any], name: str) -> None:
    if not _is_texts(checks.entry(entry, name)):
        raise InputError(f"{name} is {entry[name]!r:.60}; it must be a list of texts")


def _is_texts(value: Any) -> bool:
    return isinstance(value, list) and all(isinstance(text, str) for text in value)
