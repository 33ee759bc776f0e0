"""Templates escape their values and join lines without whitespace between tags."""

from __future__ import annotations

import pytest
from jinja2 import UndefinedError
from markupsafe import Markup

from avcil.utils.templates import macro, render


def test_values_are_escaped_and_markup_is_not() -> None:
    """User-defined names cannot add HTML; values of type Markup are inserted unchanged."""
    page = render("avcil.serve", "login", problem="<script>&")
    assert "<script>" not in page
    assert "&lt;script&gt;&amp;" in page
    assert "<svg>" in macro("avcil.serve", "parts", "problem", Markup("<svg></svg>"))
    assert "&lt;svg&gt;" in macro("avcil.serve", "parts", "problem", "<svg></svg>")


def test_lines_are_joined() -> None:
    """Whitespace between elements would appear as spaces between words."""
    assert (
        macro("avcil.serve", "parts", "notes_list", ["a", "b"])
        == '<ul class="notes"><li>a</li><li>b</li></ul>'
    )


def test_missing_value_is_an_error() -> None:
    """A variable without a value is an error, not an empty text."""
    with pytest.raises(UndefinedError):
        render("avcil.serve", "login")
