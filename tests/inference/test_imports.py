"""Modules imported by predicting and training: unused code must not delay the start."""

from __future__ import annotations

import json
import subprocess
import sys

COMMANDS = """
import json, sys
from avcil.cli.main import main

def modules_after(*words):
    try:
        main(words)
    except SystemExit as end:
        assert not end.code, words
    return sorted(sys.modules)

run, clip, features, out = sys.argv[1:]
predict = modules_after("predict", run, clip)
train = modules_after("train", features, "--method", "av-cil", "--classes-per-step", "2", "--epochs", "1", "--out", out)
print(json.dumps([predict, train]))
"""
COMPILER = {"torch._dynamo", "torch._inductor", "sympy"}
UNUSED = {
    "jinja2",
    "scipy",
    "sklearn",
    "pandas",
    "matplotlib",
    "transformers",
    "ray",
    "avcil.training.run",
    "avcil.inference.learning",
}


def test_predict_and_train_import_only_what_they_use(trained, tmp_path):
    """Neither imports PyTorch's compiler; predict imports no training code and no drawing or science package."""
    clip = trained / "clips" / "test-0-0.mp4"
    arguments = (trained / "av", clip, trained / "features", tmp_path / "run")
    done = subprocess.run(
        [sys.executable, "-c", COMMANDS, *map(str, arguments)], capture_output=True, text=True, timeout=300
    )
    assert done.returncode == 0, done.stderr
    predict, train = map(set, json.loads(done.stdout.splitlines()[-1]))
    assert not predict & (COMPILER | UNUSED)
    assert not train & COMPILER
