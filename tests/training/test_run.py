"""The steps of a run: selected epochs, data that are read, and the order of files."""

from __future__ import annotations

import csv
import dataclasses
import json
from pathlib import Path

import pytest
import torch

from avcil.data.modality import Modality
from avcil.errors import InputError
from avcil.features import FeatureStore
from avcil.methods.av_cil import _spatial
from avcil.saved_models.folder import load_tensors
from avcil.training import evaluate
from avcil.training import run as run_module
from avcil.training.config import TrainConfig
from avcil.training.data import Table
from avcil.training.device_config import DeviceConfig
from avcil.training.gradient import batches
from avcil.training.gradient_trainer import GradientTrainer
from avcil.training.memory_pool import Budget
from avcil.training.run import Run, train
from avcil.training.teacher import CachedTeacher
from avcil.utils import progress


def config(store: Path, out: Path, **changes) -> TrainConfig:
    settings = {
        "method": "av-cil",
        "classes_per_step": 3,
        "epochs": 3,
        "batch_size": 8,
        "exemplar_batch_size": 4,
        "exemplars_per_class": 2,
    }
    return TrainConfig(features=store, out=out, **settings | changes)


def lines(out: Path) -> list[dict]:
    return [json.loads(line) for line in (out / "metrics.jsonl").read_text().splitlines()]


def scripted_validation(monkeypatch, accuracies: list[float]) -> list[dict[str, torch.Tensor]]:
    """Replace validation by these accuracies; returns the evaluated networks."""
    asked: list[dict[str, torch.Tensor]] = []

    def validate(model, table, process_group):
        asked.append({name: tensor.clone() for name, tensor in model.tensors().items()})
        return accuracies[len(asked) - 1]

    monkeypatch.setattr(run_module, "accuracy", validate)
    return asked


@pytest.mark.parametrize(
    ("accuracies", "best"), [([0.5, 0.75, 0.75], 1), ([0.25, 0.25, 0.25], 0), ([0.0, 0.0, 0.5], 2)]
)
def test_first_best_epoch_is_selected(accuracies, best, store, tmp_path, monkeypatch):
    """The model of a step is bit for bit that of the best epoch, the first one on ties."""
    asked = scripted_validation(monkeypatch, accuracies)
    train(config(store, tmp_path / "run", classes_per_step=6), quiet=True)
    folder = tmp_path / "run" / "checkpoints" / "step_0"
    state = json.loads((folder / "state.json").read_text())
    assert (state["best_epoch"], state["val_accuracy"]) == (best, accuracies[best])
    tensors = load_tensors(folder / "model.safetensors")
    assert all(torch.equal(tensors[name], asked[best][name]) for name in tensors)


def test_selection_of_the_last_epoch(store, tmp_path, monkeypatch):
    """With --selection last, the last weights are saved, and validation runs once, after the last epoch."""
    asked = scripted_validation(monkeypatch, [0.5])
    train(config(store, tmp_path / "run", classes_per_step=6, selection="last"), quiet=True)
    tensors = load_tensors(tmp_path / "run" / "checkpoints" / "step_0" / "model.safetensors")
    assert all(torch.equal(tensors[name], asked[0][name]) for name in tensors)
    assert [line["val_accuracy"] for line in lines(tmp_path / "run")] == [None, None, 0.5]


def test_steps_of_unequal_sizes(store, tmp_path):
    """One class, then four, then one: the matrix, the head and the metrics have the right sizes."""
    steps = tmp_path / "steps.json"
    steps.write_text(json.dumps([["c5"], ["c0", "c1", "c2", "c3"], ["c4"]]))
    results = train(config(store, tmp_path / "run", classes_per_step=None, steps=steps), quiet=True)
    with open(tmp_path / "run" / "accuracy_matrix.csv", newline="") as file:
        header, sizes, *rows = csv.reader(file)
    assert header == ["step", "task_0", "task_1", "task_2"]
    assert sizes == ["n", "4", "16", "4"]
    assert [[cell == "" for cell in row[1:]] for row in rows] == [
        [False, True, True],
        [False, False, True],
        [False] * 3,
    ]
    last = [float(cell) for cell in rows[2][1:]]
    assert results["last_accuracy"] == pytest.approx((4 * last[0] + 16 * last[1] + 4 * last[2]) / 24)
    assert json.loads((tmp_path / "run" / "model" / "labels.json").read_text()) == [
        "c5",
        "c0",
        "c1",
        "c2",
        "c3",
        "c4",
    ]


def test_too_few_exemplars_are_an_error(store, tmp_path):
    """Five clips for six classes are rejected before training, and no folder remains."""
    with pytest.raises(InputError, match="too small for 6 classes"):
        train(config(store, tmp_path / "run", exemplars=5, exemplars_per_class=None), quiet=True)
    assert not (tmp_path / "run").exists()


def test_validation_uses_only_validation_clips(store, tmp_path, monkeypatch):
    """Test clips are evaluated once per step, after training; validation clips of all seen classes after each epoch."""
    evaluated: list[tuple[str, int]] = []
    clips, predict = FeatureStore(store).clips, evaluate.predict

    def record(model, table, process_group):
        (split,) = {clips[row].split for row in table._rows}
        evaluated.append((split, len(table)))
        return predict(model, table, process_group)

    monkeypatch.setattr(evaluate, "predict", record)
    train(config(store, tmp_path / "run"), quiet=True)
    assert evaluated == [*[("val", 9)] * 3, ("test", 12), *[("val", 18)] * 3, ("test", 12), ("test", 12)]


