"""`avcil train` names options that have no effect on the method."""

from __future__ import annotations

from pathlib import Path

import pytest

from avcil.training.config import TrainConfig
from avcil.training.resolve import unused_options

CHANGED = {"epochs": 5, "batch_size": 8, "exemplar_batch_size": 8, "learning_rate": 0.1, "exemplars": 9}


@pytest.mark.parametrize(
    ("method", "unused"),
    [
        ("blade", ["--epochs", "--batch-size", "--exemplar-batch-size", "--learning-rate", "--exemplars"]),
        ("fine-tuning", ["--exemplar-batch-size", "--exemplars"]),
        ("icarl", ["--exemplar-batch-size"]),  # exemplars and new clips are in the same batches
        ("av-cil", []),
        ("er", []),
    ],
)
def test_unused_options(method, unused):
    """Only options that differ from their defaults, and only those that the method ignores."""
    settings = {"features": Path("store"), "out": Path("run"), "method": method, "classes_per_step": 2}
    assert unused_options(TrainConfig(**settings, **CHANGED)) == unused
    assert unused_options(TrainConfig(**settings)) == []


def test_train_prints_them(store, tmp_path, avcil, capsys):
    """Before training, in one line."""
    assert avcil("train", store, "--out", tmp_path / "run", "--classes-per-step", 3, "--epochs", 7) == 0
    assert capsys.readouterr().out.splitlines()[0] == "blade does not use --epochs"
