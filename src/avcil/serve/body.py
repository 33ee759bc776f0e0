"""Limits of the body of a request: size and minimum rate."""

from __future__ import annotations

import asyncio
import time
from dataclasses import dataclass

from starlette.types import Message, Receive

from avcil.serve.refusal import RefusedError

MAX_SMALL_BODY = 10**6
"""Bytes of a body that is not an upload."""
FORM_OVERHEAD = 64 * 1024
"""Bytes for the headers in a form, in addition to its files."""


@dataclass(frozen=True, kw_only=True)
class MinimumRate:
    """How fast a body must arrive."""

    grace: float = 10.0
    """Seconds in addition to those that the received bytes take at `bytes_per_second`."""
    bytes_per_second: float = 16_000.0
    """Minimum of the mean rate since the start."""
    seconds: float = 600.0
    """Time limit of the whole body."""

    def remaining(self, start: float, received: int) -> float:
        """Seconds in which the next part must arrive."""
        limit = min(self.grace + received / self.bytes_per_second, self.seconds)
        return start + limit - time.monotonic()


class SpoolLimit:
    """Limits the bytes of the bodies of all open requests."""

    def __init__(self, limit: int) -> None:
        self.limit, self.used = limit, 0

    def add(self, count: int) -> None:
        """Count received bytes.

        Raises:
            RefusedError: The limit is exceeded.
        """
        if self.used + count > self.limit:
            raise RefusedError(503, "busy", "too many uploads are in progress; try again in a minute", 60)
        self.used += count

    def release(self, count: int) -> None:
        """Release the bytes of a finished request."""
        self.used -= count


class LimitedBody:
    """The body of a request, which is aborted when it is too large or too slow.

    The application then sees a disconnected client, and `refusal` is the error to send instead of its response.
    """

    def __init__(
        self, receive: Receive, *, limit: int, rate: MinimumRate, spool: SpoolLimit, name: str
    ) -> None:
        """Wrap the `receive` of ASGI.

        Args:
            receive: Returns the next part of the body.
            limit: Maximum size in bytes.
            rate: How fast the body must arrive.
            spool: Counts the bytes of all requests.
            name: "the upload" or "the body of this request", for error messages.
        """
        self._receive, self.limit, self.rate, self._spool, self.name = receive, limit, rate, spool, name
        self.refusal: RefusedError | None = None
        self._start, self._received, self._complete = time.monotonic(), 0, False

    def check_length(self, stated: str | None) -> None:
        """Check the header Content-Length before the body is read.

        Raises:
            RefusedError: The body is too large.
        """
        if stated is not None and stated.isdecimal() and int(stated[:20]) > self.limit:
            raise self._too_large()

    async def receive(self) -> Message:
        """The next message for the application."""
        if self._complete:  # the next message is the end of the connection, at any time
            return await self._receive()
        if self.refusal is None:
            try:
                return await self._next()
            except RefusedError as refusal:
                self.refusal = refusal
        return {"type": "http.disconnect"}

    async def read(self) -> bytes:
        """Read the whole body.

        Raises:
            RefusedError: It is too large or too slow, or the client disconnected.
        """
        parts = []
        while not self._complete:
            message = await self._next()
            if message["type"] == "http.disconnect":
                raise RefusedError(400, "cut_off", "the request is incomplete")
            parts.append(message.get("body", b""))
        return b"".join(parts)

    def release(self) -> None:
        """Release the bytes in the spool."""
        self._spool.release(self._received)
        self._received = 0

    async def _next(self) -> Message:
        remaining = self.rate.remaining(self._start, self._received)
        try:
            message = await asyncio.wait_for(self._receive(), max(remaining, 0.001))
        except TimeoutError:
            raise RefusedError(
                408, "too_slow", "the request arrived too slowly and was aborted; send it again"
            ) from None
        count = len(message.get("body", b""))
        if self._received + count > self.limit:
            raise self._too_large()
        self._spool.add(count)
        self._received += count
        self._complete = message["type"] == "http.disconnect" or not message.get("more_body", False)
        return message

    def _too_large(self) -> RefusedError:
        is_upload = self.name == "the upload"
        advice = "Shorten the clip, or send fewer" if is_upload else "Send clips as multipart/form-data"
        limit = (self.limit - FORM_OVERHEAD if is_upload else self.limit) / 10**6
        message = f"{self.name} is too large; the limit of a request is {limit:g} MB. {advice}"
        return RefusedError(413, "too_large", message)
