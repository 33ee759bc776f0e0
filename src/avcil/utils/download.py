"""Downloads that can be stopped at any moment, go on where they ended, and are checked before they count.

A file arrives as `NAME.part` beside its place, with `NAME.part.json` saying what it is a part of; it takes
its name only when its length and, where known, its SHA-256 are right. The standard proxy variables are
respected.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import time
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

from avcil.errors import AvcilError, InputError
from avcil.utils.files import folder_lock, read_json, sync_folder, write_json
from avcil.utils.progress import Progress
from avcil.utils.transfer import RetryableError, Transfer

LONGEST_WAIT = 60.0


@dataclass(frozen=True, kw_only=True)
class RetryPolicy:
    """How long to put up with a connection."""

    stall: float = 30.0
    """Seconds without data after which a connection is given up and made anew."""
    attempts: int = 5
    """Attempts in a row that bring nothing new before giving up."""
    first_wait: float = 1.0
    """Seconds before the second attempt; each further wait is twice as long, at most a minute."""

    def __post_init__(self) -> None:
        if self.stall <= 0 or self.attempts < 1 or self.first_wait < 0:
            raise InputError(
                "a download needs a stall time above 0, 1 attempt or more, and a wait of 0 or more"
            )


def download(
    url: str,
    path: Path,
    *,
    sha256: str | None = None,
    size: int | None = None,
    patience: RetryPolicy | None = None,
    otherwise: str = "",
) -> Path:
    """Get `url` into the file `path`, going on with a part that is there; a file that is there is kept.

    `sha256` and `size` are checked where given (`sha256` also on a file that is there); else the checksum
    that Hugging Face states, or the length that the server states. `otherwise` is what a person can do
    without a connection; it ends the message. Raises `AvcilError` when the server cannot be reached or
    sends other bytes.
    """
    path, patience = Path(path), patience or RetryPolicy()
    if urlsplit(url).scheme not in ("http", "https"):
        raise InputError(f"cannot download {url!r}: an address must begin with http:// or https://")
    with folder_lock(path.parent, "downloading"):
        if path.exists() and (sha256 is None or file_sha256(path) == sha256):
            return path
        transfer = _resumed(Transfer(url=url, part=_beside(path, ".part"), size=size, sha256=sha256))
        transfer.stall = patience.stall
        transfer.note = lambda: write_json(_beside(path, ".part.json"), _state(transfer))
        with Progress(None, "B", title=path.name) as bar:
            transfer.report = lambda done, total: _show(bar, done, total)
            _fetch_checked(transfer, patience, otherwise)
        _put_in_place(transfer, path)
    return path


def file_sha256(path: Path) -> str:
    """The SHA-256 of a file, read piece by piece."""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _fetch_checked(transfer: Transfer, patience: RetryPolicy, otherwise: str) -> None:
    """Fetch until the bytes are the right ones; wrong ones are thrown away and asked for once more."""
    for last in (False, True):
        _fetch(transfer, patience, otherwise)
        found = file_sha256(transfer.part) if transfer.sha256 else None
        if found == transfer.sha256:
            return
        transfer.discard()
        if last:
            raise AvcilError(
                f"{transfer.url} arrived twice with other bytes than published (SHA-256 {str(found)[:16]}…, not "
                f"{str(transfer.sha256)[:16]}…): something on the way changes it, or the mirror is wrong. "
                f"Nothing was kept. {otherwise}".rstrip()
            )


def _fetch(transfer: Transfer, patience: RetryPolicy, otherwise: str) -> None:
    failures = 0
    while not (transfer.size is not None and transfer.here == transfer.size):
        before = transfer.here
        try:
            transfer.attempt()
            return
        except RetryableError as problem:
            failures = 1 if transfer.here > before else failures + 1
            if failures >= patience.attempts:
                raise _unreachable(transfer, problem, otherwise) from None
            wait = problem.wait if problem.wait is not None else patience.first_wait * 2 ** (failures - 1)
            time.sleep(min(wait, LONGEST_WAIT))


def _unreachable(transfer: Transfer, problem: RetryableError, otherwise: str) -> AvcilError:
    kept = f" {transfer.here} bytes are kept: run the same command again to go on." if transfer.here else ""
    return AvcilError(
        f"cannot get {transfer.url}: {problem}.{kept} Check the connection; proxies are taken from "
        f"HTTPS_PROXY, HTTP_PROXY and NO_PROXY. {otherwise}".rstrip()
    )


def _state(transfer: Transfer) -> dict[str, object]:
    return {name: getattr(transfer, name) for name in ("url", "size", "sha256", "etag")}


def _resumed(transfer: Transfer) -> Transfer:
    """Take up the part of an earlier run if it is of the same file; else throw it away."""
    state_file = _beside(transfer.part.with_suffix(""), ".part.json")
    state: dict = {}
    if state_file.exists():
        with contextlib.suppress(InputError):
            state = read_json(state_file)
    same = isinstance(state, dict) and state.get("url") == transfer.url
    for name in ("size", "sha256"):
        given, noted = getattr(transfer, name), state.get(name) if same else None
        same = same and (given is None or noted is None or given == noted)
    if not same:
        transfer.discard()
        return transfer
    transfer.size = transfer.size or state.get("size")
    transfer.sha256, transfer.etag = transfer.sha256 or state.get("sha256"), state.get("etag")
    return transfer


def _put_in_place(transfer: Transfer, path: Path) -> None:
    with open(transfer.part, "rb") as file:
        os.fsync(file.fileno())
    os.replace(transfer.part, path)
    _beside(path, ".part.json").unlink(missing_ok=True)
    sync_folder(path.parent)


def _show(bar: Progress, done: int, total: int | None) -> None:
    bar.total = total
    bar.update(done - bar.n)


def _beside(path: Path, ending: str) -> Path:
    return path.with_name(path.name + ending)
