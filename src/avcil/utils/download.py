"""Downloads that can be resumed and are verified.

A file is downloaded to `NAME.part`; `NAME.part.json` describes the complete file. It is renamed once its length and,
where known, its SHA-256 are correct. The standard proxy variables are respected.
"""

from __future__ import annotations

import contextlib
import os
import time
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

from avcil.errors import AvcilError, InputError
from avcil.utils.files import file_sha256, folder_lock, read_json, sync_folder, write_json
from avcil.utils.progress import Progress
from avcil.utils.transfer import RetryableError, Transfer

_MAX_WAIT = 60.0
"""Seconds."""


@dataclass(frozen=True, kw_only=True)
class RetryPolicy:
    """When to retry a download, and how often."""

    stall: float = 30.0
    """Seconds without data after which to reconnect."""
    attempts: int = 5
    """Maximum number of consecutive attempts without new data."""
    first_wait: float = 1.0
    """Seconds before the second attempt. The wait doubles with each attempt, up to a minute."""

    def __post_init__(self) -> None:
        if self.stall <= 0 or self.attempts < 1 or self.first_wait < 0:
            raise InputError("stall must be above 0, attempts 1 or more, and first_wait 0 or more")


def download(
    url: str,
    path: Path,
    *,
    sha256: str | None = None,
    retry: RetryPolicy | None = None,
    offline_advice: str = "",
) -> Path:
    """Download a file, or resume an earlier download; an existing file is kept.

    Args:
        url: HTTP or HTTPS address.
        path: Destination.
        sha256: Expected checksum, also of an existing file; None uses the one that the Hugging Face Hub sends.
        retry: When to retry.
        offline_advice: Advice for users without a connection, appended to the error message.

    Returns:
        `path`.

    Raises:
        AvcilError: The server cannot be reached, or the content is not the expected one.
    """
    path, retry = Path(path), retry or RetryPolicy()
    if urlsplit(url).scheme not in ("http", "https"):
        raise InputError(f"cannot download {url!r}: the address must start with http:// or https://")
    with folder_lock(path.parent, "downloading"):
        if path.exists() and (sha256 is None or file_sha256(path) == sha256):
            return path
        transfer = _resumed(Transfer(url=url, part=_sibling(path, ".part"), sha256=sha256))
        transfer.stall = retry.stall
        transfer.on_headers = lambda: write_json(_sibling(path, ".part.json"), _state(transfer))
        with Progress(None, "B", title=path.name) as bar:
            transfer.on_progress = lambda done, total: _show(bar, done, total)
            _fetch_checked(transfer, retry, offline_advice)
        _finish(transfer, path)
    return path


def _fetch_checked(transfer: Transfer, retry: RetryPolicy, offline_advice: str) -> None:
    """Fetch the file; if the checksum is wrong, fetch it once more."""
    for last in (False, True):
        _fetch(transfer, retry, offline_advice)
        sha = file_sha256(transfer.part) if transfer.sha256 else None
        if sha == transfer.sha256:
            return
        transfer.discard()
        if last:
            raise AvcilError(
                f"{transfer.url} was downloaded twice with other bytes than published (SHA-256 {str(sha)[:16]}…, not "
                f"{str(transfer.sha256)[:16]}…): a proxy changes it, or the mirror is wrong. "
                f"Nothing was kept. {offline_advice}".rstrip()
            )


def _fetch(transfer: Transfer, retry: RetryPolicy, offline_advice: str) -> None:
    failures = 0
    while not (transfer.size is not None and transfer.downloaded == transfer.size):
        before = transfer.downloaded
        try:
            transfer.attempt()
            return
        except RetryableError as error:
            failures = 1 if transfer.downloaded > before else failures + 1
            if failures >= retry.attempts:
                raise _unreachable(transfer, error, offline_advice) from None
            wait = error.wait if error.wait is not None else retry.first_wait * 2 ** (failures - 1)
            time.sleep(min(wait, _MAX_WAIT))


def _unreachable(transfer: Transfer, error: RetryableError, offline_advice: str) -> AvcilError:
    hint = (
        f" {transfer.downloaded} bytes are kept: run the same command again to resume."
        if transfer.downloaded
        else ""
    )
    return AvcilError(
        f"cannot download {transfer.url}: {error}.{hint} Check the connection; proxies are taken from "
        f"HTTPS_PROXY, HTTP_PROXY and NO_PROXY. {offline_advice}".rstrip()
    )


def _state(transfer: Transfer) -> dict[str, object]:
    return {name: getattr(transfer, name) for name in ("url", "size", "sha256", "etag")}


def _resumed(transfer: Transfer) -> Transfer:
    """Resume an earlier download if it is of the same file; otherwise discard it."""
    state_file = _sibling(transfer.part.with_suffix(""), ".part.json")
    state: dict = {}
    if state_file.exists():
        with contextlib.suppress(InputError):
            state = read_json(state_file)
    is_same = isinstance(state, dict) and state.get("url") == transfer.url
    if is_same and transfer.sha256 is not None:
        is_same = state.get("sha256") in (None, transfer.sha256)
    if not is_same:
        transfer.discard()
        return transfer
    transfer.size, transfer.etag = state.get("size"), state.get("etag")
    transfer.sha256 = transfer.sha256 or state.get("sha256")
    return transfer


def _finish(transfer: Transfer, path: Path) -> None:
    with open(transfer.part, "rb") as file:
        os.fsync(file.fileno())
    os.replace(transfer.part, path)
    _sibling(path, ".part.json").unlink(missing_ok=True)
    sync_folder(path.parent)


def _show(bar: Progress, done: int, total: int | None) -> None:
    bar.total = total
    bar.update(done - bar.n)


def _sibling(path: Path, suffix: str) -> Path:
    return path.with_name(path.name + suffix)
