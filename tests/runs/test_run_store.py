"""Stored features are only predicted if they come from the store that the run was trained on."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from avcil.errors import InputError
from avcil.inference.held_out import clips_of_run
from avcil.runs.run_store import store_of_run
from avcil.saved_models.folder import load_saved
from avcil.training.config import TrainConfig
from avcil.training.run import train


def config(store: Path, out: Path) -> TrainConfig:
    return TrainConfig(features=store, out=out, classes_per_step=3)


@pytest.fixture
def run(store, tmp_path) -> Path:
    """A run on a store of its own."""
    shutil.copytree(store, tmp_path / "store")
    train(config(tmp_path / "store", tmp_path / "run"), quiet=True)
    return tmp_path / "run"


def rebuild(store: Path, **changes) -> None:
    """Replace the store by one from another extraction, with features of the same shapes."""
    manifest = json.loads((store / "manifest.json").read_text())
    (store / "manifest.json").write_text(json.dumps(manifest | changes))


def of_page(run: Path):
    result = clips_of_run(run, load_saved(run / "model"))
    return result, "; ".join(result.notes)


def test_store_of_the_run_is_accepted(run):
    store, reason = store_of_run(run)
    assert store is not None
    assert not reason
    held_out, reason = of_page(run)
    assert len(held_out.labels) == 24
    assert not reason


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"visual": {"shape": [2, 3, 12], "encoder": {"name": "other"}}}, "another visual encoder"),
        ({"audio": {"shape": [10], "encoder": {"name": "other"}}}, "another audio encoder"),
        ({"sampling": {"frames": 9, "sample_rate": 16000}}, "another sampling of clips"),
    ],
)
def test_store_with_another_encoder(run, changes, message):
    """The command line and the page use the same check."""
    rebuild(run.parent / "store", **changes)
    store, reason = store_of_run(run)
    assert store is None
    assert message in reason
    held_out, told = of_page(run)
    assert held_out.labels == ()
    assert told == f"the old classes are not evaluated: {reason}"
    with pytest.raises(InputError, match="the feature store has changed"):
        train(config(run.parent / "store", run), quiet=True)


def test_other_reasons(run, tmp_path):
    """Other clips, no store, no run: each has its message."""
    store = tmp_path / "store"
    (store / "unlisted.json").write_text('{"clips": ["c0/test/0"]}')
    assert store_of_run(run)[1].endswith("it has other clips, labels, splits or features")
    shutil.rmtree(store)
    assert "does not exist" in store_of_run(run)[1]
    assert "not a run directory" in store_of_run(run / "model")[1]
