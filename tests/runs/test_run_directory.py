"""Run directories: other content, damaged and missing files, a full disk."""

from __future__ import annotations

import dataclasses
import errno
import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from avcil.errors import InputError
from avcil.features import FeatureStore
from avcil.runs.run_config import describe_differences
from avcil.runs.run_directory import RunDirectory
from avcil.training.config import TrainConfig
from avcil.training.run import train


def config(store: Path, out: Path, **changes) -> TrainConfig:
    settings = {
        "method": "av-cil",
        "classes_per_step": 3,
        "epochs": 2,
        "batch_size": 8,
        "exemplars_per_class": 2,
        "checkpoint_seconds": 0.0,
    }
    return TrainConfig(features=store, out=out, **settings | changes)


@pytest.fixture(scope="module")
def stopped(store, tmp_path_factory) -> Path:
    """A run stopped in its second step after an epoch was saved."""
    out = tmp_path_factory.mktemp("stopped") / "run"
    log = RunDirectory.log

    def stop(self, line):
        if (line.step, line.epoch) == (1, 1):
            raise KeyboardInterrupt
        log(self, line)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(RunDirectory, "log", stop)
        with pytest.raises(KeyboardInterrupt):
            train(config(store, out), quiet=True)
    return out


@pytest.fixture
def run(stopped, tmp_path) -> Path:
    """A copy of that run, which a test may damage."""
    return Path(shutil.copytree(stopped, tmp_path / "run"))


def test_options_of_another_method_are_not_listed():
    """If the methods differ, the message names the methods only."""
    old = {"method": "av-cil", "method_options": {"lambda_class": 1.0}, "seed": 0}
    new = {"method": "blade", "method_options": {"pooling": "mean"}, "seed": 0}
    assert describe_differences(old, new) == "method: 'av-cil' in this run, 'blade' in the command"


def test_long_values_are_shortened():
    """The steps of a benchmark of 100 classes would hide the other differences."""
    steps = [[f"class {number}" for number in range(100)]]
    text = describe_differences({"steps": steps, "seed": 0}, {"steps": [["class 0"]], "seed": 1})
    assert text.endswith(
        "... in this run, [['class 0']] in the command; seed: 0 in this run, 1 in the command"
    )
    assert len(text) < 250


def test_other_configuration_is_an_error(store, run):
    """Every difference is shown with both values, and no file is changed."""
    before = sorted(
        path.stat().st_mtime_ns for path in run.rglob("*") if path.is_file() and path.name != ".lock"
    )
    with pytest.raises(
        InputError,
        match=r"other settings \(seed: 0 in this run, 1 in the command; epochs: 2 in this run, 9 in the command\)",
    ):
        train(config(store, run, seed=1, epochs=9), quiet=True)
    assert before == sorted(
        path.stat().st_mtime_ns for path in run.rglob("*") if path.is_file() and path.name != ".lock"
    )


def test_run_of_another_version_of_the_method_is_an_error(store, run):
    """No options can resume a run of a version without an option, so the message does not ask for them."""
    file = run / "config.json"
    value = json.loads(file.read_text())
    del value["method_options"]["exemplar_batches"]
    file.write_text(json.dumps(value))
    with pytest.raises(
        InputError, match=r"another version of the method av-cil, with other options \(exemplar_batches\)"
    ):
        train(config(store, run), quiet=True)


def test_finished_run_is_not_changed(store, run, capsys):
    """A finished run that is started again prints that and returns its results, also with other checkpoint_seconds."""
    results = train(config(store, run), quiet=True)
    files = {path: path.stat().st_mtime_ns for path in run.rglob("*") if path.name != ".lock"}
    assert train(config(store, run, checkpoint_seconds=5.0)) == results
    assert "is finished already" in capsys.readouterr().out
    assert {path: path.stat().st_mtime_ns for path in run.rglob("*") if path.name != ".lock"} == files


def test_moved_store_is_the_same_store(store, run, tmp_path):
    """A store is identified by its content, not by its path."""
    moved = shutil.copytree(store, tmp_path / "elsewhere")
    assert FeatureStore(moved).fingerprint == FeatureStore(store).fingerprint
    train(config(moved, run), quiet=True)


