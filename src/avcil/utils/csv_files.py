"""Reading and writing CSV files."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

from avcil.errors import InputError
from avcil.utils.files import write_text
from avcil.utils.input_files import read_text

MAX_BYTES = 64 << 20
"""Default maximum size of a file."""


def read_rows(path: Path, *, limit: int = MAX_BYTES, expected: str = "", **options: Any) -> list[list[str]]:
    """The rows of a CSV file in UTF-8.

    Args:
        path: The file.
        limit: Maximum size in bytes.
        expected: A sentence for error messages: what the file should be.
        options: Options of `csv.reader`.

    Raises:
        InputError: The file cannot be read, or is not CSV in UTF-8.
    """
    text = read_text(path, limit=limit, expected=expected)
    try:
        return list(csv.reader(io.StringIO(text, newline=""), **options))
    except csv.Error as error:
        raise _not_csv(path, error, expected) from None


def read_columns(path: Path, columns: Sequence[str], *, expected: str) -> Iterator[tuple[str, list[str]]]:
    """For each row of a CSV file with a header: file and line for messages, and the cells of `columns`.

    Other columns are ignored; missing cells are empty. Arguments and errors are as for `read_rows`, and a file that
    lacks one of the columns is an error.
    """
    reader = csv.DictReader(io.StringIO(read_text(path, limit=MAX_BYTES, expected=expected), newline=""))
    try:
        if not set(columns) <= set(reader.fieldnames or ()):
            raise InputError(f"{path} has the columns {','.join(reader.fieldnames or ())!r:.120}. {expected}")
        for row in reader:
            yield f"{path}, line {reader.line_num}", [row[name] or "" for name in columns]
    except csv.Error as error:
        raise _not_csv(path, error, expected) from None


def _not_csv(path: Path, error: csv.Error, expected: str) -> InputError:
    return InputError(f"{path} is not CSV: {error}. {expected}".removesuffix(". "))


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
