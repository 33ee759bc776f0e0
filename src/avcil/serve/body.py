"""Limits of a request's body: its size, and the time in which it must arrive."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any

from avcil.serve.refusal import RefusedError

Receive = Callable[[], Awaitable[dict[str, Any]]]
SMALL = 10**6
"""Bytes of a body that is no upload."""
ROOM_FOR_HEADERS = 64 * 1024
"""Bytes that the headers of a form's parts may add to its files."""


@dataclass(frozen=True, kw_only=True)
class Pace:
    """How fast a body must arrive."""

    grace: float = 10.0
    """Seconds before the rate counts."""
    bytes_per_second: float = 16_000.0
    """Mean rate from the start on, apart from the grace."""
    seconds: float = 600.0
    """Time for the whole body."""

    def left(self, began: float, came: int) -> float:
        """Seconds in which the next part must arrive."""
        most = min(self.grace + came / self.bytes_per_second, self.seconds)
        return began + most - time.monotonic()


class Spool:
    """Bytes of all uploads that are held at one time."""

    def __init__(self, most: int) -> None:
        self.most, self.held = most, 0

    def add(self, count: int) -> None:
        """Count bytes that came.

        Raises:
            RefusedError: There is no room for them.
        """
        if self.held + count > self.most:
            raise RefusedError(503, "busy", "too many uploads are held now; try again in a minute", 60)
        self.held += count

    def release(self, count: int) -> None:
        """Forget bytes whose request has ended."""
        self.held -= count


class LimitedBody:
    """A request's body that is broken off when it is too large or too slow.

    The application sees a client that hung up; `refusal` then says what to tell the client instead of its response.
    """

    def __init__(self, receive: Receive, *, most: int, pace: Pace, spool: Spool, what: str) -> None:
        """Wrap the `receive` of ASGI.

        Args:
            receive: Gives the next part of the body.
            most: Bytes that are allowed.
            pace: How fast they must come.
            spool: Counts the bytes of all requests.
            what: What is too large, for the message: "the upload" or "the body of this request".
        """
        self._receive, self.most, self.pace, self._spool, self.what = receive, most, pace, spool, what
        self.refusal: RefusedError | None = None
        self._began, self._came, self._complete = time.monotonic(), 0, False

    def check_length(self, stated: str | None) -> None:
        """Reject by the header Content-Length, before anything is read.

        Raises:
            RefusedError: More is announced than is allowed.
        """
        if stated is not None and stated.isdecimal() and int(stated[:20]) > self.most:
            raise self._too_large()

    async def receive(self) -> dict[str, Any]:
        """The next message for the application."""
        if self._complete:  # what comes now is that the client hangs up, at any time
            return await self._receive()
        if self.refusal is None:
            try:
                return await self._next()
            except RefusedError as refusal:
                self.refusal = refusal
        return {"type": "http.disconnect"}

    async def read(self) -> bytes:
        """The whole body.

        Raises:
            RefusedError: It is too large or too slow, or the client hung up.
        """
        parts = []
        while not self._complete:
            message = await self._next()
            if message["type"] == "http.disconnect":
                raise RefusedError(400, "cut_off", "the request ended before its end")
            parts.append(message.get("body", b""))
        return b"".join(parts)

    def release(self) -> None:
        """Give the room in the spool back."""
        self._spool.release(self._came)
        self._came = 0

    async def _next(self) -> dict[str, Any]:
        left = self.pace.left(self._began, self._came)
        try:
            message = await asyncio.wait_for(self._receive(), max(left, 0.001))
        except TimeoutError:
            raise RefusedError(
                408, "too_slow", "the request arrived too slowly and was broken off; send it again"
            ) from None
        count = len(message.get("body", b""))
        if self._came + count > self.most:
            raise self._too_large()
        self._spool.add(count)
        self._came += count
        self._complete = message["type"] == "http.disconnect" or not message.get("more_body", False)
        return message

    def _too_large(self) -> RefusedError:
        advice = (
            "Cut the clip, or send fewer" if self.what == "the upload" else "Clips go as multipart/form-data"
        )
        most = (self.most - ROOM_FOR_HEADERS if self.what == "the upload" else self.most) / 10**6
        message = f"{self.what} is too large; at most {most:g} MB are taken at a time. {advice}"
        return RefusedError(413, "too_large", message)
