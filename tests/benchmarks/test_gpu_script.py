"""benchmarks/gpu.sh on the CPU with small sizes: it writes its table, and a failing part does not stop the others."""

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


@pytest.mark.slow
def test_parts_write_one_table(tmp_path):
    """The parts, with an epoch of training, run in separate processes started by the shell."""
    code, table = run(tmp_path, "--only", "kernel", "epoch")
    assert code == 0, table
    assert "| kernel | native, float32: gradients, largest difference from float64 / largest value |" in table
    assert "| epoch | epoch of 6 iterations and a validation, avcil, float32 |" in table
    assert "FAILED" not in table


def test_part_over_its_time_limit(gpu, tmp_path, monkeypatch, capsys):
    """It is ended; the table has a row for the failure, the exit code is 1, and the next part runs."""
    monkeypatch.setitem(gpu.PARTS, "ave-ci", 0.1)
    monkeypatch.setattr(
        sys, "argv", ["gpu", *TINY, "--out", str(tmp_path / "t.md"), "--only", "ave-ci", "kernel"]
    )
    monkeypatch.setenv("PYTHONPATH", str(FOLDER))
    assert gpu.main() == 1
    table = (tmp_path / "t.md").read_text()
    assert "| ave-ci | FAILED | out of time after 0 s |" in table
    assert "| kernel | native, float32: keys" in table


def test_failing_part_has_a_reason(gpu):
    """The row has the last line that the part wrote to standard error."""
    rows, failure = gpu.run_part("kernel", 60, ["--device", "abacus"])
    assert rows == []
    assert "invalid choice: 'abacus'" in failure


def test_no_time_left(gpu, tmp_path, monkeypatch):
    """Parts without remaining time are also listed."""
    monkeypatch.setattr(sys, "argv", ["gpu", *TINY, "--out", str(tmp_path / "t.md"), "--limit", "0"])
    assert gpu.main() == 1
    assert (tmp_path / "t.md").read_text().count("no time left for it") == len(gpu.PARTS)
