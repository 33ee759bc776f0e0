"""Fake modules that replace packages."""

from __future__ import annotations

import pytest


@pytest.fixture
def fake_module(tmp_path, monkeypatch):
    """Replace a package by a module, for processes started from here."""

    def write(name, code):
        (tmp_path / f"{name}.py").write_text(code)
        monkeypatch.syspath_prepend(str(tmp_path))

    return write
