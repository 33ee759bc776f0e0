"""The page's view of training and of the known classes, as HTML; every name that people chose is escaped."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from avcil.serve.render import PARTS, part, percent
from avcil.serve.teaching import Teaching
from avcil.utils.templates import render

LISTED = 10
"""Updates that are listed."""


def header_html(classes: int, modality: str, *, read_only: bool) -> str:
    """The top of the page."""
    return part("header", _counted(classes, "class", "classes"), PARTS.get(modality, modality), read_only)


def teaching_html(teaching: Teaching | None, sittings: Sequence[dict[str, Any]]) -> str:
    """Progress or result of the current update, and the earlier ones."""
    numbers = {sitting["number"] for sitting in sittings}
    if teaching is not None and teaching.sitting is not None and teaching.sitting not in numbers:
        teaching = None  # it was undone
    latest = list(reversed(sittings[-LISTED:]))
    values = {"teaching": teaching, "sessions": latest, "percent": percent, "counted": _counted}
    return str(render("avcil.serve", "teaching", **values))


def known_html(label: str, known: bool) -> str:
    """A message for a class name that exists, while it is typed."""
    return part("known", label) if known else ""


def undone_html(label: str) -> str:
    """A message after an update was undone."""
    return part("undone", label)


def gallery_html(classes: Sequence[dict[str, Any]], pictures: dict[str, str]) -> str:
    """The classes known with a frame each; `pictures` are data URIs by class."""
    return str(render("avcil.serve", "gallery", classes=classes, pictures=pictures, counted=_counted))


def _counted(count: int, one: str, many: str | None = None) -> str:
    return f"{count} {one if count == 1 else many or one + 's'}"
