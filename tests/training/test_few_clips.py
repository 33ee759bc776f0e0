"""Gradient methods train with one clip per class, with fewer clips than a batch, and with one class per step."""

from __future__ import annotations

import json
import math

import pytest

from avcil.methods.base import GradientMethod
from avcil.methods.registry import load_method, method_names
from avcil.training.config import TrainConfig
from avcil.training.run import train

CLASSES = 3
VARIANTS = {
    "icarl": [("classifier=fc",), ("classifier=nme",)],
    "afc": [("classifier=lsc",), ("classifier=nme",)],
}
CASES = [
    (name, words)
    for name in method_names()
    if issubclass(load_method(name), GradientMethod)
    for words in VARIANTS.get(name, [()])
]


@pytest.mark.slow
@pytest.mark.parametrize("per_step", [1, 2])
@pytest.mark.parametrize("counts", [(1, 0), (3, 1)], ids=lambda counts: f"{counts[0]} train {counts[1]} val")
@pytest.mark.parametrize(("name", "words"), CASES, ids=[" ".join((n, *w)) for n, w in CASES])
def test_run_with_few_clips(name, words, counts, per_step, new_store, tmp_path, capsys):
    """Every step is trained and tested; a note says that without validation clips the last epoch is used."""
    config = TrainConfig(
        features=new_store(classes=CLASSES, counts={"train": counts[0], "val": counts[1], "test": 2}),
        out=tmp_path / "run",
        method=name,
        set=words,
        classes_per_step=per_step,
        epochs=2,
        batch_size=64,
        exemplar_batch_size=32,
        exemplars=None if load_method(name).rehearsal == "none" else CLASSES,
    )
    results = train(config)
    steps = -(-CLASSES // per_step)
    assert len(results["accuracy_per_step"]) == steps
    message = "".join(capsys.readouterr())
    assert message.count("it ends with the last epoch") == (0 if counts[1] else steps)
    losses = [json.loads(line)["loss"] for line in (tmp_path / "run/metrics.jsonl").read_text().splitlines()]
    assert len(losses) == 2 * steps
    assert all(math.isfinite(loss) for loss in losses)
