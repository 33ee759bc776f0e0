"""`Modality` is the only way to check which modalities are present."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from avcil.data.modality import Modality
from avcil.errors import InputError

SOURCE = Path(__file__).parents[2] / "src"
SUBSTRING = re.compile(r"""["'](?:audio|visual)["']\s+(?:not\s+)?in\s+(?:\w+\.)*modality\b""")


def test_no_substring_searches() -> None:
    """ "audio" in a string is true for any string that contains it, so a wrong modality would not be noticed."""
    assert SUBSTRING.search('if "audio" not in data.modality')
    result = [
        f"{path.relative_to(SOURCE)}: {match}"
        for path in SOURCE.rglob("*.py")
        for match in SUBSTRING.findall(path.read_text(encoding="utf-8"))
    ]
    assert result == []


@pytest.mark.parametrize(("modality", "parts"), [("audio-visual", ["audio", "visual"]), ("audio", ["audio"])])
def test_parts(modality: str, parts: list[str]) -> None:
    """Members equal the words in files and options."""
    assert list(Modality(modality).parts) == parts
    assert (
        Modality.of(has_audio="audio" in parts, has_visual="visual" in parts)
        == modality
        == str(Modality(modality))
    )


def test_unknown_modality() -> None:
    """The message lists what is allowed."""
    with pytest.raises(InputError, match="did you mean audio"):
        Modality("aduio")
    assert Modality.of(has_audio=False, has_visual=False) is None
