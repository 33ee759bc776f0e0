"""Clips and clip lists.

A clip list is a CSV file with the columns `path,label,split[,start,end][,clip_id]` and one row per clip. Paths are
absolute or relative to the folder of the CSV file; `start` and `end` are seconds from the start of the media file.
"""

from __future__ import annotations

import csv
import io
import math
import os
import unicodedata
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from avcil.errors import InputError
from avcil.utils.files import write_text
from avcil.utils.input_files import read_text
from avcil.utils.listing import quoted

SPLITS = ("train", "val", "test")
_REQUIRED = ("path", "label", "split")
_OPTIONAL = ("start", "end", "clip_id")
_MAX_LIST_BYTES = 256 << 20
"""Maximum size of a clip list, enough for a million clips."""
MAX_LABEL_LENGTH = 1000
"""Maximum number of characters of a class name, also in saved models."""


@dataclass(frozen=True, kw_only=True)
class Clip:
    """A segment of a media file with its class and split."""

    clip_id: str
    path: Path
    label: str
    split: str
    start: float | None = None
    """Seconds; None is the start of the file."""
    end: float | None = None
    """Seconds; None is the end of the file."""


def check_labels(labels: Iterable[str], where: str) -> None:
    """Raise InputError for labels that are empty, too long, or differ only in case, spaces or Unicode form."""
    spellings: dict[str, set[str]] = defaultdict(set)
    for label in labels:
        folded = " ".join(unicodedata.normalize("NFKC", label).casefold().split())
        if not folded:
            raise InputError(f"{where}: a label is empty; give every clip a class name")
        if len(label) > MAX_LABEL_LENGTH:
            raise InputError(
                f"{where}: the label {label[:40]!r}... has {len(label)} characters; the maximum is {MAX_LABEL_LENGTH}"
            )
        spellings[folded].add(label)
    for variants in spellings.values():
        if len(variants) > 1:
            names = ", ".join(repr(name) for name in sorted(variants))
            raise InputError(f"{where}: labels differ only in case or spaces: {names}. Use one spelling")


def parse_labels(value: Any) -> list[str]:
    """Check a JSON value: a list of distinct class names, neither empty nor too long.

    Raises:
        InputError: It is something else; the message does not name the file.
    """
    if not isinstance(value, list) or not all(isinstance(label, str) for label in value):
        raise InputError("it must be a list of distinct class names")
    if not value or len(set(value)) != len(value):
        raise InputError("it must contain at least one class name, without duplicates")
    invalid = [label for label in value if not label.strip() or len(label) > MAX_LABEL_LENGTH]
    if invalid:
        raise InputError(
            f"{invalid[0]!r:.60} is not a class name; allowed are 1 to {MAX_LABEL_LENGTH} characters, not only spaces"
        )
    return value


def check_clips(clips: Sequence[Clip], where: str) -> None:
    """Raise InputError for an invalid clip list: no clips, duplicate ids, invalid labels, unknown splits."""
    if not clips:
        raise InputError(f"{where} contains no clips")
    twice = [clip_id for clip_id, count in Counter(clip.clip_id for clip in clips).items() if count > 1]
    if twice:
        raise InputError(f"{where}: clip ids must be unique; duplicates: {quoted(twice)}")
    for clip in clips:
        if clip.split not in SPLITS:
            raise InputError(
                f"{where}: clip {clip.clip_id!r} has split {clip.split!r}; allowed: {', '.join(SPLITS)}"
            )
    check_labels({clip.label for clip in clips}, where)


def default_clip_id(path: str, start: float | None, end: float | None) -> str:
    """The default id of a clip: its path and, if given, start and end.

    >>> default_clip_id("dog/a.mp4", 1.5, None)
    'dog/a.mp4@1.5-'
    """
    if start is None and end is None:
        return path
    begin, stop = ("" if seconds is None else f"{seconds:.12g}" for seconds in (start, end))
    return f"{path}@{begin}-{stop}"


def one_line(text: str) -> str:
    """Escape line breaks and other non-printable characters, for tables.

    >>> one_line("two\\nlines")
    'two\\\\nlines'
    """
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)


