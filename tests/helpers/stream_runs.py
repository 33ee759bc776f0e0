"""Configurations of small runs on streams."""

from __future__ import annotations

from pathlib import Path

from small_options import small_options

from avcil.methods.registry import load_method
from avcil.training.config import TrainConfig


def config(store: Path, out: Path, method: str, stream: str, **changes) -> TrainConfig:
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
        "set": small_options(method),
        **epochs,
    }
    return TrainConfig(features=store, out=out, method=method, **settings | changes)