def test_locked_by_another_process(store, run):
    """A second process gets an error at once; the lock ends with its process."""
    hold = "import fcntl,sys; f=open(sys.argv[1],'a'); fcntl.flock(f,fcntl.LOCK_EX); print('held',flush=True); input()"
    other = subprocess.Popen(
        [sys.executable, "-c", hold, run / ".lock"], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    try:
        assert other.stdout.readline() == "held\n"
        with pytest.raises(InputError, match="another process is training in"):
            train(config(store, run), quiet=True)
    finally:
        other.communicate("\n", timeout=20)
    train(config(store, run), quiet=True)


def test_folder_of_another_program_is_not_changed(store, tmp_path):
    """A folder with other files, or a file, is an error."""
    (tmp_path / "letters").mkdir()
    (tmp_path / "letters" / "dear.txt").write_text("hello")
    for out in (
        tmp_path / "letters",
        tmp_path / "letters" / "dear.txt",
        tmp_path / "letters" / "dear.txt" / "run",
    ):
        with pytest.raises(InputError, match="another --out"):
            train(config(store, out), quiet=True)
    assert [path.name for path in (tmp_path / "letters").iterdir()] == ["dear.txt"]


DAMAGE = {
    "checkpoints/progress.json": "remove .*progress.json to train step 1 again",
    "checkpoints/progress-1-1.safetensors": "remove .*progress.json to train step 1 again",
    "checkpoints/step_0/state.json": "remove .*step_0 to train that step again",
    "checkpoints/step_0/model.safetensors": "remove .*step_0 to train that step again",
    "metrics.jsonl": "were written.*[Rr]estore it, or remove",
}


@pytest.mark.parametrize("how", ["half", "gone"])
@pytest.mark.parametrize("name", DAMAGE)
def test_damaged_files(name, how, store, run, stopped, tmp_path):
    """The error for a truncated or missing file says what to do; then the result equals that of an undamaged run."""
    file = run / name
    if how == "half":
        os.truncate(file, file.stat().st_size // 2)
    elif name == "checkpoints/progress.json":
        pytest.skip("its absence means that no epoch of the step was saved")
    else:
        file.unlink()
    with pytest.raises(InputError, match=DAMAGE[name]):
        train(config(store, run), quiet=True)
    advised = {"metrics.jsonl": run, "checkpoints/step_0/state.json": run / "checkpoints" / "step_0"}
    advised["checkpoints/step_0/model.safetensors"] = advised["checkpoints/step_0/state.json"]
    target = advised.get(name, run / "checkpoints" / "progress.json")
    shutil.rmtree(target) if target.is_dir() else target.unlink()
    train(config(store, run), quiet=True)
    whole = shutil.copytree(stopped, tmp_path / "whole")
    train(config(store, whole), quiet=True)
    for same in ("metrics.jsonl", "accuracy_matrix.csv", "predictions/step_1.csv", "model/model.safetensors"):
        assert (run / same).read_bytes() == (whole / same).read_bytes(), same


def test_step_removed_from_the_middle(store, tmp_path):
    """A removed step and all later steps are trained again."""
    out = tmp_path / "run"
    train(config(store, out, classes_per_step=2), quiet=True)
    before = {p: p.read_bytes() for p in out.rglob("*") if p.suffix in (".safetensors", ".csv", ".jsonl")}
    shutil.rmtree(out / "checkpoints" / "step_1")
    (out / "results.json").unlink()
    train(config(store, out, classes_per_step=2), quiet=True)
    assert {path: path.read_bytes() for path in before} == before


def test_another_environment_is_reported(store, run, capsys):
    """A run that is resumed with another number of threads prints that the last bits may differ."""
    file = run / "env.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | {"threads": 77}))
    train(config(store, run))
    printed = capsys.readouterr().out
    assert re.search(r"started with threads 77, now \d+: results may differ in the last bits", printed)


def test_files_of_killed_processes_are_removed(store, run):
    """Partial files of killed processes do not accumulate."""
    leaving = run / "checkpoints" / ".progress-1-1.safetensors.12345.part"
    leaving.write_bytes(b"half")
    train(config(store, run), quiet=True)
    assert not leaving.exists()


@pytest.mark.parametrize("left", [2, 1])
def test_progress_of_a_finished_step_is_removed(left, store, run, stopped, tmp_path):
    """Also after a kill between the commit of the last step and this removal."""
    train(config(store, run), quiet=True)
    (run / "results.json").unlink()
    for name in ("progress-1-1.safetensors", "progress.json")[:left]:
        shutil.copy(stopped / "checkpoints" / name, run / "checkpoints")
    train(config(store, run), quiet=True)
    assert sorted(path.name for path in (run / "checkpoints").iterdir()) == ["step_0", "step_1"]


@pytest.mark.parametrize(
    "written", ["metrics.jsonl", "model.safetensors", "state.json", "step_1.csv", "results.json"]
)
def test_full_disk(written, store, run, stopped, tmp_path, monkeypatch):
    """Full disk: a clear message, exit code 2, no partial file; with space, the run ends with the same result."""
    fsync = os.fsync

    def no_room(descriptor):
        name = Path(os.readlink(f"/proc/self/fd/{descriptor}")).name
        if name.startswith(f".{written}."):
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        fsync(descriptor)

    def no_room_for_a_line(*args, **kwargs):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", no_room)
        if written == "metrics.jsonl":
            patch.setattr("avcil.runs.run_directory.open", no_room_for_a_line, raising=False)
        with pytest.raises(
            InputError, match=r"no space left on the disk while writing .*run the same command again"
        ):
            train(config(store, run), quiet=True)
    assert not [path for path in run.rglob("*.part") if path.is_file()]
    results = train(config(store, run), quiet=True)
    whole = shutil.copytree(stopped, tmp_path / "whole")
    assert train(config(store, whole), quiet=True)["accuracy_per_step"] == results["accuracy_per_step"]
    assert (run / "metrics.jsonl").read_bytes() == (whole / "metrics.jsonl").read_bytes()


def test_no_validation_clips(store, tmp_path, monkeypatch):
    """Every step uses its last epoch, because none can be selected."""
    begin = FeatureStore.__init__

    def without_validation(self, *args, **kwargs):
        begin(self, *args, **kwargs)
        self.clips = [dataclasses.replace(c, split=c.split.replace("val", "train")) for c in self.clips]

    monkeypatch.setattr(FeatureStore, "__init__", without_validation)
    chosen = train(config(store, tmp_path / "best"), quiet=True)
    last = train(config(store, tmp_path / "last", selection="last"), quiet=True)
    assert chosen["accuracy_per_step"] == last["accuracy_per_step"]
