"""ASGI middleware that checks all requests: origin, password, route, size and rate of the body, files in payloads.

It is pure ASGI, so that bodies are counted as they arrive. The checks are in separate modules.
"""

from __future__ import annotations

import ipaddress
import secrets
import time
from collections import Counter, OrderedDict

from starlette.datastructures import Headers, QueryParams
from starlette.requests import cookie_parser
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from avcil.serve.authentication import Authentication
from avcil.serve.body import FORM_OVERHEAD, MAX_SMALL_BODY, LimitedBody, MinimumRate, SpoolLimit
from avcil.serve.limits import ServeLimits
from avcil.serve.metrics import Metrics
from avcil.serve.origin import OriginCheck
from avcil.serve.payload import PayloadCheck, session_name, uploaded_file
from avcil.serve.refusal import RefusedError
from avcil.serve.response_headers import with_headers
from avcil.serve.routes import EVENTS, FILE, HEARTBEAT, JOIN, LOGIN, LOGOUT, Route, find_route

_VISITOR = "avcil-visitor"
"""Cookie that identifies a browser, so that no browser can use the session of another."""
_MAX_SESSIONS = 10_000
"""Number of page sessions whose browser is stored."""
EVENT_BYTES, EVENT_BYTES_PER_CLIP = 20_000, 4_000
"""Maximum size of a page event: its texts, and the description of each clip. Gradio stores the values of a session."""


class Guard:
    """Rejects a request with a JSON error, or passes it to the application."""

    def __init__(
        self,
        app: ASGIApp,
        *,
        limits: ServeLimits,
        origins: OriginCheck,
        payloads: PayloadCheck,
        metrics: Metrics,
        authentication: Authentication | None,
        rate: MinimumRate | None = None,
    ) -> None:
        """Wrap an application.

        Args:
            app: The application.
            limits: Limits of the server.
            origins: Checks hosts and origins.
            payloads: Checks events of the page.
            metrics: Counts requests.
            authentication: Checks passwords; None requires no password.
            rate: How fast bodies must arrive.
        """
        self.app, self.limits, self.origins, self.payloads = app, limits, origins, payloads
        self.metrics, self.authentication, self.rate = metrics, authentication, rate or MinimumRate()
        self._spool = SpoolLimit(limits.spool_bytes)
        self._open: Counter[str] = Counter()
        self._owners: OrderedDict[str, str] = OrderedDict()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle one request."""
        if scope["type"] == "lifespan":
            await self.app(scope, receive, send)
        elif scope["type"] == "http":
            await self._http(scope, receive, with_headers(send))
        else:  # a WebSocket: neither page nor API uses one
            await receive()
            await send({"type": "websocket.close", "code": 1008})

    async def _http(self, scope: Scope, receive: Receive, send: Send) -> None:
        client, began, status = client_of(scope), time.monotonic(), 0
        matched = find_route(scope["method"], scope["path"])

        async def sending(message: Message) -> None:
            nonlocal status
            status = message.get("status", status)
            await send(message)

        self._open[client] += 1
        try:
            await self._checked(scope, receive, sending, client, matched)
        except RefusedError as refusal:
            self.metrics.rejection(refusal.code)
            await refusal.response()(scope, receive, sending)
        finally:
            self._open[client] -= 1
            if not self._open[client]:
                del self._open[client]
            route = matched[0].template if matched else "other"
            timed = matched is None or not matched[0].stream
            self.metrics.request(
                _known_method(scope["method"]), route, status, time.monotonic() - began if timed else None
            )

    async def _checked(
        self,
        scope: Scope,
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
            raise RefusedError(404, "not_found", "there is no such route")
        route, variables = found
        owner = cookies.get(_VISITOR, client)
        if route is FILE and uploaded_file(variables["path"], self.payloads.folder) is None:
            raise RefusedError(403, "forbidden", "there is no such uploaded file")
        if route is HEARTBEAT:
            self._own(session_name(variables["session"]), owner)
        if route is EVENTS:
            self._own(_session_of_query(scope), owner)
        if path == "/" and _VISITOR not in cookies:
            send = _with_cookie(
                send, f"{_VISITOR}={secrets.token_urlsafe(16)}; Path=/; HttpOnly; SameSite=Strict"
            )
        body = self._body(route, headers, receive)
        if scope["method"] == "HEAD":  # handled like GET; the HTTP server omits the body
            scope = {**scope, "method": "GET"}
        try:
            await self._forward(route, scope, body, send, owner)
        finally:
            body.release()

    def _check_open_requests(self, client: str) -> None:
        limit = self.limits.open_requests
        if sum(self._open.values()) > limit or self._open[client] > max(1, limit // 2):
            raise RefusedError(503, "busy", "too many requests are open; close some pages", 5)

    def _authenticate(self, scope: Scope, headers: Headers, cookies: dict[str, str], client: str) -> None:
        assert self.authentication is not None
        try:
            self.authentication.check(headers, cookies.get(session_cookie(scope)), client)
        except RefusedError as refusal:
            if refusal.status == 401 and scope["path"] == "/" and "text/html" in headers.get("accept", ""):
                refusal = RefusedError(303, refusal.code, refusal.message, headers=(("location", "login"),))
            raise refusal from None

    def _own(self, session: str, owner: str) -> None:
        """Reserve a session for the browser that uses it first."""
        if self._owners.setdefault(session, owner) != owner:
            raise RefusedError(403, "forbidden", "this session belongs to another browser")
        self._owners.move_to_end(session)
        if len(self._owners) > _MAX_SESSIONS:
            self._owners.popitem(last=False)

    def _body(self, route: Route, headers: Headers, receive: Receive) -> LimitedBody:
        kind = headers.get("content-type", "").split(";")[0].strip().lower()
        large = route.body == "upload" and kind == "multipart/form-data"
        limit = self.limits.upload_bytes + FORM_OVERHEAD if large else MAX_SMALL_BODY
        if route is JOIN:
            limit = min(limit, EVENT_BYTES + EVENT_BYTES_PER_CLIP * self.limits.clips)
        name = "the upload" if large else "the body of this request"
        body = LimitedBody(receive, limit=limit, rate=self.rate, spool=self._spool, name=name)
        body.check_length(headers.get("content-length"))
        return body

    async def _forward(self, route: Route, scope: Scope, body: LimitedBody, send: Send, owner: str) -> None:
        if route is JOIN:
            content, session = self.payloads.check_join(await body.read())
            self._own(session, owner)
            scope, receive = _with_body(scope, content, body.receive)
            await self.app(scope, receive, send)
            return
        started = False

        async def sending(message: Message) -> None:
            nonlocal started
            if body.refusal is not None and not started:
                return  # the response of the application to an aborted request
            started = True
            await send(message)

        try:
            await self.app(scope, body.receive, sending)
        except Exception:
            if body.refusal is None:
                raise
        if body.refusal is not None and not started:
            raise body.refusal


def client_of(scope: Scope) -> str:
    """The client of a request, for limits: its IP address, or the /64 network of an IPv6 address.

    >>> client_of({"client": ("192.0.2.7", 80)}), client_of({"client": ("2001:db8::5", 80)})
    ('192.0.2.7', '2001:db8::/64')
    >>> client_of({"client": ("::ffff:192.0.2.7", 80)})  # IPv4 on a dual-stack socket
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


