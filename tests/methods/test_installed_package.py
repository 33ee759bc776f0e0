"""Methods of other installed packages, found by their entry points."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from avcil.errors import InputError
from avcil.experiments import method_specs
from avcil.methods import registry
from avcil.saved_models.folder import load_model
from avcil.training.config import TrainConfig
from avcil.training.run import train

PAGE = Path(__file__).parents[2] / "docs" / "adding-a-method.md"
CLOSED_FORM = """
from avcil.methods.ncm import Ncm


class Mine(Ncm):
    name = "mine"
    summary = "class means"
"""


def register(
    folder: Path, package: str, *, files: dict[str, str], group: str = "avcil.methods", **names: str
) -> None:
    """Write the files that an installer creates for a package, and its metadata with entry points."""
    for name, text in files.items():
        (folder / name).write_text(text)
    info = folder / f"{package.replace('-', '_')}-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {package}\nVersion: 1.0\n")
    lines = [f"{name.replace('_', '-')} = {value}" for name, value in names.items()]
    (info / "entry_points.txt").write_text("\n".join([f"[{group}]", *lines, ""]))


@pytest.fixture
def site(tmp_path, monkeypatch) -> Path:
    """A folder from which this process, and those that it starts, import installed packages."""
    folder = tmp_path / "site"
    folder.mkdir()
    monkeypatch.syspath_prepend(str(folder))
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(folder), os.environ.get("PYTHONPATH", "")]))
    return folder


def example_package(folder: Path) -> Path:
    """The package on the page."""
    section = PAGE.read_text(encoding="utf-8").split("## In your own package\n")[1].split("\n## ")[0]
    texts = [re.search(rf"```{kind}\n(.*?)```", section, re.DOTALL)[1] for kind in ("toml", "python")]
    assert sum(len(text.splitlines()) for text in texts) < 60
    folder.mkdir()
    for name, text in zip(("pyproject.toml", "avcil_balanced_replay.py"), texts, strict=True):
        (folder / name).write_text(text)
    return folder


def test_package_on_the_page(avcil, trained, site, tmp_path, capsys):
    """Its method is listed, trained, learns more, predicts from a saved model and has a row in a table."""
    package = example_package(tmp_path / "avcil-balanced-replay")
    arguments = [
        "install",
        "--quiet",
        "--offline",
        "--no-deps",
        "--no-build-isolation",
        "--target",
        site,
        package,
    ]
    command = [sys.executable, "-m", "uv", "pip", *arguments[:1], "--python", sys.executable, *arguments[1:]]
    subprocess.run([str(word) for word in command], check=True, timeout=120)
    method, run = ("--method", "balanced-replay"), tmp_path / "run"
    settings = ("--classes-per-step", 2, "--exemplars-per-class", 2, "--epochs", 2)
    assert avcil("methods") == 0
    assert re.search(r"balanced-replay .*\[package avcil-balanced-replay 1\.0\]", capsys.readouterr().out)
    assert avcil("methods", "balanced-replay") == 0
    assert "[package avcil-balanced-replay 1.0]" in capsys.readouterr().out
    assert avcil("train", trained / "features", *method, "--set", "tau=0.5", *settings, "--out", run) == 0
    assert json.loads((run / "config.json").read_text())["method_options"] == {"tau": 0.5}
    assert json.loads((run / "env.json").read_text())["packages"] == "avcil-balanced-replay 1.0"
    clip = trained / "clips/test-0-0.mp4"
    assert avcil("predict", run, clip) == 0
    new = tmp_path / "new/siren"
    new.mkdir(parents=True)
    for take in range(2):
        (new / f"{take}.mp4").write_bytes((trained / f"clips/test-1-{take}.mp4").read_bytes())
    assert avcil("learn", run, new.parent, "--out", tmp_path / "more") == 0
    assert avcil("predict", tmp_path / "more", clip) == 0
    rows = ("--methods", "er", "balanced-replay:tau=2", "--seeds", 0, "--modalities", "audio")
    assert avcil("reproduce", trained / "features", *rows, *settings, "--out", tmp_path / "table") == 0
    assert "balanced-replay:tau=2" in capsys.readouterr().out


def test_closed_form_model_imports_its_method(store, site, tmp_path):
    """A process that has not imported the package loads the model; without the package, the error says what to do."""
    register(site, "mine", files={"mine_package.py": CLOSED_FORM}, mine="mine_package:Mine")
    train(TrainConfig(features=store, out=tmp_path / "run", method="mine", classes_per_step=3), quiet=True)
    sys.modules.pop("mine_package")
    assert load_model(tmp_path / "run/model")[0].kind == "mine"
    assert "mine_package" in sys.modules
    sys.path.remove(str(site))
    with pytest.raises(
        InputError, match=r"'mine' come from no method of avcil.*If a package has the method, install"
    ):
        load_model(tmp_path / "run/model")


@pytest.mark.parametrize(
    "kind", ["trap_package:Mine", "trap_package", "trap-package", "avcil.methods.ncm", "os:system"]
)
def test_only_registered_modules_are_imported(kind, site):
    """`kind` is read from a model folder, which may be untrusted: other modules are not imported."""
    register(site, "trap", files={"trap_package.py": CLOSED_FORM}, trap="trap_package:Mine")
    with pytest.raises(InputError, match="come from no method"):
        registry.method_of_kind(kind)
    assert "trap_package" not in sys.modules


BROKEN = {
    "missing": ("no_such_module:Mine", "ModuleNotFoundError: No module named 'no_such_module'"),
    "raises": ("raises_package:Mine", "ZeroDivisionError"),
    "lacks": ("mine_package:Other", "AttributeError"),
    "function": ("mine_package:print", "AttributeError"),
    "no-method": ("json:JSONDecoder", "is not a class derived from avcil.methods.base.Method"),
    "renamed": ("mine_package:Mine", "is 'mine'; it must be 'renamed'"),
    "blade": ("mine_package:Mine", "avcil has a method of this name"),
    "Upper": ("mine_package:Mine", "must consist of lower-case letters"),
    "file.py": ("mine_package:Mine", "must consist of lower-case letters"),
}


def test_broken_entry_points_are_listed(avcil, site, capsys):
    """Each with its package and the reason; others work, and methods of avcil cannot be replaced."""
    files = {"mine_package.py": CLOSED_FORM, "raises_package.py": "1 / 0"}
    register(site, "good", files=files, mine="mine_package:Mine")
    for number, (name, (value, _)) in enumerate(BROKEN.items()):
        register(site, f"bad{number}", files={}, **{name: value})
    assert avcil("methods") == 0
    lines = capsys.readouterr().out.splitlines()
    assert any("[package good 1.0]" in line for line in lines)
    for number, (name, (value, reason)) in enumerate(BROKEN.items()):
        (line,) = (line for line in lines if f"{name!r} of the package bad{number} 1.0 ({value})" in line)
        assert reason in line
    assert registry.load_method("blade").__module__ == "avcil.methods.blade"
    with pytest.raises(
        InputError, match=r"of the package bad1 1\.0 \(raises_package:Mine\) cannot be loaded"
    ):
        registry.load_method("raises")


def test_name_registered_by_two_packages(site):
    """The error names both packages."""
    for package in ("one", "two"):
        register(site, package, files={"mine_package.py": CLOSED_FORM}, mine="mine_package:Mine")
    assert "mine" not in registry.method_names()
    assert [line.count("registers the same name") for line in registry.METHODS.usable()[1]] == [1, 1]


STREAM = """
from dataclasses import replace

