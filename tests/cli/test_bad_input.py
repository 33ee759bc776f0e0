"""Invalid input to the commands: exit code 2, one clear message, no data loss; valid input as a control."""

from __future__ import annotations

import errno
import json
import os
import re
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

Command = Callable[..., int]


@pytest.fixture(scope="module")
def work(clips, tmp_path_factory) -> Path:
    """A folder with clips.csv, features and the run `trained`, made with the commands."""
    from avcil.cli.main import main

    folder = tmp_path_factory.mktemp("work")
    for arguments in (
        ["scan", clips, "--out", folder / "clips.csv"],
        ["extract", folder / "clips.csv", "--out", folder / "features"],
        [*TRAIN, folder / "features", "--out", folder / "trained"],
    ):
        with pytest.raises(SystemExit) as end:
            main([str(word) for word in arguments])
        assert not end.value.code
    return folder


TRAIN = [
    "train",
    "--method",
    "av-cil",
    "--classes-per-step",
    "2",
    "--exemplars-per-class",
    "1",
    "--epochs",
    "2",
    "--seed",
    "0",
]


def error_message(capsys: pytest.CaptureFixture[str]) -> str:
    """The error message, which must be one line without a traceback or a box."""
    err = capsys.readouterr().err
    messages = [line for line in err.splitlines() if line.startswith("avcil: ")]
    assert len(messages) == 1, err
    assert "Traceback" not in err
    return messages[0]


def written(folder: Path) -> dict[str, bytes]:
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in folder.rglob("*")
        if path.is_file() and path.name != ".lock"
    }


def test_documented_commands(avcil, clips, tmp_path, monkeypatch, capsys):
    """The six commands of the manual work as written."""
    monkeypatch.chdir(tmp_path)
    shutil.copytree(clips, "clips")
    shutil.copy("clips/test/cat/0.mp4", "clip.mp4")
    shutil.copy("clips/test/owl/0.mp4", "other.mp4")
    quick = ["--epochs", "2"]
    assert avcil("scan", "clips/", "--out", "work/clips.csv") == 0
    assert avcil("extract", "work/clips.csv", "--out", "work/features") == 0
    av_cil = "train work/features --method av-cil --classes-per-step 3 --exemplars-per-class 4 --seed 0"
    assert avcil(*av_cil.split(), "--out", "runs/av-cil", *quick) == 0
    joint = "train work/features --method joint --modality audio --classes-per-step 3 --seed 0 --out runs/joint-audio"
    assert avcil(*joint.split(), *quick) == 0
    capsys.readouterr()
    assert avcil(*["predict", "runs/av-cil", "clip.mp4", "other.mp4", "--json"]) == 0
    assert [result["path"] for result in json.loads(capsys.readouterr().out)] == ["clip.mp4", "other.mp4"]
    assert avcil(*["report", "runs/av-cil", "runs/joint-audio", "--out", "report.html"]) == 0
    assert Path("report.html").stat().st_size > 10_000


def csv_with(folder: Path, text: str) -> Path:
    file = folder / "bad.csv"
    file.write_text(text, encoding="utf-8")
    return file


LISTS = {
    "wrong columns": ("file,class\na.mp4,cat\n", "wrong columns 'file,class'.*Expected: path,label,split"),
    "duplicate ids": (
        "path,label,split,clip_id\na.mp4,cat,train,x\nb.mp4,dog,test,x\n",
        "clip ids must be unique; duplicates: 'x'",
    ),
    "labels in two cases": (
        "path,label,split\na.mp4,Cat,train\nb.mp4,cat,test\n",
        "differ only in case or spaces",
    ),
    "labels in two blanks": (
        "path,label,split\na.mp4,big cat,train\nb.mp4,big  cat,test\n",
        "differ only in case",
    ),
    "unknown split": ("path,label,split\na.mp4,cat,dev\n", "split 'dev'; allowed: train, val, test"),
    "no clip": ("path,label,split\n", "contains no clips"),
}


