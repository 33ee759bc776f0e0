"""The page that asks for the password; it loads nothing."""

from __future__ import annotations

from avcil.utils.templates import render


def login_html(problem: str = "") -> str:
    """Make the page.

    Args:
        problem: What went wrong with the last attempt, if anything.
    """
    return str(render("avcil.serve", "login", problem=problem))
