"""What every request passes first: whose page it came from, how large it is, whether there is room.

Pure ASGI, so that bodies are counted as they come and never held.
"""

from __future__ import annotations

import json
from typing import Any
from urllib.parse import urlsplit

from avcil.serving.web.limits import BusyError
from avcil.serving.web.service import Service

LOOPBACK = frozenset({"localhost", "127.0.0.1", "::1"})
HEAVY = frozenset({"/api/predict", "/api/teach"})
ROOM_FOR_HEADERS = 64 * 1024
"""Bytes that a form's own lines may add to its files."""


class Guard:
    """Refuses with JSON, or hands the request on."""

    def __init__(self, app: Any, *, service: Service, names: frozenset[str] | None) -> None:
        """`names`: the hosts that requests may be for; None for any."""
        self.app, self.service, self.names = app, service, names

    async def __call__(self, scope: dict[str, Any], receive: Any, send: Any) -> None:
        """One request."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        headers = {name.decode("latin-1"): value.decode("latin-1") for name, value in scope["headers"]}
        refusal = self._refusal(scope, headers)
        if refusal is not None:
            await refuse(send, *refusal)
        elif scope["method"] == "POST" and scope["path"] in HEAVY:
            try:
                with self.service.place():
                    await self._counted(scope, receive, send)
            except BusyError as error:
                await refuse(send, 503, "busy", str(error))
        else:
            await self._counted(scope, receive, send)

    def _refusal(self, scope: dict[str, Any], headers: dict[str, str]) -> tuple[int, str, str] | None:
        host, origin = headers.get("host", ""), headers.get("origin")
        if self.names is not None and urlsplit(f"//{host}").hostname not in self.names:
            known = ", ".join(sorted(self.names - LOOPBACK))
            answers = f"as {known}" if known else "to this machine alone, as localhost or 127.0.0.1"
            return 403, "forbidden", f"this server answers {answers}"
        changes = scope["method"] not in ("GET", "HEAD", "OPTIONS")
        if changes and origin not in (None, "null") and urlsplit(origin).netloc != host:
            return 403, "forbidden", "a page of another site cannot send anything here"
        length = headers.get("content-length", "0")
        if length.isdigit() and int(length) > self._most:
            return 413, "too_large", self._too_large
        return None

    @property
    def _most(self) -> int:
        return self.service.limits.upload_bytes + ROOM_FOR_HEADERS

    @property
    def _too_large(self) -> str:
        most = self.service.limits.upload_bytes / 10**6
        return (
            f"the upload is too large; at most {most:g} MB are taken at a time. Cut the clip, or send fewer"
        )

    async def _counted(self, scope: dict[str, Any], receive: Any, send: Any) -> None:
        """Hand on, and break off where a body of unstated length grows too large."""
        came, over, begun = 0, False, False

        async def counting() -> dict[str, Any]:
            nonlocal came, over
            message = await receive()
            came += len(message.get("body", b""))
            if came > self._most:
                over = True
                return {"type": "http.disconnect"}
            return message

        async def sending(message: dict[str, Any]) -> None:
            nonlocal begun
            if over and not begun:
                return
            begun = True
            await send(message)

        try:
            await self.app(scope, counting, sending)
        except Exception:
            if not over:
                raise
        if over and not begun:
            await refuse(send, 413, "too_large", self._too_large)


async def refuse(send: Any, status: int, code: str, message: str) -> None:
    """Answer with an error as the API gives them."""
    body = json.dumps({"error": {"code": code, "message": message}}).encode()
    headers = [(b"content-type", b"application/json"), (b"content-length", str(len(body)).encode())]
    headers += [(b"retry-after", b"2")] if status == 503 else []
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": body})
