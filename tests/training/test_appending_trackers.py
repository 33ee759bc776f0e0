"""trackio and wandb, which append to existing events: each event is sent once, also after kills."""

from __future__ import annotations

import shutil
import sys
import types
from pathlib import Path

from tracked_runs import Stopped, config

from avcil.runs.run_directory import RunDirectory
from avcil.training.config import TrainConfig
from avcil.training.run import train
from avcil.training.tracking.events import history


def train_with_stops(settings: TrainConfig, monkeypatch) -> None:
    """Train with a stop after every second epoch, before its last line was logged, and resume each time."""
    write = RunDirectory.log
    written = []

    def log_then_stop(self, line):
        write(self, line)
        written.append(line)
        if len(written) % 2 == 0:
            raise Stopped

    with monkeypatch.context() as patch:
        patch.setattr(RunDirectory, "log", log_then_stop)
        for _ in range(30):
            try:
                train(settings, quiet=True)
                return
            except Stopped:
                written.clear()
    raise AssertionError("the run did not end")


def expected_events(run: Path) -> list[dict[str, float]]:
    """Events of a run directory in the form in which these trackers store them."""
    directory = RunDirectory(run)
    events = history(directory.log_lines(), directory.steps_done(), [8, 8, 8], directory.results)
    rows = []
    for event in events:
        position = {"epoch": event.epoch}
        position |= {} if event.class_step is None else {"class_step": event.class_step}
        rows.append(event.values | position)
    return rows


def test_trackio(store, tmp_path, monkeypatch, capsys):
    """Its database has the configuration and each event once; another run with the same name is separate."""
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    import trackio
    from trackio.sqlite_storage import SQLiteStorage

    for name, module in list(sys.modules.items()):  # each module has imported it by name
        if name.startswith("trackio") and hasattr(module, "TRACKIO_DIR"):
            monkeypatch.setattr(module, "TRACKIO_DIR", tmp_path / "trackio")

    run = tmp_path / "run"
    train_with_stops(config(store, run, track="trackio"), monkeypatch)
    (record,) = trackio.Api().runs("avcil")
    kept = SQLiteStorage.get_logs("avcil", record.name, run_id=record.id)
    expected = expected_events(run)
    assert len(expected) == 9 + 3 + 1
    assert [log["step"] for log in kept] == list(range(len(expected)))
    assert [{k: v for k, v in log.items() if k not in ("step", "timestamp")} for log in kept] == expected
    assert record.config["method"] == "av-cil"
    shutil.rmtree(run)
    train(config(store, run, track="trackio", method="blade", exemplars_per_class=None), quiet=True)
    assert len(list(trackio.Api().runs("avcil"))) == 2
    assert capsys.readouterr().out == ""


class FakeRun:
    """The part of wandb's run that the adapter uses; the service drops events at an earlier step."""

    def __init__(self, kept: dict) -> None:
        self.kept = kept
        self.step = len(kept["history"])
        self.metrics: dict[str, str] = {}

    def define_metric(self, name: str, *, step_metric: str) -> None:
        self.metrics[name] = step_metric

    def log(self, values: dict, *, step: int) -> None:
        assert step == len(self.kept["history"]), "an event is repeated or missing"
        assert all(
            any(name == m or name.startswith(m.rstrip("*")) for m in [*self.metrics, "epoch", "class_step"])
            for name in values
        )
        self.kept["history"].append(dict(values))

    def finish(self, *, exit_code: int) -> None:
        self.kept["ends"].append(exit_code)


def test_wandb(store, tmp_path, monkeypatch):
    """With the documented init(id=, resume="allow"), Run.step, log(step=) and finish: each event once."""
    service: dict[str, dict] = {}

    def init(*, project, id, name, config, resume, settings):
        assert (project, name, resume) == ("avcil", "run", "allow")
        return FakeRun(service.setdefault(id, {"history": [], "ends": [], "config": config}))

    fake = types.ModuleType("wandb")
    fake.init, fake.Settings = init, lambda **given: given
    monkeypatch.setitem(sys.modules, "wandb", fake)
    monkeypatch.delenv("WANDB_PROJECT", raising=False)
    run = tmp_path / "run"
    train_with_stops(config(store, run, track="wandb"), monkeypatch)
    ((_, kept),) = service.items()
    assert kept["history"] == expected_events(run)
    assert kept["ends"][-1] == 0
    assert set(kept["ends"][:-1]) == {1}
    assert kept["config"]["method"] == "av-cil"
