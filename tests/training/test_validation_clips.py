"""Classes without validation clips: other classes select the epoch, or the last epoch is used."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np

from avcil.data.clips import Clip
from avcil.features import FeatureSpec, FeatureWriter, Manifest
from avcil.training.config import TrainConfig
from avcil.training.run import train


def make(folder: Path, with_validation: set[int]) -> Path:
    """A store of four classes, of which some have validation clips."""
    manifest = Manifest(visual=FeatureSpec(shape=(2, 3, 12)), audio=FeatureSpec(shape=(10,)))
    rng = np.random.default_rng(0)
    with FeatureWriter(folder, manifest) as writer:
        for label in range(4):
            for split, count in {"train": 6, "val": 3 * (label in with_validation), "test": 2}.items():
                for number in range(count):
                    clip_id = f"{label}/{split}/{number}"
                    clip = Clip(clip_id=clip_id, path=Path(clip_id), label=f"c{label}", split=split)
                    visual, audio = rng.standard_normal((2, 3, 12)), rng.standard_normal(10)
                    writer.add(clip, visual=visual + label, audio=audio - label)
    return folder


def run(store: Path, out: Path, method: str = "lwf") -> list[dict]:
    train(TrainConfig(features=store, out=out, method=method, classes_per_step=2, epochs=3, batch_size=4))
    return [json.loads((out / "checkpoints" / f"step_{k}" / "state.json").read_text()) for k in range(2)]


def test_step_without_validation_clips(tmp_path, capsys):
    """Old classes alone would select the epoch with the least learning, so the last epoch is used, with a message."""
    states = run(make(tmp_path / "store", {0, 1}), tmp_path / "run")
    assert (states[1]["best_epoch"], states[1]["val_accuracy"]) == (2, None)
    assert states[0]["val_accuracy"] is not None
    message = "".join(capsys.readouterr())
    assert (
        "step 2: no validation clip of 'c2', 'c3', which are all its new classes; it ends with the last epoch"
        in message
    )


def test_step_with_validation_clips_of_some_classes(tmp_path, capsys):
    """The classes with validation clips select the epoch."""
    states = run(make(tmp_path / "store", {0, 1, 2}), tmp_path / "run")
    assert states[1]["val_accuracy"] is not None
    message = "".join(capsys.readouterr())
    assert (
        "step 2: no validation clip of 'c3'; the best epoch is selected by the other classes seen" in message
    )


def test_method_without_epochs_needs_no_validation_clips(tmp_path, capsys):
    run(make(tmp_path / "store", set()), tmp_path / "run", method="blade")
    assert "validation" not in "".join(capsys.readouterr())


def test_first_step_without_validation_clips(tmp_path, capsys):
    """The last epoch is used; the next step selects its epoch with validation clips."""
    states = run(make(tmp_path / "store", {2, 3}), tmp_path / "run")
    assert (states[0]["best_epoch"], states[0]["val_accuracy"]) == (2, None)
    assert states[1]["val_accuracy"] is not None
    assert "step 1: no validation clip of 'c0', 'c1', which are all its new classes" in "".join(
        capsys.readouterr()
    )