def session_cookie(scope: Scope) -> str:
    """The name of the session cookie; it contains the port, because browsers share cookies between ports."""
    return f"avcil-session-{(scope.get('server') or ('', 0))[1]}"


def cookies_of(headers: Headers) -> dict[str, str]:
    """The cookies of a request.

    Other servers on the same host can set malformed cookies, for which `http.cookies` would drop all cookies.
    """
    return cookie_parser("; ".join(headers.getlist("cookie")))


def _known_method(method: str) -> str:
    return method if method in ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS") else "other"


def _session_of_query(scope: Scope) -> str:
    values = QueryParams(scope["query_string"]).getlist("session_hash")
    return session_name(values[0] if len(values) == 1 else None)


def _with_cookie(send: Send, cookie: str) -> Send:
    async def sending(message: Message) -> None:
        if message["type"] == "http.response.start":
            line = (b"set-cookie", cookie.encode())
            message = {**message, "headers": [*message.get("headers", ()), line]}
        await send(message)

    return sending


def _with_body(scope: Scope, content: bytes, then: Receive) -> tuple[Scope, Receive]:
    """The request with another body; after the body, messages come from `then`."""
    names = (b"content-length", b"transfer-encoding", b"content-type")
    headers = [line for line in scope["headers"] if line[0] not in names]
    headers += [(b"content-length", str(len(content)).encode()), (b"content-type", b"application/json")]
    given = False

    async def receive() -> Message:
        nonlocal given
        if given:
            return await then()
        given = True
        return {"type": "http.request", "body": content, "more_body": False}

    return {**scope, "headers": headers}, receive
