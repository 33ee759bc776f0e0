"""Errors that a person can act on.

One grammar for all of them: what is wrong and where, what is allowed, what to do next. The command line
prints the message alone and exits with `exit_code`; a traceback is shown with `--debug` only.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable


class AvcilError(Exception):
    """Base of every error that avcil raises on purpose."""

    exit_code = 1


class InputError(AvcilError, ValueError):
    """Something the user gave cannot be used: a file, a column, a name, a value, a folder."""

    exit_code = 2


class StorageError(InputError):
    """A disk is full, over its quota, or cannot be written to."""


def unknown_name(kind: str, name: str, known: Iterable[str]) -> InputError:
    """An error for a name that is not known, with the nearest names first.

    >>> str(unknown_name("method", "avcil", ["av-cil", "joint"]))
    "unknown method 'avcil'; did you mean av-cil? Known: av-cil, joint"
    """
    known = sorted(known)
    nearest = difflib.get_close_matches(name.lower(), known, n=3, cutoff=0.5)
    hint = f"; did you mean {' or '.join(nearest)}?" if nearest else "."
    return InputError(f"unknown {kind} {name!r}{hint} Known: {', '.join(known)}")
