"""What a served recognizer accepts, and the errors of one that is asked for more."""

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
    decode_seconds: float = 20.0
    """Time that decoding one upload may take."""
    decode_megabytes: int = 1024
    """Memory that decoding one upload may take."""
    decode_packets: int = 500_000
    """Packets of one upload that are read, repeated passes over it included."""
    clips: int = 50
    """Of one teaching."""
    workers: int = 2
    """Clips that are read and answered at once."""
    waiting: int = 256
    """Clips that may wait for a worker; more are rejected with status 503."""
    open_requests: int = 1000
    """Requests that are open at once, pages among them; of one client, half of them."""
    spool_bytes: int = 4 * 10**9
    """Of the bodies of all requests that are open."""


class BusyError(AvcilError):
    """The queue is full."""

    def __init__(self, message: str, *, retry_after: int) -> None:
        """Say in how many seconds to try again."""
        super().__init__(message)
        self.retry_after = retry_after


class ShuttingDownError(AvcilError):
    """The server is shutting down and takes no more work."""

    retry_after = 10
    """Seconds."""


class LearningError(AvcilError):
    """Another learning is under way."""


class ReadOnlyError(AvcilError):
    """The server was started so that nobody can teach it."""


class NothingToUndoError(InputError):
    """Nothing was taught, or it is too long ago."""
