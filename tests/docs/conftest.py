"""Imports the scripts in docs/theme, which is not a package."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import pytest

THEME = Path(__file__).parents[2] / "docs" / "theme"


@pytest.fixture(scope="session")
def theme() -> Callable[[str], ModuleType]:
    """Import a module of docs/theme by its name."""

    def load(name: str) -> ModuleType:
        sys.path.insert(0, str(THEME))
        try:
            return importlib.import_module(name)
        finally:
            sys.path.remove(str(THEME))

    return load
