"""Properties of every method, including the example of docs/adding-a-method.md."""

from __future__ import annotations

import csv
import json
import math
from functools import cache
from pathlib import Path

import numpy as np
import pytest
import torch
from small_options import small_options

from avcil.data.clips import Clip
from avcil.features import FeatureStore, FeatureWriter
from avcil.methods.base import GradientMethod
from avcil.methods.registry import load_method, method_names, parse_options
from avcil.runs.run_directory import RunDirectory
from avcil.saved_models.folder import load_model, load_tensors
from avcil.training.config import TrainConfig
from avcil.training.distributed import ProcessGroup
from avcil.training.evaluate import predict
from avcil.training.forward_backward import accumulate_gradients, forward_backward
from avcil.training.gradient import batches
from avcil.training.memory_pool import Budget
from avcil.training.run import Run, train

EXAMPLE = str(Path(__file__).parent / "example_method.py")
VARIANTS = [
    ("icarl", "classifier=fc", "distillation=release"),
    ("icarl", "validation=classifier"),
    ("afc", "classifier=nme", "proxies=3", "finetuning_iterations=20"),
    ("av-cil", "classifier=bic"),
    ("av-cil", "classifier=blade-exemplars"),
    ("av-cil", "classifier=blade-statistics"),
]
METHODS = [*((name, *small_options(name)) for name in [*method_names(), EXAMPLE]), *VARIANTS]
"""Each a method's name or file, and options of it."""
STEPS, MEMORY = 3, 7  # 7: one exemplar per class for 4 and 6 classes, so that the memory is limited
Case = tuple[str, ...]
each_method = pytest.mark.parametrize(
    "case", METHODS, ids=lambda case: " ".join((Path(case[0]).stem, *case[1:]))
)


def config(store: Path, out: Path, case: Case, **changes) -> TrainConfig:
    rehearses = load_method(case[0]).rehearsal != "none"
    settings = {
        "classes_per_step": 2,
        "epochs": 3,
        "batch_size": 8,
        "exemplar_batch_size": 4,
        "learning_rate": 5e-3,
        "exemplars": MEMORY if rehearses else None,
    }
    return TrainConfig(features=store, out=out, method=case[0], set=case[1:], **settings | changes)


@pytest.fixture(scope="module")
def undisturbed(store, tmp_path_factory):
    """A finished run of a method, trained once."""

    @cache
    def run(case: Case) -> Path:
        out = tmp_path_factory.mktemp("undisturbed") / "run"
        train(config(store, out, case), quiet=True)
        return out

    return run


def lines(out: Path) -> list[dict]:
    return [json.loads(line) for line in (out / "metrics.jsonl").read_text().splitlines()]


def state(out: Path, step: int) -> dict:
    return json.loads((out / "checkpoints" / f"step_{step}" / "state.json").read_text())


