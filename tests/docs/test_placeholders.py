"""No page contains a placeholder."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PAGES = sorted([ROOT / "README.md", ROOT / "CHANGELOG.md", *(ROOT / "docs").rglob("*.md")])


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_no_placeholders(page):
    """Neither a mark for a missing number nor a note to the author."""
    text = page.read_text(encoding="utf-8")
    assert not re.search(r"@[A-Z]+@|\bTODO\b|\bFIXME\b", text)
