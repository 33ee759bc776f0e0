"""The package's metadata: one version, the license files, and files that installed packages must contain."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

import yaml
from packaging.version import Version

import avcil

ROOT = Path(__file__).parents[1]
PYPROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))


def test_the_version_is_written_once() -> None:
    """hatchling reads it from the package; the changelog's first section is the version under development."""
    assert "version" in PYPROJECT["project"]["dynamic"]
    assert PYPROJECT["tool"]["hatch"]["version"]["path"] == "src/avcil/utils/version.py"
    assert "version" not in yaml.safe_load((ROOT / "CITATION.cff").read_text(encoding="utf-8"))
    newest = re.search(r"^## (\S+)", (ROOT / "CHANGELOG.md").read_text(encoding="utf-8"), re.MULTILINE)
    assert newest is not None
    assert Version(newest[1]).base_version == Version(avcil.__version__).base_version


def test_license_and_notices_are_part_of_the_package() -> None:
    """Also those of the weights, which are works of others."""
    project = PYPROJECT["project"]
    assert project["license"] == "Apache-2.0"
    assert "Apache License" in (ROOT / "LICENSE").read_text(encoding="utf-8")
    assert all((ROOT / name).is_file() for name in project["license-files"])
    weights = (ROOT / "src/avcil/encoders/weights").iterdir()
    texts = {str(path.relative_to(ROOT)) for path in weights if path.suffix == ".txt"}
    assert texts <= set(project["license-files"])
    assert (ROOT / "src/avcil/py.typed").is_file()


def test_the_citation_names_software_and_paper() -> None:
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