def predictions(out: Path, step: int) -> list[dict[str, str]]:
    with open(out / "predictions" / f"step_{step}.csv", newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def assert_same_learning(one: Path, other: Path, steps: int = STEPS) -> None:
    """Tensors, exemplars and log of the first steps, bit for bit."""
    for step in range(steps):
        file = Path("checkpoints", f"step_{step}", "model.safetensors")
        a, b = load_tensors(one / file), load_tensors(other / file)
        assert a.keys() == b.keys()
        assert all(torch.equal(a[key], b[key]) for key in a)
        assert state(one, step)["exemplars"] == state(other, step)["exemplars"]
    assert [x for x in lines(one) if x["step"] < steps] == [x for x in lines(other) if x["step"] < steps]


def assert_same_run(one: Path, other: Path) -> None:
    assert_same_learning(one, other)
    files = ["accuracy_matrix.csv", *(f"predictions/step_{step}.csv" for step in range(STEPS))]
    files += ["model/model.safetensors", "model/labels.json", "model/config.json"]
    for file in files:
        assert (one / file).read_bytes() == (other / file).read_bytes(), file


@each_method
def test_one_step(case, store, tmp_path):
    """A benchmark with a single step, which is joint training, gives results."""
    once = config(store, tmp_path / "run", case, classes_per_step=6, epochs=1, exemplars=None)
    results = train(once, quiet=True)
    assert len(results["accuracy_per_step"]) == 1
    assert math.isfinite(results["accuracy_per_step"][0])


@each_method
def test_predictions_are_classes_seen(case, undisturbed):
    """After step s, all clips of seen classes are predicted, as seen classes only."""
    for step in range(STEPS):
        rows = predictions(undisturbed(case), step)
        seen = {f"c{number}" for number in range(2 * (step + 1))}
        assert {row["label"] for row in rows} == seen
        assert {row["predicted"] for row in rows} <= seen
        assert all(0 < float(row["probability"]) <= 1 for row in rows)


@each_method
def test_growing_head_keeps_scores(case):
    """Scores of known classes do not change when classes are added."""
    method_class = load_method(case[0])
    if not issubclass(method_class, GradientMethod):
        pytest.skip("fitted in closed form: no head")
    options = parse_options(method_class, case[1:], name=case[0])
    method = method_class(options, modality="audio-visual")
    head, features = method.build_head(8), torch.randn(5, 8, generator=torch.Generator().manual_seed(0))
    head.add_classes(2)
    before = head(features)
    head.add_classes(3)
    assert head(features).shape == (5, 5)
    assert head.classes == 5
    torch.testing.assert_close(head(features)[:, :2], before)


@each_method
def test_runs_are_deterministic(case, undisturbed, store, tmp_path):
    """Two runs with one seed agree bit for bit; another seed gives another run."""
    train(config(store, tmp_path / "again", case), quiet=True)
    assert_same_run(undisturbed(case), tmp_path / "again")
    if issubclass(load_method(case[0]), GradientMethod):
        train(config(store, tmp_path / "other", case, seed=1, classes_per_step=6, epochs=1), quiet=True)
        assert lines(tmp_path / "other")[0]["losses"] != lines(undisturbed(case))[0]["losses"]


@pytest.mark.slow
@each_method
def test_killed_and_resumed_run(case, undisturbed, store, tmp_path, monkeypatch):
    """Killed in every epoch after its log line was written and resumed: no difference."""
    expected = undisturbed(case)
    write = RunDirectory.log
    written = []

    def log_then_die(self, line):
        write(self, line)
        written.append(line)
        if len(written) == 2:
            raise KeyboardInterrupt

    monkeypatch.setattr(RunDirectory, "log", log_then_die)
    kills = 0
    while True:
        written.clear()
        try:
            train(config(store, tmp_path / "run", case, checkpoint_seconds=0), quiet=True)
            break
        except KeyboardInterrupt:
            kills += 1
    assert kills == len(lines(expected)) - 1
    assert_same_run(expected, tmp_path / "run")


@each_method
@pytest.mark.parametrize("modality", ["audio-visual", "visual"])
def test_batch_parts_give_the_same_gradients(case, modality, store, tmp_path):
    """A batch in parts of 1, 5 or 11 clips has the terms and gradients of the whole one, to 1e-10."""
    method = load_method(case[0])
    if not issubclass(method, GradientMethod) or modality not in method.modalities:
        pytest.skip("no batches")
    begun = config(store, tmp_path / "run", case, precision="float64", modality=modality)
    run = Run(begun, quiet=True)
    trainer = run.trainer
    trainer.data.budget = Budget.host_only(10**8)
    first = trainer._begin(0)
    trainer.method.end_step(first)
    if trainer.memory is not None:
        trainer._choose_exemplars(0)
        trainer._update_exemplar_data(first)
    step = trainer._begin(1)
    shake(step.network)
    whole = next(batches(trainer.method, step, run.settings, 0))
    parts = next(batches(trainer.method, step, run.settings, 0, whole=False))
    expected = gradients(step, forward_backward(trainer.method, step, whole))
    for count in (1, 5, 11):
        terms = accumulate_gradients(
            trainer.method, step, parts, clips_at_once=count, process_group=ProcessGroup()
        )
        torch.testing.assert_close(gradients(step, terms), expected, rtol=1e-10, atol=1e-12)


def shake(network) -> None:
    """Change a network with random values, so that no distillation term is zero."""
    draw = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for parameter in network.parameters():
            parameter += 0.1 * torch.randn(parameter.shape, generator=draw, dtype=parameter.dtype)


def gradients(step, terms: dict) -> dict:
    """The terms of the loss and the gradient by every weight, which is then forgotten."""
    result = {name: term.detach() for name, term in terms.items()}
    for name, parameter in step.network.named_parameters():
        if parameter.requires_grad:
            result[f"by {name}"], parameter.grad = parameter.grad, None
    return result


@each_method
def test_saved_model_gives_the_same_predictions(case, undisturbed, store, tmp_path):
    """The saved model gives the predictions of the run's last step."""
    model, labels, _ = load_model(undisturbed(case) / "model")
    data = Run(config(store, tmp_path / "unused", case), quiet=True).data
    answers = [predict(model, data.table(data.rows("test", task))) for task in range(STEPS)]
    got = [
        (labels[number], probability)
        for result in answers
        for number, probability in zip(result.predicted.tolist(), result.probability.tolist(), strict=True)
    ]
    rows = predictions(undisturbed(case), STEPS - 1)
    assert got == [(row["predicted"], float(row["probability"])) for row in rows]


@each_method
def test_exemplar_memory_is_limited(case, undisturbed):
    """Exemplars are distinct training clips of seen classes, and no class exceeds its quota."""
    rehearsal = load_method(case[0]).rehearsal
    for step in range(STEPS):
        exemplars, classes = state(undisturbed(case), step)["exemplars"], 2 * (step + 1)
        if rehearsal == "none":
            assert exemplars == {}
            continue
        assert set(exemplars) == {f"c{number}" for number in range(classes)}
        assert sum(map(len, exemplars.values())) <= MEMORY
        for label, ids in exemplars.items():
            assert len(ids) == len(set(ids)) == MEMORY // classes
            assert all(clip_id.startswith(f"{label}/train/") for clip_id in ids)
            if step and label in state(undisturbed(case), step - 1)["exemplars"]:
                assert ids == state(undisturbed(case), step - 1)["exemplars"][label][: len(ids)]


@each_method
@pytest.mark.parametrize("modality", ["audio", "visual"])
def test_one_modality(case, modality, store, tmp_path):
    """With one modality a method runs, or the error says that it cannot."""
    if modality not in load_method(case[0]).modalities:
        pytest.skip("not a modality of this method")
    results = train(config(store, tmp_path / "run", case, modality=modality, epochs=1), quiet=True)
    assert all(map(math.isfinite, results["accuracy_per_step"]))


@pytest.fixture(scope="module")
def changed_store(store, tmp_path_factory) -> Path:
    """The store with noise for the clips of the last step's classes, and other test clips for the rest."""
    there = FeatureStore(store)
    writer = FeatureWriter(tmp_path_factory.mktemp("spoilt") / "store", there.manifest)
    rng = np.random.default_rng(1)
    for row, clip in enumerate(there.clips):
        audio, visual = there.audio([row])[0].astype(np.float32), there.visual([row])[0].astype(np.float32)
        if clip.label in ("c4", "c5"):
            audio, visual = (9 * rng.standard_normal(part.shape) for part in (audio, visual))
        elif clip.split == "test":
            audio, visual = 100 + audio, -100 + visual
        again = Clip(clip_id=clip.clip_id, path=Path(clip.path), label=clip.label, split=clip.split)
        writer.add(again, visual=visual.astype(np.float32), audio=audio.astype(np.float32))
    writer.close()
    return Path(writer.path)


@each_method
def test_no_access_to_later_clips(case, undisturbed, changed_store, tmp_path):
    """Neither clips of a later step nor test clips change a model by a single bit."""
    train(config(changed_store, tmp_path / "run", case), quiet=True)
    assert_same_learning(undisturbed(case), tmp_path / "run", steps=STEPS - 1)


@each_method
def test_methods_learn(case, store, tmp_path):
    """On distant clusters the loss is finite and decreases, and the classes of a step are learned."""
    everything = config(store, tmp_path / "run", case, classes_per_step=6, epochs=15, exemplars=None)
    results = train(everything, quiet=True)
    assert results["accuracy_per_step"][0] > 0.9
    if issubclass(load_method(case[0]), GradientMethod):
        losses = [line["loss"] for line in lines(tmp_path / "run")]
        assert all(map(math.isfinite, losses))
        assert losses[-1] < 0.5 * losses[0]
