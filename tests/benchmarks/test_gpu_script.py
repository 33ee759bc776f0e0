"""benchmarks/gpu.sh, tried on the CPU with tiny sizes: it writes its table, and a bad part does not stop the others."""

from __future__ import annotations

import importlib.util
import os
import subprocess
import sys
from pathlib import Path

import pytest

FOLDER = Path(__file__).parents[2] / "benchmarks"
TINY = ["--device", "cpu", "--tiny"]


@pytest.fixture(scope="module")
def gpu():
    spec = importlib.util.spec_from_file_location("gpu", FOLDER / "gpu.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def run(tmp_path: Path, *arguments: str) -> tuple[int, str]:
    """Exit code and the table."""
    out = tmp_path / "table.md"
    done = subprocess.run(
        [FOLDER / "gpu.sh", *TINY, "--out", out, *arguments],
        env={**os.environ, "PYTHON": sys.executable, "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        timeout=300,
    )
    return done.returncode, out.read_text() if out.exists() else done.stderr


def test_parts_fill_one_table(tmp_path):
    """From the shell, in processes of their own, an epoch of training among them."""
    code, table = run(tmp_path, "--only", "kernel", "epoch")
    assert code == 0, table
    assert "| kernel | native, float32: gradients, largest difference from float64 / largest value |" in table
    assert "| epoch | epoch of 6 iterations and a validation, avcil, float32 |" in table
    assert "FAILED" not in table


def test_a_part_out_of_time_and_the_next(gpu, tmp_path, monkeypatch, capsys):
    """A part that exceeds its limit is ended; what fails is a row and the exit code is 1; the next part runs."""
    monkeypatch.setitem(gpu.PARTS, "ave-ci", 0.1)
    monkeypatch.setattr(
        sys, "argv", ["gpu", *TINY, "--out", str(tmp_path / "t.md"), "--only", "ave-ci", "kernel"]
    )
    monkeypatch.setenv("PYTHONPATH", str(FOLDER))
    assert gpu.main() == 1
    table = (tmp_path / "t.md").read_text()
    assert "| ave-ci | FAILED | out of time after 0 s |" in table
    assert "| kernel | native, float32: keys" in table


def test_a_failing_part_says_why(gpu):
    """The last line of what it wrote to standard error."""
    rows, failure = gpu.run_part("kernel", 60, ["--device", "abacus"])
    assert rows == []
    assert "invalid choice: 'abacus'" in failure


def test_no_time_left(gpu, tmp_path, monkeypatch):
    """Parts for which the whole limit leaves no time are named, too."""
    monkeypatch.setattr(sys, "argv", ["gpu", *TINY, "--out", str(tmp_path / "t.md"), "--limit", "0"])
    assert gpu.main() == 1
    assert (tmp_path / "t.md").read_text().count("no time left for it") == len(gpu.PARTS)
