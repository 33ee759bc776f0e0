"""A replacement of the probe of media files."""

from __future__ import annotations

import pytest
from scan_folders import fake_probe


@pytest.fixture
def fake_media(monkeypatch) -> None:
    """The content of a file is its kind: "av", "video" or "audio"; everything else is damaged."""
    monkeypatch.setattr("avcil.media.probe", fake_probe)
