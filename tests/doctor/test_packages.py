"""Packages that `avcil doctor` checks: missing, old, conflicting, or in extras."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from doctor_checks import check_named

from avcil.doctor import packages
from avcil.doctor.checks import find_checks
from avcil.doctor.examination import run_check, run_in_subprocess


@pytest.fixture
def metadata(tmp_path, monkeypatch):
    """Write other metadata of avcil, found before the real one."""

    def write(*lines):
        folder = tmp_path / "packages" / "avcil-9.dist-info"
        folder.mkdir(parents=True)
        text = "\n".join(["Metadata-Version: 2.1", "Name: avcil", "Version: 9", *lines])
        (folder / "METADATA").write_text(text + "\n")
        monkeypatch.syspath_prepend(str(tmp_path / "packages"))

    return write


def test_missing_and_old_packages(metadata):
    """The checked requirements are those in the metadata of avcil."""
    metadata("Requires-Python: >=99", "Requires-Dist: no-such-thing>=2", "Requires-Dist: numpy>=99,<100")
    (python,) = packages.python()
    assert (python.status, python.fails) == ("broken", True)
    assert ">=99" in python.advice
    missing, old = packages.required_packages()
    assert (missing.status, missing.detail) == ("missing", "is not installed")
    assert missing.advice == "pip install 'no-such-thing>=2'"
    assert old.status == "broken"
    assert "does not fit; avcil needs <100,>=99" in old.detail
    assert missing.fails
    assert old.fails


def test_extras_are_those_of_the_metadata(metadata, tmp_path, monkeypatch):
    """A partly installed extra is missing, one that fails to import is a failure; both leave the core unchanged."""
    metadata(
        "Provides-Extra: good",
        "Provides-Extra: half",
        "Provides-Extra: bad",
        "Requires-Dist: tqdm; extra == 'good'",
        "Requires-Dist: tqdm; extra == 'half'",
        "Requires-Dist: no-such-thing; extra == 'half'",
        "Requires-Dist: sulks; extra == 'bad'",
    )
    sulks = tmp_path / "packages" / "sulks-1.dist-info"
    sulks.mkdir()
    (sulks / "METADATA").write_text("Metadata-Version: 2.1\nName: sulks\nVersion: 1\n")
    (sulks / "top_level.txt").write_text("sulks\n")
    (tmp_path / "packages" / "sulks.py").write_text("raise RuntimeError('built for another numpy')\n")
    assert packages.extra_names() == ["bad", "good", "half"]
    result = {name: next(packages.extra_packages(name)) for name in packages.extra_names()}
    assert {name: finding.status for name, finding in result.items()} == {
        "bad": "broken",
        "good": "ok",
        "half": "missing",
    }
    assert "RuntimeError: built for another numpy" in result["bad"].detail
    assert "pip install 'avcil[half]'" in result["half"].advice
    assert not any(finding.fails for finding in result.values())
    assert "tqdm" in result["half"].detail


def test_all_extras_are_checked():
    """Every extra of avcil has its check."""
    from importlib.metadata import metadata as metadata_of

    extras = metadata_of("avcil").get_all("Provides-Extra")
    assert {f"extra {name}" for name in extras} <= {check.name for check in find_checks()}


def test_avcil_is_not_installed(monkeypatch):
    """In a checkout without set-up, there is one result and no crash."""
    monkeypatch.setattr(packages, "PACKAGE", "no-such-thing")
    (python,) = packages.python()
    assert python.fails
    assert "make setup" in python.advice
    assert packages.extra_names() == []


def test_conflicting_packages(fake_module, monkeypatch):
    """A torchvision for another PyTorch is reported, with the command that repairs it."""
    fake_module("torchvision", "raise RuntimeError('operator torchvision::nms does not exist')")
    version = packages._version
    monkeypatch.setattr(packages, "_version", lambda name: "0.9" if name == "torchvision" else version(name))
    finding = next(result for result in packages.conflicts() if result.name == "torchvision")
    assert finding.status == "broken"
    assert not finding.fails
    assert finding.advice.startswith("pip uninstall torchvision")


def test_transformers_missing(monkeypatch):
    """Encoders of a missing extra are not tested; its result gives the reason, and the core does not fail."""
    monkeypatch.setattr("avcil.doctor.media.find_spec", lambda name: None)
    assert run_check(check_named("transformers")) == []
    version = packages._version
    monkeypatch.setattr(packages, "_version", lambda name: None if name == "transformers" else version(name))
    (result,) = run_check(check_named("extra encoders"))
    assert (result.status, result.fails) == ("missing", False)
    assert result.detail == "not installed: transformers"
    assert "avcil[encoders]" in result.advice


def test_transformers_models_are_encoded():
    """If it is installed, a video and an audio model are saved, loaded, and used; no hub is contacted."""
    pytest.importorskip("transformers")
    assert [result.status for result in run_in_subprocess(check_named("transformers"))] == ["ok", "ok"]


def test_ray_missing(fake_module):
    """With --ray and without Ray, the result says how to install it; the core does not fail."""
    fake_module("ray", "raise ImportError('no ray')")
    (finding,) = run_in_subprocess(check_named("ray", ray=True))
    assert (finding.status, finding.fails) == ("broken", False)
    assert "pip install 'avcil[distributed]'" in finding.detail


@pytest.mark.parametrize(
    "arguments", [["-m", "avcil", "train", "x", "--out", "y"], ["-m", "avcil", "doctor"]]
)
def test_tyro_missing(arguments, fake_module, tmp_path):
    """The error names the file to check, and how to get the report."""
    (tmp_path / "tyro.py").write_text("raise ModuleNotFoundError(\"No module named 'tyro'\", name='tyro')\n")
    paths = os.pathsep.join([str(tmp_path), *filter(None, sys.path)])
    done = subprocess.run(
        [sys.executable, *arguments],
        env=os.environ | {"PYTHONPATH": paths},
        capture_output=True,
        text=True,
        timeout=60,
        cwd=Path(__file__).parents[2],
    )
    assert done.returncode == 1
    assert done.stderr == (
        "avcil: the package tyro is missing. python -m avcil.doctor shows how to install it\n"
    )
