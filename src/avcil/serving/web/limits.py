"""What a served recogniser accepts, and the errors of one that is asked for more."""

from __future__ import annotations

from dataclasses import dataclass

from avcil.errors import AvcilError, InputError


@dataclass(frozen=True, kw_only=True)
class Limits:
    """Bounds of one server."""

    upload_bytes: int = 200 * 10**6
    """Of one request."""
    seconds: float = 120.0
    """Of one clip."""
    clips: int = 50
    """Of one teaching."""
    workers: int = 2
    """Clips that are read and answered at once."""
    waiting: int = 32
    """Questions that may wait for a worker, uploads under way among them; more are told to come again."""


class BusyError(AvcilError):
    """There is no room now: all places are taken."""


class LearningError(AvcilError):
    """Another learning is under way."""


class ReadOnlyError(AvcilError):
    """The server was started so that nobody can teach it."""


class NothingToUndoError(InputError):
    """Nothing was taught, or it is too long ago."""
