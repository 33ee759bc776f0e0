"""Errors that the user can act on.

A message says what is wrong and where, what is allowed, and what to do next. The command line prints the message and
exits with `exit_code`; it shows a traceback only with `--debug`.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable


class AvcilError(Exception):
    """Base class of all errors that avcil raises deliberately."""

    exit_code = 1


class InputError(AvcilError, ValueError):
    """Invalid input: a file, a column, a name, a value or a folder."""

    exit_code = 2


class StorageError(InputError):
    """A disk is full, over its quota, or not writable."""


def unknown_name(kind: str, name: str, known: Iterable[str]) -> InputError:
    """The error for an unknown name; it suggests similar names.

    >>> str(unknown_name("method", "avcil", ["av-cil", "joint"]))
    "unknown method 'avcil'; did you mean av-cil? Known: av-cil, joint"
    """
    known = sorted(known)
    nearest = difflib.get_close_matches(name.lower(), known, n=3, cutoff=0.5)
    hint = f"; did you mean {' or '.join(nearest)}?" if nearest else "."
    return InputError(f"unknown {kind} {name!r}{hint} Known: {', '.join(known)}")


def require(condition: bool, message: str) -> None:
    """Raise InputError with `message` unless the condition holds."""
    if not condition:
        raise InputError(message)
