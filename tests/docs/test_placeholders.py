"""No page is left with a hole where a figure was to come."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PAGES = sorted([ROOT / "README.md", ROOT / "CHANGELOG.md", *(ROOT / "docs").rglob("*.md")])


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_nothing_is_left_to_be_filled_in(page):
    """Neither a mark of a figure to come nor a note to the writer."""
    text = page.read_text(encoding="utf-8")
    assert not re.search(r"@[A-Z]+@|\bTODO\b|\bFIXME\b", text)