from avcil.datasets.benchmark import Benchmark
from avcil.streams.base import Stream, StreamType, tasks_by_class


class Backwards(StreamType):
    summary = "the steps in reverse order"

    def build(self, clips, steps, *, seed):
        steps = replace(steps, steps=tuple(reversed(steps.steps)))
        return Stream(benchmark=steps, task_of_row=tasks_by_class(clips, steps))
"""


def test_stream_of_a_package(avcil, store, site, tmp_path, capsys):
    """It is listed and trained; broken ones are listed."""
    names = {
        "backwards": "backwards_package:Backwards",
        "absent": "absent_package:Stream",
        "online": "json:loads",
    }
    register(site, "backwards", files={"backwards_package.py": STREAM}, group="avcil.streams", **names)
    assert avcil("streams") == 0
    lines = capsys.readouterr().out.splitlines()
    assert any(line.endswith("the steps in reverse order [package backwards 1.0]") for line in lines)
    for text in (
        "stream 'absent' of the package backwards 1.0",
        "stream 'online' of the package backwards 1.0",
    ):
        assert any(text in line for line in lines)
    arguments = ("--classes-per-step", 2, "--stream", "backwards", "--out", tmp_path / "run")
    assert avcil("train", store, *arguments) == 0
    assert json.loads((tmp_path / "run/model/labels.json").read_text()) == [
        "c4",
        "c5",
        "c2",
        "c3",
        "c0",
        "c1",
    ]


def test_name_of_a_variant(site):
    """A row with this name would be ambiguous."""
    register(site, "variant", files={}, icarl_nme="mine_package:Mine")
    with pytest.raises(
        InputError, match=r"variant of icarl in avcil, and a method of the package variant 1\.0"
    ):
        method_specs.parse_method_spec("icarl-nme")
