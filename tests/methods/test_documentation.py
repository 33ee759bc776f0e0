"""The page on adding a method has a working method."""

from __future__ import annotations

from pathlib import Path

from avcil.methods.base import GradientMethod, Method

PAGE = Path(__file__).parents[2] / "docs" / "adding-a-method.md"
EXAMPLE = Path(__file__).parent / "example_method.py"


def test_example_equals_the_tested_file():
    """The code on the page is the file that the suite runs, and has fewer than 60 lines."""
    code = EXAMPLE.read_text(encoding="utf-8")
    assert f"```python\n{code}```" in PAGE.read_text(encoding="utf-8")
    assert len(code.splitlines()) < 60


def test_every_attribute_is_on_the_page():
    """The page's table has every attribute of a method."""
    page = PAGE.read_text(encoding="utf-8")
    message = {*Method.__annotations__, *GradientMethod.__annotations__}
    message |= {name for name in vars(GradientMethod) if not name.startswith("_")}
    assert [name for name in message if f"`{name}" not in page] == []
