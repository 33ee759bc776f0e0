"""The package's metadata: one version, the license files, and files that installed packages must contain."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
import yaml
from packaging.version import Version

import avcil
from avcil.utils.cores import available_cores
from avcil.workers.process import WorkerProcess

ROOT = Path(__file__).parents[1]
PYPROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))


def test_version_has_one_source() -> None:
    """hatchling reads it from the package; the changelog's first section is the version under development."""
    assert "version" in PYPROJECT["project"]["dynamic"]
    assert PYPROJECT["tool"]["hatch"]["version"]["path"] == "src/avcil/utils/version.py"
    assert "version" not in yaml.safe_load((ROOT / "CITATION.cff").read_text(encoding="utf-8"))
    newest = re.search(r"^## (\S+)", (ROOT / "CHANGELOG.md").read_text(encoding="utf-8"), re.MULTILINE)
    assert newest is not None
    assert Version(newest[1]).base_version == Version(avcil.__version__).base_version


def test_license_and_notices_are_part_of_the_package() -> None:
    """Also those of the packaged weights."""
    project = PYPROJECT["project"]
    assert project["license"] == "Apache-2.0"
    assert "Apache License" in (ROOT / "LICENSE").read_text(encoding="utf-8")
    assert all((ROOT / name).is_file() for name in project["license-files"])
    weights = (ROOT / "src/avcil/encoders/weights").iterdir()
    texts = {str(path.relative_to(ROOT)) for path in weights if path.suffix == ".txt"}
    assert texts <= set(project["license-files"])
    assert (ROOT / "src/avcil/py.typed").is_file()


def test_citation_has_software_and_paper() -> None:
    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text(encoding="utf-8"))
    assert citation["type"] == "software"
    assert citation["authors"] == PYPROJECT["project"]["authors"]
    assert citation["license"] == PYPROJECT["project"]["license"]
    (paper,) = citation["references"]
    assert paper["title"] == "Audio-Visual Class-Incremental Learning"
    assert [author["family-names"] for author in paper["authors"]] == ["Pian", "Mo", "Guo", "Tian"]


def test_pre_commit_hooks_need_no_network() -> None:
    """Each is local and runs a tool of .venv."""
    config = yaml.safe_load((ROOT / ".pre-commit-config.yaml").read_text(encoding="utf-8"))
    assert {repo["repo"] for repo in config["repos"]} == {"local"}
    hooks = [hook for repo in config["repos"] for hook in repo["hooks"]]
    assert all(hook["language"] == "system" and hook["entry"].startswith(".venv/bin/") for hook in hooks)


@pytest.mark.parametrize("module", ["avcil", "avcil.cli.main"])
def test_windows_is_rejected(module: str) -> None:
    """The error has the reason; otherwise, the first import of fcntl fails."""
    code = f"import sys; sys.platform = 'win32'; import {module}"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
    assert done.returncode == 1
    assert done.stderr.splitlines()[-1].startswith("ImportError: avcil does not run on Windows. Use WSL 2")


def test_reading_media_on_macos_is_rejected(monkeypatch: pytest.MonkeyPatch) -> None:
    """Worker processes use memfd_create and /proc."""
    monkeypatch.setattr(sys, "platform", "darwin")
    with pytest.raises(avcil.AvcilError, match="need Linux"):
        WorkerProcess("avcil.media.worker").start()


def test_number_of_cores_without_affinity(monkeypatch: pytest.MonkeyPatch) -> None:
    """macOS has no sched_getaffinity."""
    monkeypatch.delattr(os, "sched_getaffinity")
    assert available_cores() == os.cpu_count()


def test_container_installs_existing_extras() -> None:
    """Tests do not build the image; its instructions must match the project's files."""
    text = (ROOT / "Dockerfile").read_text(encoding="utf-8")
    extras = re.search(r'\.whl\)\[([\w,]+)\]"', text)
    assert extras is not None
    assert set(extras[1].split(",")) <= set(PYPROJECT["project"]["optional-dependencies"])
    assert "torch==" in (ROOT / "constraints.txt").read_text(encoding="utf-8")
