"""Passwords: a session cookie for the page, a bearer token for programs, and a limit on wrong attempts."""

from __future__ import annotations

import hashlib
import hmac
import math
import os
import secrets
import stat
import sys
import threading
import time
from collections import OrderedDict, deque
from pathlib import Path
from typing import TYPE_CHECKING

from avcil.errors import InputError
from avcil.serve.refusal import RefusedError

if TYPE_CHECKING:
    from starlette.datastructures import Headers

VARIABLE = "AVCIL_PASSWORD"
_MIN_LENGTH = 8
"""Of a password, in characters."""
_WINDOW = 60.0
"""Seconds over which wrong attempts are counted."""
CLIENT_ATTEMPTS, ALL_ATTEMPTS = 5, 100
"""Allowed wrong attempts in that time: of one client, and of all."""
_SESSION_SECONDS = 12 * 3600.0
_MAX_SESSIONS = 1000
_MAX_CLIENTS = 10_000
"""Number of clients whose attempts are stored."""


def read_password(file: Path | None) -> str | None:
    """Read the password from a file or from the environment variable AVCIL_PASSWORD.

    The variable is removed from the environment, so that processes started later do not inherit it.

    Args:
        file: A file with the password; a line break at its end is ignored.

    Returns:
        The password; None if none is given.

    Raises:
        InputError: The file cannot be read, both are given, or the password is too short.
    """
    variable = os.environ.pop(VARIABLE, None)
    if file is None and variable is None:
        return None
    if file is not None and variable is not None:
        raise InputError(f"give either --password-file or {VARIABLE}, not both")
    where = VARIABLE if file is None else str(file)
    text = variable if file is None else _read_secret(file)
    assert text is not None
    password = text.rstrip("\r\n")
    if not password:
        raise InputError(f"{where}: the password is empty. Use at least {_MIN_LENGTH} characters")
    if len(password) < _MIN_LENGTH or not password.isprintable() or password != password.strip():
        raise InputError(
            f"{where}: the password must be one line of at least {_MIN_LENGTH} printable characters, "
            "without spaces at the start or end"
        )
    return password


def _read_secret(file: Path) -> str:
    try:
        status = os.stat(file)
        if not stat.S_ISREG(status.st_mode):
            raise InputError(f"--password-file {file}: not a regular file")
        text = file.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        reason = getattr(error, "strerror", None) or "not UTF-8 text"
        raise InputError(f"--password-file {file}: cannot be read: {reason}") from None
    if status.st_mode & (stat.S_IRGRP | stat.S_IROTH):
        print(
            f"avcil: warning: other users of this machine can read {file}; run: chmod 600 {file}",
            file=sys.stderr,
        )
    return text


class _Attempts:
    """Counts wrong passwords, by client and in total."""

    def __init__(self) -> None:
        self._all: deque[float] = deque()
        self._by_client: OrderedDict[str, deque[float]] = OrderedDict()
        self._trusted: OrderedDict[str, None] = OrderedDict()

    def check(self, client: str) -> None:
        """Check whether a client may try a password.

        Raises:
            RefusedError: 429 with the seconds until the next attempt.
        """
        waits = [_wait(self._by_client.get(client, deque()), CLIENT_ATTEMPTS)]
        if client not in self._trusted:  # attempts of others do not block clients that have logged in before
            waits.append(_wait(self._all, ALL_ATTEMPTS))
        if (wait := max(waits)) > 0:
            raise RefusedError(
                429, "too_many_attempts", "too many wrong passwords; wait a minute", math.ceil(wait)
            )

    def wrong(self, client: str) -> None:
        """Count a wrong password."""
        now = time.monotonic()
        self._all.append(now)
        self._by_client.setdefault(client, deque()).append(now)
        self._by_client.move_to_end(client)
        if len(self._by_client) > _MAX_CLIENTS:
            self._by_client.popitem(last=False)

    def right(self, client: str) -> None:
        """Remember a client with the right password."""
        self._trusted[client] = None
        self._trusted.move_to_end(client)
        if len(self._trusted) > _MAX_CLIENTS:
            self._trusted.popitem(last=False)


def _wait(times: deque[float], most: int) -> float:
    now = time.monotonic()
    while times and times[0] <= now - _WINDOW:
        times.popleft()
    return times[len(times) - most] + _WINDOW - now if len(times) >= most else 0.0


class Authentication:
    """Checks passwords and sessions. Sessions are in memory and end with the server."""

    def __init__(self, password: str) -> None:
        self._password = _digest(password.encode())
        self._sessions: OrderedDict[bytes, float] = OrderedDict()
        self._attempts = _Attempts()
        self._lock = threading.Lock()

    def check(self, headers: Headers, cookie: str | None, client: str) -> None:
        """Check a request.

        Args:
            headers: Its headers; a program sends `Authorization: Bearer PASSWORD`.
            cookie: The session token from the page, if any.
            client: Name of the client, for counting wrong attempts.

        Raises:
            RefusedError: 401 without a valid password or session, 429 after too many wrong passwords.
        """
        if cookie is not None and self.is_session(cookie):
            return
        scheme, _, token = headers.get("authorization", "").partition(" ")
        if scheme.lower() == "bearer" and self.is_password(token.strip(" \t").encode("latin-1"), client):
            return
        raise RefusedError(
            401,
            "unauthorized",
            "a password is required: log in at /login, or send it as Authorization: Bearer PASSWORD",
            headers=(("www-authenticate", 'Bearer realm="avcil"'),),
        )

    def is_password(self, given: bytes, client: str) -> bool:
        """Compare with the password, in constant time.

        Raises:
            RefusedError: 429 after too many wrong attempts.
        """
        with self._lock:
            self._attempts.check(client)
            right = hmac.compare_digest(_digest(given), self._password)
            (self._attempts.right if right else self._attempts.wrong)(client)
            return right

    def open_session(self) -> str:
        """Create a session and return its token for the cookie."""
        token = secrets.token_urlsafe(32)
        with self._lock:
            self._sessions[_digest(token.encode())] = time.monotonic()
            if len(self._sessions) > _MAX_SESSIONS:
                self._sessions.popitem(last=False)
        return token

    def close_session(self, token: str) -> None:
        """End a session."""
        with self._lock:
            self._sessions.pop(_digest(token.encode()), None)

    def is_session(self, token: str) -> bool:
        """Whether there is a session with this token."""
        with self._lock:
            start = self._sessions.get(_digest(token.encode()))
            return start is not None and time.monotonic() - start < _SESSION_SECONDS


def _digest(text: bytes) -> bytes:
    """Digests are compared, so that the time reveals neither length nor content."""
    return hashlib.sha256(text).digest()
