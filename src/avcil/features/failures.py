"""`failures.csv` of a feature store: clips that could not be stored, and the reasons."""

from __future__ import annotations

import codecs
import csv
import io
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from avcil.errors import InputError
from avcil.utils.files import write_text
from avcil.utils.input_files import read_bytes

NAME = "failures.csv"
COLUMNS = ("clip_id", "path", "label", "split", "reason", "tried")
MAX_BYTES = 64 << 20
"""Maximum size of the file."""
REASONS_SHOWN = 5


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


def read_failures(folder: Path) -> dict[str, Failure]:
    """The failures of a store by clip id; {} without a list."""
    path = Path(folder) / NAME
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


def write_failures(folder: Path, failures: Mapping[str, Failure]) -> None:
    """Write the list atomically, ordered by clip id; an empty list removes the file."""
    path = Path(folder) / NAME
    if not failures:
        path.unlink(missing_ok=True)
        return
    text = io.StringIO(newline="")
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(COLUMNS)
    for clip_id in sorted(failures):
        writer.writerow([getattr(failures[clip_id], name) for name in COLUMNS])
    write_text(path, text.getvalue())


def reasons(pairs: Sequence[tuple[str, str]]) -> list[str]:
    """The most frequent reasons in pairs (clip id, reason), one per line, each with an example."""
    example = {reason: clip_id for clip_id, reason in reversed(pairs)}
    counts = Counter(reason for _, reason in pairs).most_common()
    lines = [
        f"  {count:5d}  {reason} (such as {example[reason]!r})" for reason, count in counts[:REASONS_SHOWN]
    ]
    hidden = sum(count for _, count in counts[REASONS_SHOWN:])
    return [*lines, f"  {hidden:5d}  for other reasons"] if hidden else lines
