"""The login page, which loads no other files."""

from __future__ import annotations

from avcil.utils.templates import render


def login_html(problem: str = "") -> str:
    """The page as HTML; `problem` is the error of the last attempt."""
    return str(render("avcil.serve", "login", problem=problem))
