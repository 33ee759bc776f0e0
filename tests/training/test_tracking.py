"""Trackers: each event is logged once after any number of kills, and the run itself is not affected."""

from __future__ import annotations

import dataclasses
import errno
import json
import shutil
import signal
import sys
from pathlib import Path

import pytest
from tracked_runs import Stopped, config, lines

from avcil.cli.main import main
from avcil.errors import InputError
from avcil.runs.paths import RunPaths
from avcil.runs.run_config import read_config
from avcil.runs.run_directory import RunDirectory
from avcil.training.run import train
from avcil.training.tracking import TrackedRun, track
from avcil.training.tracking.tensorboard import TensorBoard, events_folder

from .test_kill import contents, run_all  # isort: skip

Scalars = dict[str, list[tuple[int, float]]]
METHOD = ["--method", "av-cil", "--exemplars-per-class", "3"]


def scalars(run: Path) -> Scalars:
    """The scalars in TensorBoard's files: (x, value) by name, in the order of writing."""
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    there = EventAccumulator(str(events_folder(run)))
    there.Reload()
    return {tag: [(e.step, e.value) for e in there.Scalars(tag)] for tag in there.Tags()["scalars"]}


@pytest.fixture(scope="module")
def undisturbed(store, tmp_path_factory) -> Path:
    """A finished run that was logged to TensorBoard."""
    out = tmp_path_factory.mktemp("tracked") / "run"
    train(config(store, out), quiet=True)
    return out


def test_tracker_has_the_content_of_the_run(undisturbed):
    """Losses and validation by epoch, accuracies by step, forgetting at the end, the configuration once."""
    shown, log = scalars(undisturbed), lines(undisturbed)
    results = json.loads((undisturbed / "results.json").read_text())
    assert len(log) == 9
    assert shown["loss/total"] == [(n, pytest.approx(line["loss"])) for n, line in enumerate(log)]
    assert shown["validation/accuracy"] == [(n, pytest.approx(x["val_accuracy"])) for n, x in enumerate(log)]
    distilled = [(n, line["losses"]["distillation"]) for n, line in enumerate(log) if line["step"]]
    assert shown["loss/distillation"] == [(n, pytest.approx(value)) for n, value in distilled]
    seen = shown["test/accuracy_of_classes_seen"]
    assert seen == [(s, pytest.approx(value)) for s, value in enumerate(results["accuracy_per_step"])]
    assert [step for step, _ in shown["test/accuracy_of_task_1"]] == [1, 2]
    assert shown["final/mean_forgetting"] == [(2, pytest.approx(results["mean_forgetting"]))]
    whole = b"".join(file.read_bytes() for file in events_folder(undisturbed).iterdir())
    assert whole.count(b'"method": "av-cil"') == 1


@pytest.mark.parametrize("method", ["blade", "rls"])
def test_closed_form_models(method, store, tmp_path):
    """One epoch per step, without losses, with the values of the statistics."""
    options = ("features=48",) if method == "rls" else ()
    closed = config(store, tmp_path / "run", method=method, set=options, exemplars_per_class=None)
    train(closed, quiet=True)
    shown = scalars(tmp_path / "run")
    assert [at for at, _ in shown["statistics/bytes"]] == [0, 1, 2]
    assert not [name for name in shown if name.startswith("loss/")]


def test_kill_at_any_event(store, tmp_path):
    """Killed at any event and resumed: events and run files equal those of an uninterrupted run."""
    plan = [[], [1], [5], [20], [44], [71], [97], [121], [9, 1, 2, 3], [30, 30, 30]]
    ends = run_all(store, tmp_path / "tracked", [*METHOD, "--track", "tensorboard"], plan)
    assert ends == [[signal.SIGKILL] * len(deaths) + [0] for deaths in plan]
    run_all(store, tmp_path / "plain", METHOD, [[]])
    plain, expected = contents(tmp_path / "plain" / "0"), scalars(tmp_path / "tracked" / "0")
    assert expected["loss/total"]
    for number, deaths in enumerate(plan):
        run = tmp_path / "tracked" / str(number)
        assert contents(run) == plain, deaths
        assert scalars(run) == expected, deaths
        assert sum(file.stat().st_size > 0 for file in events_folder(run).iterdir()) == 1, deaths


def test_tracking_can_be_switched_on_and_off(undisturbed, store, tmp_path, monkeypatch):
    """--track is not part of the configuration: a resumed or finished run is logged completely."""
    write = RunDirectory.log

    def stop(self, line):
        if (line.step, line.epoch) == (1, 1):
            raise KeyboardInterrupt
        write(self, line)

    with monkeypatch.context() as patch:
        patch.setattr(RunDirectory, "log", stop)
        with pytest.raises(KeyboardInterrupt):
            train(config(store, tmp_path / "run", track=None), quiet=True)
    assert not events_folder(tmp_path / "run").exists()
    train(config(store, tmp_path / "run"), quiet=True)
    assert scalars(tmp_path / "run") == scalars(undisturbed)
    train(config(store, tmp_path / "late", track=None), quiet=True)
    train(config(store, tmp_path / "late"), quiet=True)
    assert scalars(tmp_path / "late") == scalars(undisturbed)


