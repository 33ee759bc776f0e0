"""Writing CSV files."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable
from pathlib import Path

from avcil.utils.files import write_text


def csv_text(rows: Iterable[Iterable[object]]) -> str:
    """The rows as CSV, the first one being the header."""
    text = io.StringIO(newline="")
    csv.writer(text, lineterminator="\n").writerows(rows)
    return text.getvalue()


def write_csv(path: Path, header: Iterable[str], rows: Iterable[Iterable[object]]) -> None:
    """Write a CSV file atomically, in UTF-8. Bytes of file names that are not UTF-8 are escaped."""
    write_text(path, escape_surrogates(csv_text([header, *rows])))


def escape_surrogates(text: str) -> str:
    r"""Replace the bytes of file names that are not UTF-8, which Python decodes as surrogates, by \udcXX."""
    return text.encode(errors="backslashreplace").decode()
