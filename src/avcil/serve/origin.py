"""Check the Host and Origin of requests, against cross-site request forgery (CSRF) and DNS rebinding."""

from __future__ import annotations

import ipaddress
import re
import socket
from collections.abc import Iterable
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from avcil.serve.refusal import RefusedError

if TYPE_CHECKING:
    from starlette.datastructures import Headers

_LOOPBACK = frozenset({"localhost", "127.0.0.1", "::1"})
_SAFE_METHODS = frozenset({"GET", "HEAD", "OPTIONS"})
_OWN_SITES = frozenset({"same-origin", "none"})
"""Allowed values of Sec-Fetch-Site: a page of this server, or a user action such as a bookmark."""
_OPENED_FROM_LINKS = frozenset({"/", "/login", "/api/docs"})
"""Pages that links on other sites can open."""
HOST = re.compile(r"(\[[0-9a-fA-F:.]+\]|[A-Za-z0-9._-]+)(:[0-9]{1,5})?")


def parse_host(text: str) -> tuple[str, str] | None:
    """Split a Host header into name and port; None if it is malformed.

    >>> parse_host("Example.org:7860"), parse_host("[::1]:80"), parse_host("[")
    (('example.org', '7860'), ('::1', '80'), None)
    """
    match = HOST.fullmatch(text)
    if match is None:
        return None
    name = match[1].lower().rstrip(".")
    if name.startswith("["):
        name = name[1:-1]
        if not _is_address(name):
            return None
    return name, (match[2] or "")[1:]


def _is_address(name: str) -> bool:
    """Whether a host name is an IP address."""
    try:
        ipaddress.ip_address(name)
    except ValueError:
        return False
    return True


def is_loopback(host: str) -> bool:
    """Whether an address is only reachable from this machine."""
    return host == "localhost" or (_is_address(host) and ipaddress.ip_address(host).is_loopback)


class OriginCheck:
    """Rejects requests for other hosts, and requests from pages of other origins."""

    def __init__(self, names: Iterable[str] | None) -> None:
        """Set the allowed hosts.

        Args:
            names: Allowed host names, in addition to loopback names. None allows all IP addresses and this machine's
                host name, but no other DNS names, because an attacker's name can resolve to this machine.
        """
        self.any_address = names is None
        own = (socket.gethostname().lower(), f"{socket.gethostname().lower()}.local")
        self.names = _LOOPBACK | set(own if names is None else names)

    def check(self, method: str, path: str, headers: Headers) -> None:
        """Check one request.

        Raises:
            RefusedError: 400 for malformed headers, 403 for a foreign host or origin.
        """
        for name in ("host", "origin", "sec-fetch-site"):
            if len(headers.getlist(name)) > 1:
                raise RefusedError(400, "bad_request", f"the header {name} is given more than once")
        self._check_host(headers.get("host", ""))
        origin = headers.get("origin")
        if method not in _SAFE_METHODS:
            self._check_origin(origin, headers.get("host", ""))
        self._check_site(method, path, headers)

    def _check_host(self, host: str) -> None:
        parsed = parse_host(host)
        if parsed is None:
            raise RefusedError(400, "bad_request", "the header Host is malformed or missing")
        if parsed[0] in self.names or (self.any_address and _is_address(parsed[0])):
            return
        known = ", ".join(sorted(self.names - _LOOPBACK))
        allowed = known or "localhost or 127.0.0.1"
        if self.any_address:
            allowed = f"its IP address or {known}; start it with --allowed-host to add a name"
        raise RefusedError(403, "forbidden", f"this server can only be reached as {allowed}")

    def _check_origin(self, origin: str | None, host: str) -> None:
        if origin is None:  # not a browser
            return
        refused = RefusedError(403, "forbidden", "requests from pages of other sites are rejected")
        if origin == "null":
            raise refused
        try:
            parts = urlsplit(origin)
        except ValueError:
            raise refused from None
        origin_host = parse_host(parts.netloc) if parts.scheme in ("http", "https") else None
        if origin_host is None or _with_port(origin_host, parts.scheme) != _with_port(
            parse_host(host), parts.scheme
        ):
            raise refused

    def _check_site(self, method: str, path: str, headers: Headers) -> None:
        """Check Sec-Fetch-Site, which only browsers send."""
        site = headers.get("sec-fetch-site")
        if site is None or site in _OWN_SITES:
            return
        opened = headers.get("sec-fetch-mode") == "navigate" and headers.get("sec-fetch-dest") == "document"
        if not (method in _SAFE_METHODS and opened and path in _OPENED_FROM_LINKS):
            raise RefusedError(403, "forbidden", "pages of other sites cannot use this server")


def _with_port(host: tuple[str, str] | None, scheme: str) -> tuple[str, str] | None:
    """Add the default port of the scheme, so that `example.org` equals `example.org:443`."""
    default = "443" if scheme == "https" else "80"
    return None if host is None else (host[0], host[1] or default)
