"""Errors of rejected requests, and their responses."""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable, Iterable
from dataclasses import dataclass
from typing import Any

Send = Callable[[dict[str, Any]], Awaitable[None]]


@dataclass
class RefusedError(Exception):
    """A rejected request, with the content of the error response."""

    status: int
    code: str
    message: str
    retry_after: int | None = None
    """Seconds until the client can try again, for the header Retry-After."""
    headers: tuple[tuple[str, str], ...] = ()

    def all_headers(self) -> dict[str, str]:
        """The headers of the response, without those of the body."""
        retry = {} if self.retry_after is None else {"retry-after": str(self.retry_after)}
        return {**dict(self.headers), **retry}


async def send_refusal(send: Send, refusal: RefusedError) -> None:
    """Send the error in the format of the API."""
    content = {"error": {"code": refusal.code, "message": refusal.message}}
    await send_response(send, refusal.status, content, refusal.all_headers().items())


async def send_response(
    send: Send, status: int, content: dict[str, Any], headers: Iterable[tuple[str, str]] = ()
) -> None:
    """Send a response with a JSON body."""
    body = json.dumps(content).encode()
    lines = [(b"content-type", b"application/json"), (b"content-length", str(len(body)).encode())]
    lines += [(name.encode("latin-1"), value.encode("latin-1")) for name, value in headers]
    await send({"type": "http.response.start", "status": status, "headers": lines})
    await send({"type": "http.response.body", "body": body})
