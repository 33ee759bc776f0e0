"""Reading untrusted files: regular files of bounded size, and strict JSON.

Rejected in JSON: NaN, infinity, numbers beyond 64 bits, duplicate names in an object, text that is not valid UTF-8, and
deep nesting. So every value that was read can be compared, printed and written again.
"""

from __future__ import annotations

import errno
import hashlib
import io
import json
import math
import os
import re
import stat
from pathlib import Path
from typing import Any, NoReturn

from avcil.errors import InputError

JSON_BYTES = 16 << 20
"""Maximum size of a JSON document. Parsed, it can take 25 times its size in memory."""
MAX_DEPTH = 64
"""Maximum nesting depth of a JSON document."""
_SURROGATE = re.compile(rb"\\u[dD][89a-fA-F]")


def open_regular(path: Path | str, *, follow: bool = True) -> io.BufferedReader:
    """Open a regular file for reading. Never blocks, unlike opening a pipe or a device.

    Args:
        path: The file.
        follow: Whether to follow a symbolic link. The cache of the Hugging Face Hub consists of links; the files of a
            feature store are never links.

    Raises:
        InputError: The file does not exist, cannot be opened, or is not a regular file.
    """
    flags = os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC | (0 if follow else os.O_NOFOLLOW)
    try:
        # checked before opening too: opening some devices has side effects
        _check_regular(os.stat(path, follow_symlinks=follow).st_mode, path)
        descriptor = os.open(path, flags)
    except FileNotFoundError:
        raise InputError(f"there is no file {path}") from None
    except (OSError, ValueError) as error:
        reason = "it is a symbolic link" if getattr(error, "errno", 0) == errno.ELOOP else error
        if isinstance(error, InputError):
            raise
        raise InputError(f"{str(path)!r} cannot be opened: {getattr(reason, 'strerror', reason)}") from None
    try:
        _check_regular(os.fstat(descriptor).st_mode, path)
        return os.fdopen(descriptor, "rb")
    except BaseException:
        os.close(descriptor)
        raise


def regular_file_sha256(path: Path | str) -> str:
    """The SHA-256 of a regular file as hexadecimal digits; InputError as of `open_regular`."""
    with open_regular(path) as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _check_regular(mode: int, path: Path | str) -> None:
    if not stat.S_ISREG(mode):
        kinds = {stat.S_IFDIR: "a folder", stat.S_IFLNK: "a symbolic link", stat.S_IFIFO: "a named pipe"}
        kind = kinds.get(stat.S_IFMT(mode), "a device or socket")
        raise InputError(f"{path} is {kind}, not a regular file")


def read_bytes(path: Path | str, *, limit: int, follow: bool = True) -> bytes:
    """The content of a regular file of at most `limit` bytes.

    Raises:
        InputError: As for `open_regular`, or the file is larger.
    """
    with open_regular(path, follow=follow) as file:
        data = file.read(limit + 1) if os.fstat(file.fileno()).st_size <= limit else None
    if data is None or len(data) > limit:
        raise InputError(f"{path} is larger than the limit for such a file, {limit >> 20} MiB")
    return data


def read_text(path: Path | str, *, limit: int, expected: str = "") -> str:
    """The text of a regular file in UTF-8, with or without a byte order mark.

    Args:
        path: The file.
        limit: Maximum size in bytes.
        expected: A sentence for the error message: what the file should be.

    Raises:
        InputError: As for `read_bytes`, or the file is not UTF-8.
    """
    try:
        return read_bytes(path, limit=limit).decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise InputError(f"{path} is not UTF-8 text: {error}. {expected}".removesuffix(". ")) from None


def parse_json(data: bytes, where: str) -> Any:
    """The value of a JSON document in UTF-8, with or without a byte order mark.

    Args:
        data: The document.
        where: Name of the document in error messages.

    Raises:
        InputError: The document is not JSON, or contains something that this module rejects.
    """
    try:
        value = json.loads(
            data.decode("utf-8-sig"),
            parse_int=_whole_number,
            parse_float=_finite_number,
            parse_constant=_refuse_constant,
            object_pairs_hook=_object,
        )
        if _SURROGATE.search(data):
            json.dumps(value, ensure_ascii=False).encode()
    except ValueError as error:
        raise InputError(f"{where} is not valid JSON: {error}") from None
    except RecursionError:
        value, too_deep = None, True
    else:
        too_deep = _is_deep(value)
    if too_deep:
        raise InputError(f"{where} is not accepted: JSON nested more than {MAX_DEPTH} levels deep")
    return value


def _whole_number(text: str) -> int:
    if len(text) > 20 or not -(2**63) <= int(text) < 2**63:
        raise ValueError(f"the whole number {text[:24]} does not fit in 64 bits")
    return int(text)


def _finite_number(text: str) -> float:
    value = float(text)
    if not math.isfinite(value):
        raise ValueError(f"the number {text[:24]} is too large")
    return value


def _refuse_constant(text: str) -> NoReturn:
    raise ValueError(f"{text} is not a JSON number")


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    value = dict(pairs)
    if len(value) != len(pairs):
        names = [name for name, _ in pairs]
        twice = next(name for name in names if names.count(name) > 1)
        raise ValueError(f"the name {twice[:40]!r} occurs twice in one object")
    return value


def _is_deep(value: Any) -> bool:
    level = [value]
    for _ in range(MAX_DEPTH):
        containers = [item for item in level if isinstance(item, dict | list)]
        level = [
            child for item in containers for child in (item.values() if isinstance(item, dict) else item)
        ]
        if not level:
            return False
    return True
