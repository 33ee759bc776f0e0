"""Untrusted files: only regular files and strict JSON are accepted."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from avcil.errors import InputError
from avcil.utils.files import read_json
from avcil.utils.input_files import JSON_BYTES, MAX_DEPTH, open_regular, read_bytes


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"[" * 100_000, "nested more than"),
        (b"[" * (MAX_DEPTH + 1) + b"]" * (MAX_DEPTH + 1), "nested more than"),
        (b'{"a":' * 500 + b"1" + b"}" * 500, "nested more than"),
        (b"9" * 5_000, "does not fit in 64 bits"),
        (b"9223372036854775808", "does not fit in 64 bits"),
        (b"1e999", "too large"),
        (b"[NaN]", "NaN is not a JSON number"),
        (b"-Infinity", "is not a JSON number"),
        (b'{"a": 1, "a": 2}', "'a' occurs twice"),
        (b'"\\ud800"', "surrogates not allowed"),
        (b"\xff\xfe", "not valid JSON"),
        (b"", "not valid JSON"),
    ],
)
def test_invalid_json_is_rejected(content: bytes, message: str, tmp_path: Path) -> None:
    """Each of these is an InputError that names the file."""
    (tmp_path / "a.json").write_bytes(content)
    with pytest.raises(InputError, match=message) as caught:
        read_json(tmp_path / "a.json")
    assert "a.json" in str(caught.value)


def test_valid_json_is_read(tmp_path: Path) -> None:
    """A byte order mark, a surrogate pair, and the deepest allowed nesting are valid."""
    content = b'\xef\xbb\xbf["\\ud83d\\ude00", 9223372036854775807, 1.5]'
    (tmp_path / "a.json").write_bytes(content)
    assert read_json(tmp_path / "a.json") == ["😀", 2**63 - 1, 1.5]
    (tmp_path / "b.json").write_bytes(b"[" * MAX_DEPTH + b"]" * MAX_DEPTH)
    assert json.dumps(read_json(tmp_path / "b.json")) == "[" * MAX_DEPTH + "]" * MAX_DEPTH


def test_only_regular_files_are_opened(tmp_path: Path) -> None:
    """A folder, a named pipe and a device are errors; opening them does not block."""
    os.mkfifo(tmp_path / "pipe")
    for path, message in (
        (tmp_path, "a folder"),
        (tmp_path / "pipe", "a named pipe"),
        (Path("/dev/zero"), "a device"),
    ):
        with pytest.raises(InputError, match=message):
            read_json(path)
    with pytest.raises(InputError, match="null byte"):
        open_regular("a\0b")


def test_links_are_followed_unless_disallowed(tmp_path: Path) -> None:
    """The cache of the Hugging Face Hub consists of links; a feature store does not."""
    (tmp_path / "file").write_bytes(b"text")
    (tmp_path / "link").symlink_to("file")
    (tmp_path / "loop").symlink_to("loop")
    assert read_bytes(tmp_path / "link", limit=10) == b"text"
    with pytest.raises(InputError, match="a symbolic link"):
        read_bytes(tmp_path / "link", limit=10, follow=False)
    with pytest.raises(InputError, match="loop"):
        read_bytes(tmp_path / "loop", limit=10)


def test_too_large_file_is_not_read(tmp_path: Path) -> None:
    """The size is checked before reading."""
    with open(tmp_path / "a.json", "wb") as file:
        file.truncate(JSON_BYTES + 1)
    with pytest.raises(InputError, match="larger than the limit for such a file, 16 MiB"):
        read_json(tmp_path / "a.json")
