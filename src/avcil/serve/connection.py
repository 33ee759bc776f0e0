"""HTTP connections with a timeout for request headers, and errors of malformed requests in the API's format."""

from __future__ import annotations

import asyncio
from typing import Any

import h11
from uvicorn.protocols.http.h11_impl import H11Protocol

from avcil.serve.refusal import error_response

_HEADER_SECONDS = 10.0
"""A connection without a request for this long is closed, at the latest after twice this time."""


class Connection(H11Protocol):
    """Uvicorn's connection with a timeout for the headers of a request.

    Uvicorn has none, so a client could keep any number of connections open.
    """

    header_seconds = _HEADER_SECONDS

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        self._watch(None)

    def _watch(self, before: tuple[Any, bool] | None) -> None:
        idle = self.cycle is None or self.cycle.response_complete
        now = (self.cycle, idle)
        if idle and now == before:
            self.transport.close()
            return
        self._timer = self.loop.call_later(self.header_seconds, self._watch, now)

    def connection_lost(self, exc: Exception | None) -> None:
        self._timer.cancel()
        super().connection_lost(exc)

    def send_400_response(self, msg: str) -> None:
        """Respond to a malformed request."""
        response = error_response(400, "bad_request", msg, {"connection": "close"})
        for event in (
            h11.Response(status_code=400, headers=response.raw_headers, reason=b"Bad Request"),
            h11.Data(data=bytes(response.body)),
            h11.EndOfMessage(),
        ):
            self.transport.write(self.conn.send(event))
        self.transport.close()
