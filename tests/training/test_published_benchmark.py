"""Training on a published benchmark: order of classes, clips, exemplars, and contradictions."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from avcil.datasets import Benchmark, protocols
from avcil.datasets.published import PublishedBenchmark
from avcil.datasets.split_files import SplitClip
from avcil.errors import InputError
from avcil.features import FeatureStore
from avcil.runs.records import Environment
from avcil.runs.run_config import RunConfig
from avcil.runs.run_directory import RunDirectory
from avcil.saved_models.learning_settings import LearningSettings
from avcil.training import resolve as resolving
from avcil.training.config import TrainConfig
from avcil.training.run import train

ORDER = ("c4", "c1", "c5", "c0", "c3", "c2")


@pytest.fixture
def clips(store: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, SplitClip]:
    """A benchmark with the clips of the store, changed by the test."""
    clips = {clip.clip_id: SplitClip(clip.label, clip.split) for clip in FeatureStore(store).clips}

    def load(name: str) -> PublishedBenchmark:
        return PublishedBenchmark(protocol=protocols.protocol(name), classes=ORDER, clips=clips, removed={})

    monkeypatch.setattr(resolving, "published_benchmark", load)
    return clips


def config(store: Path, out: Path, **options: Any) -> TrainConfig:
    """A short run on the benchmark."""
    usual = {"benchmark": "vs100-ci", "classes_per_step": 2, "epochs": 1, "method": "ss-il"}
    return TrainConfig(features=store, out=out, **(usual | options))


def test_published_class_order_and_number_of_exemplars(
    store: Path, tmp_path: Path, clips: dict[str, SplitClip]
) -> None:
    """Order of classes and number of exemplars are those of the benchmark, not the defaults."""
    resolved = resolving.resolve(config(store, tmp_path), FeatureStore(store))
    assert resolved.run_config.benchmark.steps == (("c4", "c1"), ("c5", "c0"), ("c3", "c2"))
    assert resolved.run_config.settings.exemplars == 1500
    assert resolved.run_config.benchmark.name == "vs100-ci"
    smaller = resolving.resolve(config(store, tmp_path, exemplars=12), FeatureStore(store))
    assert smaller.run_config.settings.exemplars == 12
    shuffled = resolving.resolve(config(store, tmp_path, class_order_seed=1), FeatureStore(store))
    assert sorted(shuffled.run_config.benchmark.classes) == sorted(ORDER)
    assert shuffled.run_config.benchmark.classes != ORDER


def test_clips_outside_the_benchmark_are_not_read(
    store: Path, tmp_path: Path, clips: dict[str, SplitClip], capsys: pytest.CaptureFixture[str]
) -> None:
    """As the leak-free benchmark does: fewer test clips of c0; missing clips are counted in a message."""
    del clips["c0/test/0"], clips["c0/test/1"]
    clips["c0/test/elsewhere"] = SplitClip("c0", "test")
    train(config(store, tmp_path / "run"))
    rows = (tmp_path / "run" / "accuracy_matrix.csv").read_text().splitlines()
    assert rows[1] == "n,8,6,8"
    assert "lacks 1 of the clips of vs100-ci" in capsys.readouterr().out


def test_store_that_contradicts_the_benchmark_is_an_error(
    store: Path, tmp_path: Path, clips: dict[str, SplitClip]
) -> None:
    """A test clip in the training split would increase accuracies."""
    clips["c0/train/0"] = SplitClip("c0", "test")
    with pytest.raises(InputError, match="'c0/train/0' is 'c0', train, in the store, but 'c0', test"):
        train(config(store, tmp_path / "run"), quiet=True)


def test_store_with_other_classes_is_an_error(
    store: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, clips: dict[str, SplitClip]
) -> None:
    """The message names the most similar class."""
    monkeypatch.setattr(
        resolving,
        "published_benchmark",
        lambda name: PublishedBenchmark(
            protocol=protocols.AVE, classes=("c0", "c1", "c22"), clips=clips, removed={}
        ),
    )
    with pytest.raises(InputError, match="no clip of a class of benchmark 'ave-ci': unknown class 'c22'"):
        train(config(store, tmp_path / "run", benchmark="ave-ci"), quiet=True)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"classes_per_step": None}, None),
        ({"classes_per_step": None, "benchmark": None}, "the steps are not defined"),
        ({"steps": Path("steps.json"), "classes_per_step": None}, "--benchmark defines the steps"),
        ({"steps": Path("steps.json"), "benchmark": None}, "leave out --steps or --classes-per-step"),
    ],
)
def test_steps_have_one_source(store: Path, options: dict[str, Any], message: str | None) -> None:
    """A benchmark with another step size is allowed; contradicting options are errors."""
    if message is None:
        assert config(store, Path("out"), **options).benchmark == "vs100-ci"
        return
    with pytest.raises(InputError, match=message):
        config(store, Path("out"), **options)


def run_config(method: str) -> RunConfig:
    settings = LearningSettings(
        method=method,
        method_options={},
        modality="audio",
        seed=0,
        epochs=1,
        batch_size=8,
        exemplar_batch_size=4,
        learning_rate=0.001,
        weight_decay=0.0,
        selection="last",
    )
    benchmark = Benchmark.from_steps([["cat"]])
    return RunConfig(settings=settings, benchmark=benchmark, store_path="store", store_fingerprint="f")


def test_run_killed_before_its_configuration_restarts(tmp_path: Path) -> None:
    """env.json without config.json, or a partial file, is not a run with other settings."""
    (tmp_path / "env.json").write_text("{}")
    (tmp_path / ".config.json.123.part").write_text('{"me')
    begun = run_config("lwf")
    RunDirectory(tmp_path).begin(begun, Environment())
    assert RunDirectory(tmp_path).has_run_of(begun)
    with pytest.raises(InputError, match="other settings"):
        RunDirectory(tmp_path).begin(run_config("joint"), Environment())


def test_folder_with_other_files_is_not_a_run(tmp_path: Path) -> None:
    """It is an error, and no file is written to it."""
    (tmp_path / "notes.txt").write_text("")
    with pytest.raises(InputError, match="not empty and not a run directory"):
        RunDirectory(tmp_path).begin(run_config("lwf"), Environment())
