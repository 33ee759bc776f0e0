"""Templates escape what they are given, and join their lines without blanks beside tags."""

from __future__ import annotations

import pytest
from jinja2 import UndefinedError
from markupsafe import Markup

from avcil.utils.templates import macro, render


def test_values_are_escaped_and_markup_is_not() -> None:
    """Names that people chose cannot become HTML; figures that were drawn stay."""
    page = render("avcil.serve", "login", problem="<script>&")
    assert "<script>" not in page
    assert "&lt;script&gt;&amp;" in page
    assert "<svg>" in macro("avcil.serve", "parts", "problem", Markup("<svg></svg>"))
    assert "&lt;svg&gt;" in macro("avcil.serve", "parts", "problem", "<svg></svg>")


def test_lines_are_joined() -> None:
    """Blanks between elements would be shown between words."""
    assert (
        macro("avcil.serve", "parts", "notes_list", ["a", "b"])
        == '<ul class="notes"><li>a</li><li>b</li></ul>'
    )


def test_a_missing_value_is_an_error() -> None:
    """A page never lacks something silently."""
    with pytest.raises(UndefinedError):
        render("avcil.serve", "login")
