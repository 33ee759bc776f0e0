"""Modules in the place of packages."""

from __future__ import annotations

import pytest


@pytest.fixture
def fake_module(tmp_path, monkeypatch):
    """Put a module in the place of a package, for processes started from here."""

    def write(name, code):
        (tmp_path / f"{name}.py").write_text(code)
        monkeypatch.syspath_prepend(str(tmp_path))

    return write
