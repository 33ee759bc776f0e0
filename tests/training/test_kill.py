"""A run that is killed with SIGKILL and resumed has bit-identical results."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

DRIVER = Path(__file__).parent / "killed_runs.py"
STEPS = [["c0", "c1", "c2"], ["c5"], ["c3", "c4"]]
ONCE = [[event] for event in (1, 3, 8, 14, 23, 38, 56, 71, 86, 101, 121)]
OFTEN = [[20, 20], [9, 1, 2, 3], [60, 60]]
COMPARED = ("accuracy_matrix.csv", "config.json", "env.json", "metrics.jsonl")


def run_all(store: Path, folder: Path, method: list[str], plan: list[list[int]]) -> list[list[int]]:
    steps = folder / "steps.json"
    folder.mkdir(exist_ok=True)
    steps.write_text(json.dumps(STEPS))
    command = [
        "train",
        str(store),
        "--steps",
        str(steps),
        "--epochs",
        "3",
        "--checkpoint-seconds",
        "0",
        *method,
    ]
    command += ["--batch-size", "8", "--exemplar-batch-size", "4", "--learning-rate", "0.005"]
    done = subprocess.run(
        [sys.executable, DRIVER, json.dumps(command), folder, json.dumps(plan)],
        capture_output=True,
        text=True,
        env=os.environ | {"OMP_NUM_THREADS": "1"},
        timeout=300,
    )
    assert done.returncode == 0, done.stderr
    return [json.loads(line) for line in done.stdout.splitlines()]


def contents(run: Path) -> dict[str, bytes]:
    """The files of a run without its lock and without times."""
    files = {str(path.relative_to(run)): path.read_bytes() for path in run.rglob("*") if path.is_file()}
    del files[".lock"]
    for name in files:
        if name == "results.json" or name.endswith("state.json"):
            value = json.loads(files[name])
            files[name] = json.dumps({k: v for k, v in value.items() if not k.startswith("seconds")}).encode()
    return files


@pytest.mark.parametrize(
    ("method", "plan"),
    [
        (["--method", "av-cil", "--exemplars-per-class", "3"], [*ONCE, *OFTEN]),
        (["--method", "icarl", "--exemplars", "13"], [[62], [30, 30]]),
        (["--method", "rls"], [[6], [4, 4]]),
        (["--method", "joint", "--selection", "last"], [[70]]),
    ],
    ids=lambda value: value[1] if isinstance(value[0], str) else "",
)
def test_kill_at_any_event(method, plan, store, tmp_path):
    """Killed at any event or within a line, the resumed run has the same bytes and no additional files."""
    folder = tmp_path / "runs"
    ends = run_all(store, folder, method, [[], *plan])
    assert ends[0] == [0]
    uninterrupted = contents(folder / "0")
    assert set(COMPARED) <= set(uninterrupted)
    for number, (deaths, end) in enumerate(zip(plan, ends[1:], strict=True), start=1):
        assert end == [signal.SIGKILL] * len(deaths) + [0], deaths
        again = contents(folder / str(number))
        assert again.keys() == uninterrupted.keys(), deaths
        assert not [name for name in again if again[name] != uninterrupted[name]], deaths
