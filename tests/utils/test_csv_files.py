"""CSV files that are invalid or lack the expected columns."""

from __future__ import annotations

import pytest

from avcil.errors import InputError
from avcil.utils.csv_files import read_columns, read_rows

TOO_LONG = b"a,b\n" + b"x" * 200_000
"""A field beyond the limit of Python's csv module, which raises csv.Error."""


@pytest.mark.parametrize(
    ("content", "message"), [(TOO_LONG, "is not CSV: "), (b"\xff", "is not UTF-8 text: ")]
)
def test_invalid_csv_is_an_input_error(tmp_path, content, message):
    """The message names the file and what is expected."""
    path = tmp_path / "table.csv"
    path.write_bytes(content)
    for read in (read_rows, lambda path, **expected: list(read_columns(path, ("a", "b"), **expected))):
        with pytest.raises(InputError, match=f"table.csv {message}.*Expected is a table"):
            read(path, expected="Expected is a table")


def test_columns_are_found_by_name(tmp_path):
    """Other columns are ignored; the reported line number is that of the last line of a row."""
    path = tmp_path / "table.csv"
    path.write_text('b,c,a\n1,2,"3\n4"\n5\n')
    rows = list(read_columns(path, ("a", "b"), expected=""))
    assert rows == [(f"{path}, line 3", ["3\n4", "1"]), (f"{path}, line 4", ["", "5"])]
