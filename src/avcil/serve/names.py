"""Class names from clients."""

from __future__ import annotations

from avcil.errors import InputError
from avcil.saved_models.folder import BACKGROUND


def class_name(text: str) -> str:
    """Strip a class name, and replace repeated white space by single spaces.

    >>> class_name("  door   bell ")
    'door bell'
    """
    return " ".join(text.split())


def checked_name(text: str) -> str:
    """`class_name` of a new class; InputError if the name is not allowed."""
    label = class_name(text)
    if not label or len(label) > 100 or not label.isprintable():
        raise InputError("the name of a class must have 1 to 100 printable characters")
    if label == BACKGROUND:
        raise InputError(f"the name {BACKGROUND} is reserved for background clips; choose another name")
    return label
