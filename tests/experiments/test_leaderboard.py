"""The script that writes docs/leaderboard.md, on a small store."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]


def test_page_has_the_results(store: Path, tmp_path: Path) -> None:
    """A table for each stream and one at equal bytes, with the excluded methods; a second call changes nothing."""
    arguments = [
        sys.executable,
        ROOT / "scripts" / "leaderboard.py",
        tmp_path / "work",
        "--data",
        f"small={store}:3",
    ]
    arguments += ["--orders", "0", "--stream-orders", "0", "--epochs", "1", "--jobs", "2", "--out", tmp_path]
    arguments += [
        "--methods",
        "ncm",
        "icarl-nme",
        "joint",
        "--exemplars",
        "1",
        "2",
        "--streams",
        "few-shot,ways=2,shots=2",
        "online",
    ]
    subprocess.run(list(map(str, arguments)), check=True, capture_output=True)
    page = (tmp_path / "leaderboard.md").read_text(encoding="utf-8")
    assert page.count("| `ncm` |") == 6
    assert page.count("| `joint` |") == 5
    assert "| method | small | mean |" in page
    assert "| method | few-shot | online |" in page
    assert "Left out: joint (cannot" in page
    assert "| method | no exemplars | 1 | 2 |" in page
    (row,) = (line for line in page.splitlines() if line.startswith("| `icarl-nme` |  |"))
    assert row.count("(") == 2
    assert "avcil reproduce small --out table --streams few-shot,ways=2,shots=2" in page
    for figure in ("curves", "costs"):
        assert (tmp_path / "leaderboard" / f"small-{figure}.svg").stat().st_size > 1000
    curves = (tmp_path / "leaderboard" / "small-curves.svg").read_bytes()
    subprocess.run(list(map(str, arguments)), check=True, capture_output=True)
    assert (tmp_path / "leaderboard.md").read_text(encoding="utf-8") == page
    assert (tmp_path / "leaderboard" / "small-curves.svg").read_bytes() == curves
