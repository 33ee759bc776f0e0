"""Configurations of small runs on streams."""

from __future__ import annotations

import dataclasses
from pathlib import Path

from avcil.methods.registry import load_method
from avcil.training.config import TrainConfig


def config(store: Path, out: Path, method: str, stream: str, **changes) -> TrainConfig:
    fields = {field.name for field in dataclasses.fields(load_method(method).Options)}
    given = not stream.startswith(("few-shot", "blurry", "domain-incremental"))
    epochs = (
        {}
        if stream.startswith(("online", "blurry"))
        else {"epochs": 2, "batch_size": 8, "exemplar_batch_size": 4}
    )
    settings = {
        "stream": stream,
        "classes_per_step": 2 if given else None,
        "exemplars_per_class": 2 if load_method(method).rehearsal != "none" else None,
        "set": ("features=48",) if "features" in fields else (),
        **epochs,
    }
    return TrainConfig(features=store, out=out, method=method, **settings | changes)
