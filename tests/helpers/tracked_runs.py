"""Runs that are logged to an experiment tracker."""

from __future__ import annotations

import json
from pathlib import Path

from avcil.training.config import TrainConfig


def config(store: Path, out: Path, **changes) -> TrainConfig:
    settings = {
        "method": "av-cil",
        "classes_per_step": 2,
        "epochs": 3,
        "batch_size": 8,
        "exemplars_per_class": 2,
        "checkpoint_seconds": 0.0,
        "track": "tensorboard",
    }
    return TrainConfig(features=store, out=out, **settings | changes)


def lines(run: Path) -> list[dict]:
    return [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]


class Stopped(BaseException):
    """An interruption like Ctrl-C, as an exception that only this test raises."""
