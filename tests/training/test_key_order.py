"""state.json and metrics.jsonl have one order of keys, also in a resumed run."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

from avcil.training.config import TrainConfig
from avcil.training.run import train


def test_metrics_have_the_same_order_after_a_restore(store: Path, tmp_path: Path) -> None:
    """Loaded statistics have the order of their file, which differs from that of a new run."""
    config = TrainConfig(features=store, out=tmp_path / "run", method="blade", classes_per_step=3)
    train(config, quiet=True)
    step = tmp_path / "run" / "checkpoints" / "step_1"
    before = json.loads((step / "state.json").read_text())
    shutil.rmtree(step)
    shutil.rmtree(tmp_path / "run" / "model")
    (tmp_path / "run" / "results.json").unlink()
    train(config, quiet=True)
    after = json.loads((step / "state.json").read_text())
    assert list(after) == list(before)
    assert list(after["report"]) == list(before["report"]) == sorted(after["report"])
    lines = [json.loads(line) for line in (tmp_path / "run" / "metrics.jsonl").read_text().splitlines()]
    assert [list(line["report"]) for line in lines] == [sorted(line["report"]) for line in lines]