@pytest.mark.parametrize("name", LISTS)
def test_clip_lists(name, avcil, tmp_path, capsys):
    """Errors occur before a store is created."""
    text, message = LISTS[name]
    assert avcil("extract", csv_with(tmp_path, text), "--out", tmp_path / "features") == 2
    assert_matches(message, error_message(capsys))
    assert not (tmp_path / "features").exists()


def assert_matches(pattern: str, text: str) -> None:
    print(text)
    assert re.search(pattern, text), text


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (None, "does not exist"),
        ((), "is empty"),
        (("a/1.mp4", "b/1.mp4", "b/2.mp4", "b/3.mp4"), "'a'"),
    ],
    ids=["missing", "empty", "a class with one clip"],
)
def test_folders(make, message, avcil, clips, tmp_path, capsys):
    """A missing or empty folder, or a class that cannot be split: no list is written."""
    folder = tmp_path / "clips"
    if make is not None:
        folder.mkdir()
        for name in make:
            (folder / name).parent.mkdir(exist_ok=True)
            content = (clips / "test/cat/0.mp4").read_bytes()
            size = (8 + len(name)).to_bytes(
                4, "big"
            )  # a skipped MP4 box with different content, so that no two files are copies
            (folder / name).write_bytes(content + size + b"free" + name.encode())
    assert avcil("scan", folder, "--out", tmp_path / "clips.csv") == 2
    assert_matches(message, error_message(capsys))
    assert not (tmp_path / "clips.csv").exists()


def test_classes_of_the_steps(avcil, work, tmp_path, capsys):
    """A class that the store does not have is an error; classes that the steps leave out are named."""
    steps = tmp_path / "steps.json"
    arguments = ["train", work / "features", "--steps", steps, "--out", tmp_path / "run"]
    steps.write_text('[["cat"], ["owls"]]')
    assert avcil(*arguments) == 2
    assert_matches("unknown class in the steps 'owls'; did you mean owl", error_message(capsys))
    steps.write_text('[["cat"], ["owl"]]')
    assert avcil(*arguments) == 0
    printed = capsys.readouterr()
    assert "classes that the steps do not name are not used: 'dog', 'toad'" in printed.out + printed.err


def test_report_of_a_folder_of_runs(avcil, work, tmp_path, capsys):
    """The folder of avcil reproduce is not a run; the message names its runs."""
    shutil.copytree(work / "trained", tmp_path / "table" / "runs" / "one")
    assert avcil("report", tmp_path / "table", "--out", tmp_path / "report.html") == 2
    assert_matches(
        r"is not a run directory .* runs of avcil reproduce: .*table/runs/\*", error_message(capsys)
    )


def test_error_in_the_method_of_a_user(avcil, work, tmp_path, capsys):
    """The message names the line of the user's file, also if PyTorch raised the error."""
    method = tmp_path / "mine.py"
    lines = (
        "from avcil.methods.base import GradientMethod",
        "class Mine(GradientMethod):",
        "    name, summary = 'mine', 'a method with a mistake'",
        "    def loss(self, output, batch, step):",
        "        return {'sum': (output.logits @ output.feature).sum()}",
    )
    method.write_text("\n".join(lines))
    arguments = [*TRAIN, "--method", method, work / "features", "--out", tmp_path / "run"]
    assert avcil(*arguments) == 1
    assert_matches(rf"unexpected RuntimeError in {method}, line 5: .*--debug", error_message(capsys))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--method", "avcil"], "unknown method 'avcil'; did you mean av-cil"),
        (["--method", "nowhere.py"], "no file nowhere.py"),
        (
            ["--set", "lambda_clas=1"],
            "unknown option of method av-cil 'lambda_clas'; did you mean lambda_class",
        ),
        (["--set", "lambda_class"], "--set takes NAME=VALUE"),
        (["--set", "lambda_class=nan"], "must be a number"),
        (["--set", "class_form=mine"], "must be one of paper, release"),
        (["--epochs", "0"], "--epochs must be 1 or more; not 0"),
        (["--learning-rate", "inf"], "--learning-rate must be a number above 0"),
        (["--exemplars", "3"], "give --exemplars or --exemplars-per-class, not both"),
        (["--steps", "none.json", "--classes-per-step", "1"], "--steps defines the classes"),
        (["--benchmark", "ave"], "unknown benchmark|ave-ci"),
    ],
)
def test_options(arguments, message, avcil, work, tmp_path, capsys):
    """Errors suggest names or list allowed values; no run is started."""
    assert avcil(*TRAIN, work / "features", "--out", tmp_path / "run", *arguments) == 2
    assert_matches(message, error_message(capsys))
    assert not (tmp_path / "run" / "config.json").exists()


