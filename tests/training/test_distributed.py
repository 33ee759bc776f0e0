"""Distributed training with Gloo gives the same results as one process."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from avcil.saved_models.folder import load_tensors

WORDS = [
    *("--classes-per-step", "2", "--epochs", "3", "--batch-size", "7", "--exemplar-batch-size", "5"),
    *("--exemplars-per-class", "2", "--precision", "float64", "--learning-rate", "5e-3"),
    *("--checkpoint-seconds", "0"),
]


def run(store: Path, out: Path, method: str, *, processes: int, check: bool = True, **variables: str):
    """`avcil train` in one process, or in several by torchrun."""
    launch = ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node", str(processes)]
    command = [sys.executable, *(launch if processes > 1 else []), "-m", "avcil", "train", str(store)]
    done = subprocess.run(
        [*command, "--out", str(out), "--method", method, *WORDS],
        env=os.environ | {"OMP_NUM_THREADS": "1"} | variables,
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert not check or done.returncode == 0, done.stderr
    return done


def losses(out: Path) -> list[float]:
    return [json.loads(line)["loss"] for line in (out / "metrics.jsonl").read_text().splitlines()]


@pytest.mark.parametrize("method", ["av-cil", "icarl"])
def test_two_processes_equal_one(method, store, tmp_path):
    """With losses between clips of a batch: losses agree to 1e-9, weights to 1e-8; output is printed once."""
    run(store, tmp_path / "one", method, processes=1)
    done = run(store, tmp_path / "two", method, processes=2)
    assert losses(tmp_path / "two") == pytest.approx(losses(tmp_path / "one"), rel=1e-9)
    one, two = (load_tensors(tmp_path / name / "model" / "model.safetensors") for name in ("one", "two"))
    for name, tensor in one.items():
        torch.testing.assert_close(two[name], tensor, rtol=1e-8, atol=1e-9)
    matrices = [(tmp_path / name / "accuracy_matrix.csv").read_text() for name in ("one", "two")]
    assert matrices[0] == matrices[1]
    assert json.loads((tmp_path / "two" / "env.json").read_text())["processes"] == 2
    assert done.stdout.count("the model is in") == 1


def test_distributed_run_resumes_after_a_kill(store, tmp_path):
    """After a kill of both processes within a step, the same command gives the files of an uninterrupted run."""
    run(store, tmp_path / "whole", "av-cil", processes=2)
    deadly = tmp_path / "sitecustomize.py"
    deadly.write_text(
        "import os, signal\n"
        "from avcil.training.adam import Adam\n"
        "step, left = Adam.step, [int(os.environ.get('DIE_AT', '0'))]\n"
        "def counted(*a, **k):\n"
        "    left[0] -= 1\n"
        "    if left[0] == 0: os.kill(os.getpid(), signal.SIGKILL)\n"
        "    return step(*a, **k)\n"
        "Adam.step = counted\n"
    )
    path = os.pathsep.join(filter(None, [str(tmp_path), os.environ.get("PYTHONPATH")]))
    killed = run(store, tmp_path / "run", "av-cil", processes=2, check=False, DIE_AT="11", PYTHONPATH=path)
    assert killed.returncode != 0
    assert not (tmp_path / "run" / "results.json").exists()
    run(store, tmp_path / "run", "av-cil", processes=2)
    for name in ("metrics.jsonl", "accuracy_matrix.csv", "model/model.safetensors"):
        assert (tmp_path / "run" / name).read_bytes() == (tmp_path / "whole" / name).read_bytes(), name


def test_closed_form_methods_need_a_single_process(store, tmp_path):
    """A closed-form method has no batches to divide, so several processes are an error."""
    done = run(store, tmp_path / "run", "blade", processes=2, check=False)
    assert done.returncode != 0
    assert "start it without torchrun" in done.stderr
