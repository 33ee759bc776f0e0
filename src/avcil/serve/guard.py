"""What every request passes first: origin, password, address, size and pace of its body, and what its payload names.

Pure ASGI, so that bodies are counted as they come. The checks themselves are in files of their own.
"""

from __future__ import annotations

import ipaddress
import secrets
import time
from collections import Counter, OrderedDict
from collections.abc import Mapping
from typing import Any

from starlette.datastructures import Headers, QueryParams
from starlette.requests import cookie_parser

from avcil.serve.authentication import Authentication
from avcil.serve.body import ROOM_FOR_HEADERS, SMALL, LimitedBody, Pace, Receive, Spool
from avcil.serve.limits import Limits
from avcil.serve.metrics import Metrics
from avcil.serve.origin import OriginCheck
from avcil.serve.payload import PayloadCheck, session_name, uploaded_file
from avcil.serve.refusal import RefusedError, Send, send_refusal
from avcil.serve.response_headers import with_headers
from avcil.serve.routes import EVENTS, FILE, HEARTBEAT, JOIN, LOGIN, LOGOUT, Route, find_route

VISITOR = "avcil-visitor"
"""Cookie that tells browsers apart, so that none takes over the session of another."""
MOST_SESSIONS = 10_000
"""Sessions of pages whose browser is remembered."""
EVENT_BYTES, EVENT_BYTES_PER_CLIP = 20_000, 4_000
"""Largest event of the page: its texts, and the description of each clip. Gradio keeps the last values of a session."""


