"""The allowed routes; all others are rejected before they reach Gradio.

Gradio has dozens of routes, for proxies, direct calls, streams and development. The page needs only those listed here.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import Literal

Body = Literal["none", "json", "form", "upload"]
GET = frozenset({"GET"})
_READ = GET | {"HEAD"}
_WRITE = frozenset({"POST"})
MAX_PATH, MAX_SEGMENT = 2000, 255
"""Bytes of a path and of one segment; the operating system rejects longer ones."""


@dataclass(frozen=True)
class Route:
    """An allowed route."""

    template: str
    """As in FastAPI: `{name}` is one segment of the path, `{name:path}` any number of segments."""
    methods: frozenset[str] = _READ
    body: Body = "none"
    """Kind of the request body; only uploads can be large."""
    public: bool = False
    """Whether it is available without a password."""
    stream: bool = False
    """Whether the response lasts as long as the page is open."""
    pattern: re.Pattern[str] = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        parts = re.split(r"(\{\w+(?::path)?\})", self.template)
        text = "".join(_pattern_of(part) for part in parts)
        object.__setattr__(self, "pattern", re.compile(text, re.DOTALL))


def _pattern_of(part: str) -> str:
    if not part.startswith("{"):
        return re.escape(part)
    return f"(?P<{part[1:].split(':')[0].rstrip('}')}>{'.*' if part.endswith(':path}') else '[^/]+'})"


JOIN = Route("/gradio_api/queue/join", _WRITE, "json")
EVENTS = Route("/gradio_api/queue/data", GET, stream=True)
HEARTBEAT = Route("/gradio_api/heartbeat/{session}", GET, stream=True)
FILE = Route("/gradio_api/file={path:path}")
UPLOAD = Route("/gradio_api/upload", _WRITE, "upload")
LOGIN = Route("/login", _READ | _WRITE, "form", public=True)
LOGOUT = Route("/logout", _WRITE, "form")
OTHER = Route("/api/{path:path}", _READ | _WRITE | {"PUT", "PATCH", "DELETE", "OPTIONS"}, "json")
"""All other paths of the API, which respond with 404 or 405."""

_ROUTES = (
    Route("/"),
    Route("/config"),
    Route("/theme.css"),
    Route("/favicon.ico", public=True),
    Route("/robots.txt", public=True),
    Route("/manifest.json"),
    Route("/assets/{path:path}"),
    Route("/static/{path:path}"),
    JOIN,
    EVENTS,
    HEARTBEAT,
    FILE,
    UPLOAD,
    Route("/gradio_api/upload_progress", GET, stream=True),
    LOGIN,
    LOGOUT,
    Route("/metrics"),
    Route("/api/openapi.json"),
    Route("/api/docs"),
    Route("/api/docs/static/{path:path}"),
    Route("/api/predict", _WRITE, "upload"),
    Route("/api/teach", _READ | _WRITE, "upload"),
    Route("/api/classes"),
    Route("/api/rename", _WRITE, "form"),
    Route("/api/forget", _WRITE, "upload"),
    Route("/api/merge", _WRITE, "upload"),
    Route("/api/undo", _WRITE, "json"),
    Route("/api/model"),
    Route("/api/health"),
    OTHER,
)


def find_route(method: str, path: str) -> tuple[Route, dict[str, str]] | None:
    """Find the route of a request.

    Args:
        method: HTTP method in upper case.
        path: Path of the URL, percent-decoded.

    Returns:
        The route and the values of the variables in its template; None if there is none.

    >>> find_route("GET", "/gradio_api/heartbeat/abc")[1]
    {'session': 'abc'}
    >>> find_route("POST", "/gradio_api/run/predict") is None
    True
    """
    sizes = [len(segment.encode("utf-8", "replace")) for segment in path.split("/")]
    if max(sizes) > MAX_SEGMENT or sum(sizes) + len(sizes) > MAX_PATH:
        return None
    for route in _ROUTES:
        if method in route.methods and (match := route.pattern.fullmatch(path)):
            return route, match.groupdict()
    return None


def methods_of(path: str) -> frozenset[str]:
    """The methods of a route of the API; none for other paths.

    >>> sorted(methods_of("/api/teach"))
    ['GET', 'HEAD', 'POST']
    """
    methods = (route.methods for route in _ROUTES if route is not OTHER and route.pattern.fullmatch(path))
    return next(methods, frozenset())
