"""Only the package runs/ uses the file names of a run directory; config.json has all settings that affect results."""

from __future__ import annotations

import ast
from dataclasses import fields, replace
from pathlib import Path

import pytest

from avcil.datasets import Benchmark
from avcil.errors import InputError
from avcil.runs.records import Environment, Epoch, StepProgress, StepState, StepSummary
from avcil.runs.run_config import RunConfig, read_config
from avcil.runs.run_directory import RunDirectory
from avcil.saved_models.learning_settings import LearningSettings
from avcil.training.config import TrainConfig

SOURCE = Path(__file__).parents[2] / "src" / "avcil"
OWN_NAMES = {
    "env.json",
    "metrics.jsonl",
    "accuracy_matrix.csv",
    "incomplete_clips.csv",
    "results.json",
    "checkpoints",
    "progress.json",
}
"""File names that occur in no other package."""

OTHERWISE_HELD = {"set"}
"""Options that LearningSettings has under another name: method_options."""
NOT_SETTINGS = {"features", "benchmark", "steps", "stream", "classes_per_step", "class_order_seed"}
"""Options that RunConfig holds as the benchmark, the stream and the store."""
WITHOUT_EFFECT = {"out", "checkpoint_seconds", "track", "device", "max_memory", "teacher_cache"}
"""Options that do not make another experiment."""


def settings(**changes: object) -> LearningSettings:
    values = {
        "method": "lwf",
        "method_options": {},
        "modality": "audio",
        "seed": 0,
        "epochs": 1,
        "batch_size": 8,
        "exemplar_batch_size": 4,
        "learning_rate": 0.001,
        "weight_decay": 0.0,
        "selection": "last",
    }
    return LearningSettings(**values | changes)


def run_config() -> RunConfig:
    benchmark = Benchmark.from_steps([["cat"], ["dog", "owl"]])
    return RunConfig(settings=settings(), benchmark=benchmark, store_path="store", store_fingerprint="f")


def test_file_names_are_written_in_one_module() -> None:
    """A change of the layout then needs a change in one module only."""
    result = {
        str(path.relative_to(SOURCE))
        for path in SOURCE.rglob("*.py")
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, ast.Constant) and node.value in OWN_NAMES
    }
    assert result == {"runs/paths.py"}


def test_config_has_every_training_option() -> None:
    """Otherwise a run could be resumed with another value of the option."""
    held = {field.name for field in fields(LearningSettings)}
    options = {field.name for field in fields(TrainConfig)}
    assert options == (options & held) | OTHERWISE_HELD | NOT_SETTINGS | WITHOUT_EFFECT


def test_other_processes_write_no_files(tmp_path: Path) -> None:
    """Of several processes that train together, only the first one writes."""
    directory = RunDirectory(tmp_path, is_writer=False)
    summary = StepSummary(best_epoch=0, val_accuracy=None)
    with directory.lock():
        directory.begin(run_config(), Environment())
        directory.log(Epoch(step=0, epoch=0, losses={}, loss=None, val_accuracy=None))
        directory.save_progress(0, StepProgress(optimizer={"state": {}, "param_groups": []}))
        state = StepState(
            step=0,
            summary=summary,
            accuracies=[1.0],
            exemplars={},
            log_bytes=directory.log_bytes(),
            seconds=0.0,
            seconds_by_part={},
        )
        directory.commit_step(state, {})
        directory.write_predictions(0, [])
        directory.write_incomplete([])
        directory.write_accuracy_matrix([[1.0]], [1])
    assert list(tmp_path.iterdir()) == []


def test_settings_of_earlier_versions_compare_equal() -> None:
    """A new setting must not prevent resuming runs of earlier versions."""
    assert "drop_last" not in settings().to_dict()
    changed = replace(settings(), drop_last=False)
    assert LearningSettings.from_dict(changed.to_dict()) == changed
    with pytest.raises(InputError, match="drop_last"):
        LearningSettings.from_dict(settings().to_dict() | {"drop_last": 3})


def test_configuration_round_trip(tmp_path: Path) -> None:
    directory = RunDirectory(tmp_path)
    directory.begin(run_config(), Environment())
    assert read_config(tmp_path) == run_config()
    assert directory.has_run_of(run_config())
    assert directory.environment_changes(Environment()) == ""


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("seed", -1),
        ("epochs", 0),
        ("modality", "smell"),
        ("learning_rate", -1.0),
        ("exemplars", 0),
        ("selection", "worst"),
    ],
)
def test_settings_are_checked_when_they_are_read(name: str, value: object) -> None:
    with pytest.raises(InputError, match=name):
        LearningSettings.from_dict(settings().to_dict() | {name: value})


def test_old_names_of_settings_are_read() -> None:
    value = settings(exemplars=12).to_dict()
    former = {"memory": value.pop("exemplars"), "memory_per_class": value.pop("exemplars_per_class")}
    assert LearningSettings.from_dict(value | former) == settings(exemplars=12)


def test_update_uses_the_last_epoch() -> None:
    """A model stores no validation clips; the other settings do not change."""
    trained = settings(selection="best", exemplars_per_class=3)
    assert trained.for_update() == settings(selection="last", exemplars_per_class=3)
    assert trained.new_memory(2).per_class == 3
    with pytest.raises(InputError, match="one of exemplars and exemplars_per_class"):
        settings().new_memory(2)
