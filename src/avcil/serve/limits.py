"""Limits of the server, and errors of requests that it cannot process now."""

from __future__ import annotations

from dataclasses import dataclass

from avcil.errors import AvcilError, InputError


@dataclass(frozen=True, kw_only=True)
class ServeLimits:
    """Limits of one server."""

    upload_bytes: int = 200 * 10**6
    """Size of one request."""
    seconds: float = 120.0
    """Duration of one clip."""
    decode_seconds: float = 20.0
    """Time for decoding one upload."""
    decode_megabytes: int = 1024
    """Memory for decoding one upload."""
    decode_packets: int = 500_000
    """Packets that are read from one upload, including repeated passes."""
    clips: int = 50
    """Number of clips in one update."""
    workers: int = 2
    """Number of clips that are predicted in parallel."""
    waiting: int = 256
    """Number of clips that wait for a worker; further requests receive status 503."""
    open_requests: int = 1000
    """Number of open requests, including those of pages; one client can have half of them."""
    spool_bytes: int = 4 * 10**9
    """Total size of the bodies of all open requests."""


class BusyError(AvcilError):
    """The queue is full."""

    def __init__(self, message: str, *, retry_after: int) -> None:
        super().__init__(message)
        self.retry_after = retry_after


class ShuttingDownError(AvcilError):
    """The server is shutting down and accepts no further requests."""

    retry_after = 10
    """Seconds."""


class LearningError(AvcilError):
    """The model is being changed by another request."""


class ReadOnlyError(AvcilError):
    """The server was started with --read-only."""


class NothingToUndoError(InputError):
    """There is no change that can be undone."""