def test_unknown_encoder(avcil, work, tmp_path, capsys):
    """The error suggests the most similar name."""
    assert (
        avcil("extract", work / "clips.csv", "--out", tmp_path / "features", "--visual", "patch-moton") == 2
    )
    assert_matches("unknown visual encoder 'patch-moton'; did you mean patch-motion", error_message(capsys))


def test_unknown_command(avcil, capsys):
    """The error suggests the most similar name."""
    assert avcil("trian", "x") == 2
    assert_matches("unknown command 'trian'; did you mean train", error_message(capsys))


def test_store_of_another_encoder(avcil, work, tmp_path, capsys):
    """A store can only be resumed with its encoder; it is unchanged."""
    store = shutil.copytree(work / "features", tmp_path / "features")
    before = written(store)
    assert avcil("extract", work / "clips.csv", "--out", store, "--visual", "none") == 2
    assert_matches("another|other|differ", error_message(capsys))
    assert written(store) == before


def test_incomplete_store(avcil, work, tmp_path, capsys):
    """With a damaged index and shard, training names the next step, and extracting again repairs the store."""
    store = shutil.copytree(work / "features", tmp_path / "features")
    shard = next((store / "shards").iterdir())
    os.truncate(shard, shard.stat().st_size // 2)
    assert avcil(*TRAIN, store, "--out", tmp_path / "run") == 2
    assert_matches("extract", error_message(capsys))
    assert not (tmp_path / "run" / "config.json").exists()
    for nothing in (tmp_path / "none", tmp_path):
        assert avcil(*TRAIN, nothing, "--out", tmp_path / "run") == 2
        error_message(capsys)


def test_full_disk(avcil, work, tmp_path, capsys, monkeypatch):
    """The error is reported, and with free space the same command gives the same result."""
    sync = os.fsync

    def no_room(descriptor):
        if ".state.json." in os.readlink(f"/proc/self/fd/{descriptor}"):
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        sync(descriptor)

    run = tmp_path / "run"
    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", no_room)
        assert avcil(*TRAIN, work / "features", "--out", run) == 2
    assert_matches(
        "no space left on the disk while writing .*run the same command again", error_message(capsys)
    )
    assert avcil(*TRAIN, work / "features", "--out", run) == 0
    assert (run / "accuracy_matrix.csv").read_bytes() == (
        work / "trained" / "accuracy_matrix.csv"
    ).read_bytes()
    model = Path("model", "model.safetensors")
    assert (run / model).read_bytes() == (work / "trained" / model).read_bytes()


def test_run_with_other_settings(avcil, work, capsys):
    """The error names the difference, and the run is unchanged."""
    before = written(work / "trained")
    assert avcil(*TRAIN, work / "features", "--out", work / "trained", "--seed", "5") == 2
    assert_matches(r"other settings \(seed: 0 in this run, 5 in the command\)", error_message(capsys))
    assert written(work / "trained") == before


@pytest.mark.parametrize(
    "arguments",
    [
        ["predict", "RUN"],
        ["predict", "nowhere", "a.mp4"],
        ["predict", "RUN", "a.mp4", "--top", "0"],
        ["report", "nowhere", "--out", "report.html"],
        ["report", "--out", "report.html"],
        ["report", "RUN", "--out", "report.html", "--examples", "-1"],
        ["methods", "avcil"],
    ],
    ids=" ".join,
)
def test_other_commands(arguments, avcil, work, capsys, tmp_path, monkeypatch):
    """Each error is one line, and nothing is written."""
    monkeypatch.chdir(tmp_path)
    assert avcil(*(work / "trained" if word == "RUN" else word for word in arguments)) == 2
    error_message(capsys)
    assert not list(tmp_path.iterdir())