class Guard:
    """Rejects a request with an error as JSON, or hands it on."""

    def __init__(
        self,
        app: Any,
        *,
        limits: Limits,
        origins: OriginCheck,
        payloads: PayloadCheck,
        metrics: Metrics,
        authentication: Authentication | None,
        pace: Pace | None = None,
    ) -> None:
        """Stand before an application; `authentication` None asks for no password."""
        self.app, self.limits, self.origins, self.payloads = app, limits, origins, payloads
        self.metrics, self.authentication, self.pace = metrics, authentication, pace or Pace()
        self._spool = Spool(limits.spool_bytes)
        self._open: Counter[str] = Counter()
        self._owners: OrderedDict[str, str] = OrderedDict()

    async def __call__(self, scope: dict[str, Any], receive: Receive, send: Send) -> None:
        """Handle one request."""
        if scope["type"] == "lifespan":
            await self.app(scope, receive, send)
        elif scope["type"] == "http":
            await self._http(scope, receive, with_headers(send))
        else:  # a WebSocket: neither page nor API uses one
            await receive()
            await send({"type": "websocket.close", "code": 1008})

    async def _http(self, scope: dict[str, Any], receive: Receive, send: Send) -> None:
        client, began, status = client_of(scope), time.monotonic(), 0
        found = find_route(scope["method"], scope["path"])

        async def sending(message: dict[str, Any]) -> None:
            nonlocal status
            status = message.get("status", status)
            await send(message)

        self._open[client] += 1
        try:
            await self._checked(scope, receive, sending, client, found)
        except RefusedError as refusal:
            self.metrics.rejection(refusal.code)
            await send_refusal(sending, refusal)
        finally:
            self._open[client] -= 1
            if not self._open[client]:
                del self._open[client]
            route = found[0].template if found else "other"
            timed = found is None or not found[0].stream
            self.metrics.request(
                _known_method(scope["method"]), route, status, time.monotonic() - began if timed else None
            )

    async def _checked(
        self,
        scope: dict[str, Any],
        receive: Receive,
        send: Send,
        client: str,
        found: tuple[Route, dict[str, str]] | None,
    ) -> None:
        headers, path = Headers(scope=scope), scope["path"]
        self.origins.check(scope["method"], path, headers)
        self._check_open_requests(client)
        cookies = cookies_of(headers)
        if self.authentication is not None and not (found and found[0].public):
            self._authenticate(scope, headers, cookies, client)
        if found is None or (self.authentication is None and found[0] in (LOGIN, LOGOUT)):
            raise RefusedError(404, "not_found", "there is no such address here")
        route, variables = found
        owner = cookies.get(VISITOR, client)
        if route is FILE and uploaded_file(variables["path"], self.payloads.folder) is None:
            raise RefusedError(403, "forbidden", "there is no such uploaded file")
        if route is HEARTBEAT:
            self._own(session_name(variables["session"]), owner)
        if route is EVENTS:
            self._own(_session_of_query(scope), owner)
        if path == "/" and VISITOR not in cookies:
            send = _with_cookie(
                send, f"{VISITOR}={secrets.token_urlsafe(16)}; Path=/; HttpOnly; SameSite=Strict"
            )
        body = self._body(route, headers, receive)
        if scope["method"] == "HEAD":  # handled like GET; the HTTP server leaves the body out
            scope = {**scope, "method": "GET"}
        try:
            await self._hand_on(route, scope, body, send, owner)
        finally:
            body.release()

    def _check_open_requests(self, client: str) -> None:
        most = self.limits.open_requests
        if sum(self._open.values()) > most or self._open[client] > max(1, most // 2):
            raise RefusedError(503, "busy", "too many requests are open now; close some pages", 5)

    def _authenticate(
        self, scope: dict[str, Any], headers: Headers, cookies: dict[str, str], client: str
    ) -> None:
        assert self.authentication is not None
        try:
            self.authentication.check(headers, cookies.get(session_cookie(scope)), client)
        except RefusedError as refusal:
            if refusal.status == 401 and scope["path"] == "/" and "text/html" in headers.get("accept", ""):
                refusal = RefusedError(303, refusal.code, refusal.message, headers=(("location", "login"),))
            raise refusal from None

    def _own(self, session: str, owner: str) -> None:
        """Let the browser that used a session first use it alone."""
        if self._owners.setdefault(session, owner) != owner:
            raise RefusedError(403, "forbidden", "this session belongs to another browser")
        self._owners.move_to_end(session)
        if len(self._owners) > MOST_SESSIONS:
            self._owners.popitem(last=False)

    def _body(self, route: Route, headers: Headers, receive: Receive) -> LimitedBody:
        kind = headers.get("content-type", "").split(";")[0].strip().lower()
        large = route.body == "upload" and kind == "multipart/form-data"
        most = self.limits.upload_bytes + ROOM_FOR_HEADERS if large else SMALL
        if route is JOIN:
            most = min(most, EVENT_BYTES + EVENT_BYTES_PER_CLIP * self.limits.clips)
        what = "the upload" if large else "the body of this request"
        body = LimitedBody(receive, most=most, pace=self.pace, spool=self._spool, what=what)
        body.check_length(headers.get("content-length"))
        return body

    async def _hand_on(
        self, route: Route, scope: dict[str, Any], body: LimitedBody, send: Send, owner: str
    ) -> None:
        if route is JOIN:
            content, session = self.payloads.check_join(await body.read())
            self._own(session, owner)
            scope, receive = _with_body(scope, content, body.receive)
            await self.app(scope, receive, send)
            return
        begun = False

        async def sending(message: dict[str, Any]) -> None:
            nonlocal begun
            if body.refusal is not None and not begun:
                return  # what the application says to a client that seems to have hung up
            begun = True
            await send(message)

        try:
            await self.app(scope, body.receive, sending)
        except Exception:
            if body.refusal is None:
                raise
        if body.refusal is not None and not begun:
            raise body.refusal


def client_of(scope: Mapping[str, Any]) -> str:
    """Who sends a request, for sharing the server fairly: the address, or the network of an IPv6 address.

    >>> client_of({"client": ("192.0.2.7", 80)}), client_of({"client": ("2001:db8::5", 80)})
    ('192.0.2.7', '2001:db8::/64')
    >>> client_of({"client": ("::ffff:192.0.2.7", 80)})  # IPv4, as a socket for IPv6 and IPv4 gives it
    '192.0.2.7'
    """
    text: str = (scope.get("client") or ("unknown", 0))[0]
    try:
        address = ipaddress.ip_address(text.split("%")[0])
    except ValueError:
        return text
    if isinstance(address, ipaddress.IPv4Address):
        return str(address)
    if address.ipv4_mapped is not None:
        return str(address.ipv4_mapped)
    return str(ipaddress.ip_network((address, 64), strict=False))


def session_cookie(scope: Mapping[str, Any]) -> str:
    """The name of the cookie of a session; it has the port, as browsers share cookies among ports."""
    return f"avcil-session-{(scope.get('server') or ('', 0))[1]}"


def cookies_of(headers: Headers) -> dict[str, str]:
    """The cookies of a request, read like browsers write them.

    Other servers of the same host set cookies too, and not all are well-formed; `http.cookies` drops all cookies then.
    """
    return cookie_parser("; ".join(headers.getlist("cookie")))


def _known_method(method: str) -> str:
    return method if method in ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS") else "other"


def _session_of_query(scope: dict[str, Any]) -> str:
    values = QueryParams(scope["query_string"]).getlist("session_hash")
    return session_name(values[0] if len(values) == 1 else None)


def _with_cookie(send: Send, cookie: str) -> Send:
    async def sending(message: dict[str, Any]) -> None:
        if message["type"] == "http.response.start":
            line = (b"set-cookie", cookie.encode())
            message = {**message, "headers": [*message.get("headers", ()), line]}
        await send(message)

    return sending


def _with_body(scope: dict[str, Any], content: bytes, then: Receive) -> tuple[dict[str, Any], Receive]:
    """The request with another body, after which `then` is received."""
    names = (b"content-length", b"transfer-encoding", b"content-type")
    headers = [line for line in scope["headers"] if line[0] not in names]
    headers += [(b"content-length", str(len(content)).encode()), (b"content-type", b"application/json")]
    given = False

    async def receive() -> dict[str, Any]:
        nonlocal given
        if given:
            return await then()
        given = True
        return {"type": "http.request", "body": content, "more_body": False}

    return {**scope, "headers": headers}, receive
