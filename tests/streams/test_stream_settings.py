"""The settings of a run on a stream: options, seeds, batches and epochs, and the identity of the stream."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from stream_runs import config

from avcil.errors import InputError
from avcil.features import FeatureStore
from avcil.saved_models.folder import load_tensors
from avcil.training.config import TrainConfig
from avcil.training.gradient import batches
from avcil.training.run import Run, train


def test_configuration_contains_the_stream(store, tmp_path):
    """A run is not resumed with another stream, nor with other clips in its tasks."""
    train(config(store, tmp_path / "run", "blade", "few-shot,ways=1,shots=2"), quiet=True)
    kept = json.loads((tmp_path / "run" / "config.json").read_text())["stream"]
    assert kept["name"] == "few-shot"
    assert kept["options"] == {"base": 0, "ways": 1, "shots": 2}
    with pytest.raises(InputError, match="stream"):
        train(config(store, tmp_path / "run", "blade", "few-shot,ways=1,shots=1"), quiet=True)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"stream": "few-shot", "classes_per_step": 2}, "defines its own tasks"),
        ({"stream": "recurring", "classes_per_step": None}, "the steps are not defined"),
        ({"stream": "online", "epochs": 7}, "prescribes --epochs 1"),
    ],
)
def test_invalid_options_of_a_stream(changes, words):
    """The message names the option."""
    given = {"features": Path("f"), "out": Path("o"), "classes_per_step": 2} | changes
    with pytest.raises(InputError, match=words):
        TrainConfig(**given)


def test_task_of_a_stream_equals_a_step(store, tmp_path):
    """The stream `online` with the batches and epochs of class-incremental training gives the same weights."""
    same = {
        "classes_per_step": 2,
        "epochs": 1,
        "batch_size": 4,
        "exemplar_batch_size": 4,
        "selection": "last",
    }
    common = {"features": store, "method": "er", "exemplars_per_class": 2}
    train(TrainConfig(**common, out=tmp_path / "one", **same), quiet=True)
    train(
        TrainConfig(**common, out=tmp_path / "two", classes_per_step=2, stream="online,batch_size=4"),
        quiet=True,
    )
    one, two = (load_tensors(tmp_path / name / "model" / "model.safetensors") for name in ("one", "two"))
    assert all(torch.equal(one[key], two[key]) for key in one)


def test_class_order_seed_is_the_stream_seed(store, tmp_path):
    """Two seeds give two streams; the training seed does not matter."""
    stream = "few-shot,ways=1,shots=1"
    kept = [
        Run(config(store, tmp_path / name, "ncm", stream, **seeds), quiet=True).data.stream.fingerprint
        for name, seeds in (("a", {"class_order_seed": 1}), ("b", {"class_order_seed": 2}),
                            ("c", {"class_order_seed": 1, "seed": 5}))
    ]  # fmt: skip
    assert kept[0] == kept[2] != kept[1]


@pytest.mark.parametrize("method", ["er", "icarl", "fine-tuning"])
def test_one_pass_uses_every_clip_once(method, store, tmp_path):
    """The last batch is incomplete: 16 new clips of a task in batches of 6."""
    run = Run(config(store, tmp_path / "run", method, "online,batch_size=6"), quiet=True)
    step = run.trainer._begin(0)
    rows = [
        row for batch in batches(run.trainer.method, step, run.settings, 0) for row in batch.rows.tolist()
    ]
    assert sorted(rows) == list(range(16))
    assert run.settings.epochs == 1


def test_memory_plan_uses_the_prescribed_batches(store, tmp_path):
    """The default batches would be larger."""
    assert (
        Run(config(store, tmp_path / "run", "er", "online,batch_size=4"), quiet=True).config.batch_size == 4
    )


def test_domain_without_validation_clips(domain_store, tmp_path):
    """It uses its last epoch; clips of the other domain would select the epoch with the least change."""
    store = FeatureStore(domain_store)
    kept = [clip for clip in store.clips if clip.split != "val" or clip.clip_id.startswith("clear")]
    file = tmp_path / "domains.csv"
    lines = "".join(f"{clip.clip_id},{clip.clip_id.split('/')[0]}\n" for clip in kept)
    file.write_text("clip_id,domain\n" + lines)
    train(
        config(domain_store, tmp_path / "run", "er", f"domain-incremental,file={file}", epochs=3), quiet=True
    )
    state = json.loads((tmp_path / "run" / "checkpoints" / "step_1" / "state.json").read_text())
    assert state["best_epoch"] == 2
