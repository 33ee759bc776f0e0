"""docs/architecture.md names functions that exist."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "architecture.md").read_text(encoding="utf-8")
PATHS = {"What happens to a clip": 15, "What happens when a class is added": 10}
"""The sections with call paths, and the maximum number of functions of each."""


def listed(title: str) -> list[tuple[str, str]]:
    """File and function of each row of a section's table."""
    section = PAGE.split(f"\n## {title}\n")[1].split("\n## ")[0]
    return re.findall(r"\| `([\w/]+\.py):([\w.]+)` \|", section)


def functions(file: str) -> set[str]:
    """Functions and methods that a file of avcil defines, as `function` and `Class.method`."""
    result = set()
    for node in ast.parse((ROOT / "src" / "avcil" / file).read_text(encoding="utf-8")).body:
        if isinstance(node, ast.FunctionDef):
            result.add(node.name)
        elif isinstance(node, ast.ClassDef):
            result |= {f"{node.name}.{part.name}" for part in node.body if isinstance(part, ast.FunctionDef)}
    return result


@pytest.mark.parametrize("title", PATHS)
def test_every_function_of_a_call_path_exists(title: str) -> None:
    """A renamed or moved function must be renamed in the page."""
    rows = listed(title)
    assert 5 < len(rows) <= PATHS[title]
    assert [f"{file}:{name}" for file, name in rows if name not in functions(file)] == []


def test_call_paths_have_at_most_ten_functions() -> None:
    """A reader must be able to follow a command from its options to its result."""
    section = PAGE.split("\n## What happens to a clip\n")[1].split("\n## ")[0]
    commands = re.split(r"\| `avcil \w+` ", section)[1:]
    assert len(commands) == 4
    assert all(text.count(".py:") <= 10 for text in commands)
