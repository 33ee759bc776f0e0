"""Render learning jobs, changes and classes as HTML for the page. Names from users are escaped."""

from __future__ import annotations

from collections.abc import Sequence

from avcil.saved_models.folder import BACKGROUND
from avcil.serve.learning_job import LearningJob
from avcil.serve.render import PARTS, part, percent
from avcil.serve.schema import ClassResponse
from avcil.serve.state_entries import ChangeEntry, describe_change, is_class_learning, is_learning
from avcil.utils.templates import render

_MAX_LISTED = 10
"""Number of changes in the list."""


def header_html(classes: int, modality: str, *, read_only: bool) -> str:
    """The top of the page."""
    return part("header", _counted(classes, "class", "classes"), PARTS.get(modality, modality), read_only)


def learning_html(job: LearningJob | None, updates: Sequence[ChangeEntry]) -> str:
    """Progress or result of the current update, and the earlier ones."""
    numbers = {update["number"] for update in updates}
    if job is not None and job.update is not None and job.update not in numbers:
        job = None  # it was undone
    latest = list(reversed(updates[-_MAX_LISTED:]))
    newer = ""
    if latest and not is_learning(latest[0]) and (job is None or job.result is not None):
        job, newer = None, change_html(latest[0])  # it is newer than the job
    values = {"job": job, "updates": latest, "percent": percent, "counted": _counted}
    helpers = {"describe": describe_change, "is_class_learning": is_class_learning, "BACKGROUND": BACKGROUND}
    return newer + str(render("avcil.serve", "learning", **helpers, **values))


def change_html(entry: ChangeEntry) -> str:
    """The result of renaming, forgetting or merging."""
    return str(
        render("avcil.serve", "change", title=describe_change(entry), result=entry["result"], percent=percent)
    )


def confirm_html(label: str) -> str:
    """The confirmation before a class is forgotten."""
    return part("confirm", label)


def undo_label(entries: Sequence[ChangeEntry]) -> str:
    """The text of the button that undoes the last change."""
    if not entries:
        return "Undo"
    last = entries[-1]
    return f"Undo “{last['label']}”" if is_class_learning(last) else f"Undo: {describe_change(last)}"


def known_class_html(label: str, known: bool) -> str:
    """A message if the typed class name exists."""
    return part("known_class", label) if known else ""


def undone_html(entry: ChangeEntry) -> str:
    """A message after a change was undone."""
    what = (
        f"“{entry['label']}” was undone" if is_class_learning(entry) else f"Undone: {describe_change(entry)}"
    )
    return part("undone", what)


def gallery_html(classes: Sequence[ClassResponse], pictures: dict[str, str]) -> str:
    """The classes, each with a frame; `pictures` are data URIs by class."""
    return str(render("avcil.serve", "gallery", classes=classes, pictures=pictures, counted=_counted))


def _counted(count: int, one: str, many: str | None = None) -> str:
    return f"{count} {one if count == 1 else many or one + 's'}"
