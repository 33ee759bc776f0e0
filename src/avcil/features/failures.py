"""`failures.csv` of a feature store: clips that could not be stored, and the reasons."""

from __future__ import annotations

import codecs
import csv
import io
import threading
import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence, Set
from dataclasses import astuple, dataclass, fields
from pathlib import Path

from avcil.errors import InputError
from avcil.utils.csv_files import write_csv
from avcil.utils.input_files import read_bytes

NAME = "failures.csv"
MAX_BYTES = 64 << 20
"""Maximum size of the file."""
_MAX_REASONS = 5
"""Maximum number of reasons in a report."""
_INTERVAL = 2.0
"""Seconds between updates of the file."""


@dataclass(frozen=True, kw_only=True)
class Failure:
    """A clip that could not be stored."""

    clip_id: str
    path: str
    label: str
    split: str
    reason: str
    """Why it could not be stored."""
    tried: str
    """What was to be decoded."""


COLUMNS = tuple(field.name for field in fields(Failure))


def read_failures(folder: Path) -> dict[str, Failure]:
    """The failures of a store by clip id; {} without a list."""
    path = folder / NAME
    if not path.exists():
        return {}
    content = read_bytes(path, limit=MAX_BYTES, follow=False).removeprefix(codecs.BOM_UTF8)
    text = content.decode(errors="backslashreplace")
    reader = csv.DictReader(io.StringIO(text, newline=""))
    try:
        if tuple(reader.fieldnames or ()) != COLUMNS:
            raise InputError(
                f"{path} has other columns than {','.join(COLUMNS)}; move it away and run the command again"
            )
        failures = [Failure(**{name: row[name] or "" for name in COLUMNS}) for row in reader]
    except csv.Error as error:
        raise InputError(f"{path} is not CSV ({error}); move it away and run the command again") from None
    return {failure.clip_id: failure for failure in failures}


def _write_failures(folder: Path, failures: Mapping[str, Failure]) -> None:
    """Write the list atomically, ordered by clip id; an empty list removes the file."""
    path = folder / NAME
    if failures:
        write_csv(path, COLUMNS, [astuple(failures[clip_id]) for clip_id in sorted(failures)])
    else:
        path.unlink(missing_ok=True)


class FailureList:
    """The failures of a store, including new ones that are not yet in the file.

    `add` may be called while another thread writes. Call the other methods while the index is locked, since other
    writers update the file too.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._new: dict[str, Failure] = {}
        self._lock = threading.Lock()
        self._written_at = time.monotonic()
        self.by_id = read_failures(folder)
        """The content of the file when it was read or written last."""

    @property
    def is_due(self) -> bool:
        """Whether the file should be written again."""
        return time.monotonic() - self._written_at > _INTERVAL

    @property
    def is_empty(self) -> bool:
        """Whether there are neither old nor new failures."""
        return not self._new and not self.by_id

    def add(self, failure: Failure) -> None:
        """Add a failure; it replaces an earlier one of the same clip."""
        with self._lock:
            self._new[failure.clip_id] = failure

    def write(self, stored: Set[str]) -> None:
        """Add the new failures to the file, and remove those of stored clips from it."""
        with self._lock:
            new = dict(self._new)
        self._replace(lambda failures: {k: v for k, v in (failures | new).items() if k not in stored})
        with self._lock:
            self._new = {key: value for key, value in self._new.items() if new.get(key) is not value}
        self._written_at = time.monotonic()

    def keep_only(self, clip_ids: Set[str]) -> None:
        """Remove the failures of other clips from the file."""
        self._replace(lambda failures: {key: value for key, value in failures.items() if key in clip_ids})

    def _replace(self, change: Callable[[dict[str, Failure]], dict[str, Failure]]) -> None:
        before = read_failures(self._folder)
        self.by_id = change(before)
        if self.by_id != before:
            _write_failures(self._folder, self.by_id)


def reason_lines(pairs: Sequence[tuple[str, str]]) -> list[str]:
    """A line with number of clips and an example for each of the most frequent reasons.

    Args:
        pairs: Clip ids and reasons.
    """
    example = {reason: clip_id for clip_id, reason in reversed(pairs)}
    counts = Counter(reason for _, reason in pairs).most_common()
    lines = [
        f"  {count:5d}  {reason} (such as {example[reason]!r})" for reason, count in counts[:_MAX_REASONS]
    ]
    hidden = sum(count for _, count in counts[_MAX_REASONS:])
    return [*lines, f"  {hidden:5d}  for other reasons"] if hidden else lines
