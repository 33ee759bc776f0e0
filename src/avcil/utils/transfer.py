"""One attempt to download a file over HTTP, starting at the end of the part on the disk.

`RetryableError` is raised for temporary problems (a broken or stalled connection, a busy server), `InputError` or
`AvcilError` for permanent ones (no such file, no permission, unexpected size).
"""

from __future__ import annotations

import http.client
import re
import shutil
import ssl
import time
import urllib.error
import urllib.request
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import NoReturn
from urllib.parse import urlsplit

from avcil.errors import AvcilError, InputError
from avcil.utils.files import disk_error
from avcil.utils.version import __version__

_MIN_BYTES = 1024
"""Bytes that must arrive within the stall time; less counts as a stall."""
CHUNK_BYTES = 2**20


class RetryableError(Exception):
    """A temporary failure; `wait` is the value of Retry-After in seconds, if any."""

    def __init__(self, reason: str, wait: float | None = None):
        super().__init__(reason)
        self.wait = wait


@dataclass(kw_only=True)
class Transfer:
    """A file that is being downloaded."""

    url: str
    part: Path
    size: int | None = None
    """Length in bytes, if known."""
    sha256: str | None = None
    etag: str | None = None
    stall: float = 30.0
    """Seconds without data after which the connection is closed."""
    on_progress: Callable[[int, int | None], None] = lambda done, total: None
    """Called with the bytes downloaded and the total (or None)."""
    on_headers: Callable[[], None] = lambda: None
    """Called when the headers are known, before data is written."""

    def __post_init__(self) -> None:
        self._expected_sha256 = self.sha256  # given by the caller, not by a server

    @property
    def downloaded(self) -> int:
        """Bytes that are on the disk."""
        return self.part.stat().st_size if self.part.exists() else 0

    def attempt(self) -> None:
        """Download the rest of the file."""
        request = urllib.request.Request(self.url, headers=self._headers())
        redirects = _Redirects()
        opener = urllib.request.build_opener(redirects)  # uses the standard proxy variables
        try:
            with opener.open(request, timeout=self.stall) as response:
                self._read_headers({**redirects.headers, **_lower(response.headers)})
                start = self._start(response)
                self._check_space(start)
                self.on_headers()
                self._copy(response, start)
        except urllib.error.HTTPError as error:
            error.close()
            raise self._error_of(error) from None
        except urllib.error.URLError as error:
            if isinstance(error.reason, ssl.SSLCertVerificationError):
                raise AvcilError(f"the certificate of {self.url} is not trusted: {error.reason}") from None
            raise RetryableError(str(error.reason)) from None
        except TimeoutError:
            raise RetryableError(f"no data for {self.stall:g} seconds") from None
        except (http.client.HTTPException, ConnectionError, ssl.SSLError) as error:
            raise RetryableError(f"the connection was lost ({error or type(error).__name__})") from None

    def _headers(self) -> dict[str, str]:
        headers = {"User-Agent": f"avcil/{__version__}", "Accept-Encoding": "identity"}
        if self.downloaded:
            headers["Range"] = f"bytes={self.downloaded}-"
            of_redirect = self.etag is not None and self.etag.strip('"') == self.sha256
            if self.etag and not self.etag.startswith("W/") and not of_redirect:
                headers["If-Range"] = self.etag  # the target of a redirect has another entity tag
        return headers

    def _read_headers(self, headers: dict[str, str]) -> None:
        """Store checksum and entity tag; if the tag changed, the part belongs to another file and is discarded."""
        etag = headers.get("x-linked-etag") or headers.get("etag")
        if self.etag and etag and etag != self.etag and self.downloaded:
            self._restart("the file on the server has changed")
        self.etag = etag or self.etag
        linked = headers.get("x-linked-etag", "").strip('"')  # Hugging Face: the SHA-256 of the file
        if self.sha256 is None and re.fullmatch(r"[0-9a-f]{64}", linked):
            self.sha256 = linked
        if self.sha256 is None and headers.get("content-type", "").startswith("text/html"):
            raise AvcilError(
                f"{self.url} returns a web page instead of the file. Check the address or the proxy"
            )

    def _restart(self, reason: str) -> NoReturn:
        self.discard()
        self.sha256 = self._expected_sha256
        self.size = self.etag = None
        raise RetryableError(f"{reason}; starting again")

    def _start(self, response: http.client.HTTPResponse) -> int:
        """The offset of the response's first byte; a server that ignores ranges sends the whole file."""
        if response.status == 206:
            match = re.fullmatch(r"bytes (\d+)-\d+/(\d+)", response.headers.get("Content-Range", "").strip())
            if not match or int(match[1]) != self.downloaded:
                self._restart("the server sent another range of the file than requested")
            start = int(match[1])
            total: int | None = int(match[2])
        else:
            start, length = 0, response.headers.get("Content-Length", "")
            total = int(length) if length.isdecimal() else None
        if self.size is not None and total is not None and total != self.size:
            if self.downloaded:
                self._restart("the file on the server has changed")
            raise AvcilError(
                f"{self.url} is {total} bytes long where {self.size} were expected: the file was changed, or "
                "a proxy answered instead. Try another mirror"
            )
        self.size = total if self.size is None else self.size
        if self.size is None and self.sha256 is None:
            raise AvcilError(
                f"{self.url}: the server does not send the length of the file, so it cannot be verified"
            )
        return start

    def _check_space(self, start: int) -> None:
        free = shutil.disk_usage(self.part.parent).free
        if self.size is not None and self.size - start > free:
            raise InputError(
                f"{self.url} needs {(self.size - start) / 2**30:.1f} GiB more, and {self.part.parent} has "
                f"{free / 2**30:.1f} GiB free. Free some space, or choose another folder"
            )

    def _copy(self, response: http.client.HTTPResponse, start: int) -> None:
        with open(self.part, "r+b" if self.part.exists() else "wb") as file:
            file.truncate(start)
            file.seek(start)
            done, since, mark = start, time.monotonic(), start
            while chunk := response.read1(CHUNK_BYTES):
                try:
                    file.write(chunk)
                except OSError as error:
                    raise disk_error(error, self.part) from error
                done += len(chunk)
                self.on_progress(done, self.size)
                if time.monotonic() - since > self.stall:
                    if done - mark < _MIN_BYTES:
                        raise RetryableError(f"only {done - mark} bytes in {self.stall:g} seconds")
                    since, mark = time.monotonic(), done
        if self.size is not None and done != self.size:
            if done > self.size:
                self._restart("the server sent more bytes than the file has")
            raise RetryableError(f"the connection was closed after {done} of {self.size} bytes")

    def _error_of(self, error: urllib.error.HTTPError) -> Exception:
        """The exception for an error status."""
        status = f"{error.code} {error.reason}"
        if error.code == 416:
            self._restart("the part on the disk does not fit the file on the server")
        if error.code in (408, 425, 429) or error.code >= 500:
            wait = error.headers.get("Retry-After", "")
            return RetryableError(f"the server answered {status}", float(wait) if wait.isdecimal() else None)
        if error.code in (404, 410):
            return InputError(f"there is nothing at {self.url} ({status}). Check the address or the mirror")
        return InputError(
            f"{urlsplit(self.url).netloc} refuses {self.url} ({status}). Check the address and your access"
        )

    def discard(self) -> None:
        """Delete the part on the disk."""
        self.part.unlink(missing_ok=True)


class _Redirects(urllib.request.HTTPRedirectHandler):
    """Follows redirects over HTTP(S) only, and keeps the headers with the checksum."""

    def __init__(self) -> None:
        self.headers: dict[str, str] = {}

    def redirect_request(self, req, fp, code, msg, headers, newurl):  # type: ignore[no-untyped-def]
        old, new = urlsplit(req.full_url).scheme, urlsplit(newurl).scheme
        if new not in ("http", "https") or (old == "https" and new == "http"):
            raise AvcilError(
                f"the redirect from {req.full_url} to {newurl[:200]} is not followed: the target is not secure"
            )
        self.headers |= {k: v for k, v in _lower(headers).items() if k.startswith("x-linked-")}
        return super().redirect_request(req, fp, code, msg, headers, newurl)


def _lower(headers: http.client.HTTPMessage) -> dict[str, str]:
    return {name.lower(): value for name, value in headers.items()}