def test_results_are_written_last(store, tmp_path, monkeypatch):
    """After any earlier failure, results.json does not exist; the same command then finishes."""

    def fail(*args, **kwargs):
        raise OSError("the disk is gone")

    with monkeypatch.context() as patch:
        patch.setattr(run_module, "save_model", fail)
        with pytest.raises(OSError, match="gone"):
            train(config(store, tmp_path / "run"), quiet=True)
    assert not (tmp_path / "run" / "results.json").exists()
    logged = (tmp_path / "run" / "metrics.jsonl").read_bytes()
    train(config(store, tmp_path / "run"), quiet=True)
    assert (tmp_path / "run" / "metrics.jsonl").read_bytes() == logged, "no step was trained again"
    newest = max(
        (p for p in (tmp_path / "run").rglob("*") if p.is_file()), key=lambda p: p.stat().st_mtime_ns
    )
    assert newest.name == "results.json"


def test_joint_starts_each_step_with_a_new_network(store, tmp_path):
    """The network does not depend on the previous step, and is trained with all clips of both steps."""
    trained = Run(config(store, tmp_path / "run", method="joint"), quiet=True)
    trainer = trained.trainer
    assert isinstance(trainer, GradientTrainer)
    first = trainer._begin(0)
    with torch.no_grad():
        for parameter in trainer.network.parameters():
            parameter.fill_(7.0)
    second = trainer._begin(1)
    assert second.network is not first.network
    assert not any((parameter == 7.0).any() for parameter in second.network.parameters())
    assert len(second.pool) == 48
    assert second.network.classes == 6


def teacher_case(store: Path, folder: Path, budget: Budget):
    """The second step of AV-CIL in float64, with a teacher whose cache has this budget."""
    trainer = Run(config(store, folder, precision="float64"), quiet=True).trainer
    trainer._begin(0)
    trainer._choose_exemplars(0)
    step = trainer._begin(1)
    teacher = CachedTeacher(step.teacher.network, step.pool, new_count=step.new_count, budget=budget)
    return trainer, step, teacher


def test_cached_and_computed_teacher_outputs_are_equal(store, tmp_path):
    """Cached logits and attention equal those computed for each batch; only exemplars need memory."""
    trainer, step, recalls = teacher_case(store, tmp_path / "run", Budget.host_only(10**6))
    computes = CachedTeacher(recalls.network, step.pool, new_count=step.new_count, budget=Budget.host_only(0))
    for epoch in range(2):
        for batch in batches(trainer.method, step, trainer.settings, epoch):
            losses = []
            for teacher in (recalls, computes):
                output = trainer.method.forward(batch, dataclasses.replace(step, teacher=teacher))
                losses.append(trainer.method.loss(output, batch, dataclasses.replace(step, teacher=teacher)))
            assert losses[0].keys() == losses[1].keys()
            for name in losses[0]:
                torch.testing.assert_close(losses[0][name], losses[1][name], rtol=1e-12, atol=1e-12)
    assert computes.locations == dict.fromkeys(["spatial attention", "logits", "temporal attention"])
    assert recalls.locations == dict.fromkeys(["spatial attention", "logits", "temporal attention"], "memory")
    assert len(recalls._caches["logits"].tensors[0]) == len(step.pool) == 24 + 6
    assert all(len(recalls._caches[f"{name} attention"].tensors[0]) == 6 for name in ("spatial", "temporal"))


def test_teacher_cache_respects_the_memory_budget(store, tmp_path):
    """If only the maps of the exemplars fit, only these are cached."""
    maps = 6 * 8 * (2 * 3 * 12)  # bytes: exemplars, float64
    for budget, kept in ((maps, True), (maps - 1, False)):
        trainer, step, teacher = teacher_case(store, tmp_path / "run", Budget.host_only(budget))
        batch = next(batches(trainer.method, step, trainer.settings, 0))
        teacher.cached("maps", _spatial, batch.exemplars())
        assert (teacher.locations["maps"] == "memory") == kept


def test_too_large_tables_are_read_in_batches(store):
    """The values are equal to those of a table in memory."""
    features = FeatureStore(store)
    rows = list(range(0, 40, 3))
    place = DeviceConfig.on_cpu(torch.float64)
    held, read = (
        Table(
            features,
            rows,
            [0] * len(rows),
            modality=Modality.AUDIO_VISUAL,
            device_config=place,
            budget=Budget.host_only(size),
        )
        for size in (10**6, 0)
    )
    index = torch.tensor([5, 0, 11, 5])
    for one, other in zip(held.take(index), read.take(index), strict=True):
        assert torch.equal(one, other)


def test_progress_counts_the_actual_epochs(
    store: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """A closed-form method has one epoch per step, for any `epochs`."""
    monkeypatch.setattr(progress, "SECONDS_BETWEEN_LINES", 0.0)
    train(config(store, tmp_path / "blade", method="blade"))
    assert "step 1/2: 1 of 1 epochs, " in capsys.readouterr().err
    train(config(store, tmp_path / "av-cil"))
    assert "step 2/2: 3 of 3 epochs, " in capsys.readouterr().err