@pytest.mark.parametrize("moment", ["begin", "add", "caught_up", "close"])
def test_failing_tracker(moment, undisturbed, store, tmp_path, monkeypatch, capsys):
    """The error is printed once and the run is the same; the same command later logs the missing events."""
    calls = []
    original = getattr(TensorBoard, moment)

    def fail(self, *args, **kwargs):
        calls.append(moment)
        if moment == "close" or (moment == "add" and len(calls) < 5):
            original(self, *args, **kwargs)
            if moment == "add":
                return
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(TensorBoard, moment, fail)
        train(config(store, tmp_path / "run"))
    err = capsys.readouterr().err
    assert err.count("avcil: tracking by tensorboard failed; the run continues without it (OSError: ") == 1
    assert "run the same command again" in err
    assert "Traceback" not in err
    assert len(calls) == (5 if moment == "add" else 1)
    assert contents(tmp_path / "run") == contents(undisturbed)
    train(config(store, tmp_path / "run"), quiet=True)
    assert scalars(tmp_path / "run") == scalars(undisturbed)


def test_missing_tracker_package(store, tmp_path, monkeypatch, capsys):
    """It is an error before the run, with the installation command; also in reproduce."""
    monkeypatch.setitem(sys.modules, "trackio", None)
    with pytest.raises(
        InputError, match=r"--track trackio needs the package trackio.*pip install 'avcil\[track\]'"
    ):
        train(config(store, tmp_path / "run", track="trackio"), quiet=True)
    assert not (tmp_path / "run").exists()
    arguments = [
        "reproduce",
        str(store),
        "--classes-per-step",
        "3",
        "--methods",
        "blade",
        "--track",
        "trackio",
    ]
    with pytest.raises(SystemExit) as end:
        main([*arguments, "--out", str(tmp_path / "table")])
    assert end.value.code == 2
    assert "--track trackio needs" in capsys.readouterr().err
    assert not (tmp_path / "table").exists()


def test_open_tensorboard_gets_no_event_twice(undisturbed, store, tmp_path, monkeypatch):
    """Also if TensorBoard remains open during a kill and resume."""
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    run = tmp_path / "run"
    looker, write = [], RunDirectory.log

    def look(self, line):
        write(self, line)
        if (line.step, line.epoch) == (1, 2) and not looker:
            looker.append(EventAccumulator(str(events_folder(run))))
            looker[0].Reload()
            raise Stopped

    with monkeypatch.context() as patch:
        patch.setattr(RunDirectory, "log", look)
        with pytest.raises(Stopped):
            train(config(store, run), quiet=True)
    before = [e.step for e in looker[0].Scalars("loss/total")]
    assert before == [0, 1, 2, 3, 4]
    train(config(store, run), quiet=True)
    looker[0].Reload()
    now = {tag: [(e.step, e.value) for e in looker[0].Scalars(tag)] for tag in looker[0].Tags()["scalars"]}
    assert now == scalars(undisturbed)


def test_train_prints_the_viewer_command(store, tmp_path, capsys):
    """avcil train prints how to view the metrics."""
    arguments = ["train", str(store), "--classes-per-step", "3", "--track", "tensorboard"]
    with pytest.raises(SystemExit) as end:
        main([*arguments, "--out", str(tmp_path / "run")])
    assert not end.value.code
    assert f"tensorboard --logdir {tmp_path}/tensorboard\n" in capsys.readouterr().out
    assert scalars(tmp_path / "run")["final/last_accuracy"]


def test_runs_of_a_reproduction_are_logged(store, tmp_path, capsys):
    """Each under its own name, in one folder that TensorBoard shows together."""
    arguments = ["reproduce", str(store), "--classes-per-step", "3", "--methods", "blade", "slda:features=30"]
    arguments += ["--modalities", "audio", "--seeds", "0", "--track", "tensorboard", "--jobs", "1"]
    with pytest.raises(SystemExit) as end:
        main([*arguments, "--out", str(tmp_path / "table")])
    assert not end.value.code, capsys.readouterr().err
    names = {folder.name for folder in (tmp_path / "table" / "runs" / "tensorboard").iterdir()}
    assert names == {run.name for run in (tmp_path / "table" / "runs").iterdir()} - {"tensorboard"}
    assert len(names) == 2


def test_stamp_identifies_a_run(undisturbed, store, tmp_path):
    """Copied and moved runs keep it; a new run with the same name has another one."""
    content = read_config(undisturbed)
    stamp = TrackedRun(RunPaths(undisturbed), content).stamp
    moved = shutil.copytree(undisturbed, tmp_path / "run")
    assert TrackedRun(RunPaths(moved), content).stamp == stamp
    train(config(store, tmp_path / "again" / "run", track=None), quiet=True)
    assert TrackedRun(RunPaths(tmp_path / "again" / "run"), content).stamp != stamp


def test_no_events_without_a_tracker(undisturbed):
    """Without a tracker, no events are created."""

    def never():
        raise AssertionError

    with track(None, RunPaths(undisturbed), read_config(undisturbed)) as tracking:
        tracking.update(never)


def test_tracking_is_not_in_the_configuration(store, tmp_path):
    """Two configurations that differ only in tracking are the same run."""
    plain = config(store, tmp_path / "run", track=None)
    train(plain, quiet=True)
    before = (tmp_path / "run" / "config.json").read_bytes()
    train(dataclasses.replace(plain, track="tensorboard"), quiet=True)
    assert (tmp_path / "run" / "config.json").read_bytes() == before
    assert b"track" not in before