def read_clips(path: Path) -> list[Clip]:
    """Read a clip list from a CSV file.

    Raises:
        InputError: The list is missing or invalid; the message names the line and the allowed values.
    """
    path = Path(path)
    if not os.path.exists(path):
        raise InputError(f"there is no clip list {path}; make one with: avcil scan FOLDER --out {path}")
    if os.path.isdir(path):
        raise InputError(
            f"{path} is a folder, not a clip list; make one with: avcil scan {path} --out clips.csv"
        )
    text = read_text(path, limit=_MAX_LIST_BYTES)
    reader = csv.DictReader(
        io.StringIO(text, newline=""), strict=True
    )  # keeps line ends inside quoted fields
    try:
        columns = _without_unnamed(reader, path)
        _check_columns(columns, path)
        clips = [
            _clip_of_row(row, f"{path}, line {reader.line_num}", path.parent) for row in _named(reader, path)
        ]
    except csv.Error as error:
        raise InputError(f"{path}, after line {reader.line_num}: not CSV: {error}") from None
    check_clips(clips, str(path))
    return clips


def _without_unnamed(reader: csv.DictReader[str], path: Path) -> list[str]:
    """The named columns. One unnamed column is allowed: a comma at the end of each line makes one."""
    columns = list(reader.fieldnames or [])
    if columns.count("") > 1:
        raise InputError(f"{path}: {columns.count('')} columns have no name; delete them")
    return [name for name in columns if name]


def _named(reader: csv.DictReader[str], path: Path) -> Iterator[dict[str, str | None]]:
    """The rows without the unnamed column, which must be empty."""
    for row in reader:
        if value := row.pop("", None):
            raise InputError(
                f"{path}, line {reader.line_num}: a column without a name contains {value!r}. Name it, or delete it "
                "(pandas writes its index like this; use to_csv(index=False))"
            )
        yield row


def _check_columns(columns: Sequence[str], path: Path) -> None:
    unknown = [name for name in columns if name not in _REQUIRED + _OPTIONAL]
    missing = [name for name in _REQUIRED if name not in columns]
    twice = [name for name, count in Counter(columns).items() if count > 1]
    if missing or unknown or twice:
        raise InputError(
            f"{path}: wrong columns {','.join(columns)!r}"
            + (f"; missing: {', '.join(missing)}" if missing else "")
            + (f"; unknown: {', '.join(unknown)}" if unknown else "")
            + (f"; duplicate: {', '.join(twice)}" if twice else "")
            + ". Expected: path,label,split[,start,end][,clip_id]"
        )


def _clip_of_row(row: dict[str, str | None], where: str, folder: Path) -> Clip:
    if None in row or any(row.get(name) is None for name in _REQUIRED):
        raise InputError(
            f"{where}: the number of fields differs from the header; quote fields that contain commas"
        )
    start, end = (_seconds(row.get(name), name, where) for name in ("start", "end"))
    if end is not None and end <= (start or 0.0):
        raise InputError(f"{where}: end ({end:g} s) must be after start ({start or 0.0:g} s)")
    path, label, split = (str(row[name]) for name in _REQUIRED)
    if not path:
        raise InputError(f"{where}: the path is empty")
    if not label.strip():
        raise InputError(f"{where}: the label is empty; give every clip a class name")
    return Clip(
        clip_id=row.get("clip_id") or default_clip_id(path, start, end),
        path=folder / path,
        label=label,
        split=split,
        start=start,
        end=end,
    )


def _seconds(text: str | None, name: str, where: str) -> float | None:
    if not text:
        return None
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not (math.isfinite(value) and value >= 0):
        raise InputError(f"{where}: {name} must be seconds, 0 or more, or empty; not {text!r}")
    return value


def write_clips(path: Path, clips: Sequence[Clip]) -> None:
    """Write a clip list atomically, with absolute paths."""
    rows = [[*_REQUIRED, *_OPTIONAL]]
    for clip in clips:
        segment = ["" if value is None else repr(value) for value in (clip.start, clip.end)]
        rows.append([str(clip.path.absolute()), clip.label, clip.split, *segment, clip.clip_id])
    # CSV readers take a carriage return as a line end, but the writer does not quote it
    has_return = any("\r" in field for row in rows for field in row)
    text = io.StringIO(newline="")
    quoting: Literal[0, 1] = csv.QUOTE_ALL if has_return else csv.QUOTE_MINIMAL
    csv.writer(text, lineterminator="\n", quoting=quoting).writerows(rows)
    write_text(path, text.getvalue())
