"""requirements.lock: every package that set-up installs, with hashes and without data of the machine that wrote it."""

from __future__ import annotations

import re
import subprocess
import tomllib
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).parents[1]
LOCK = ROOT / "requirements.lock"
NOT_LOCKED = re.compile(r"torch|triton|nvidia-.*|cuda-.*")
"""The build of torch depends on the machine; the others are installed with its CUDA build."""


def locked() -> dict[str, str]:
    """Version by name."""
    lines = [line for line in LOCK.read_text().splitlines() if not line.startswith((" ", "#"))]
    result = [re.fullmatch(r"([a-z0-9.-]+)==([^ ;]+)( ; .*)? \\", line) for line in lines]
    assert all(result), "a line of requirements.lock pins nothing"
    return {match[1]: match[2] for match in result if match}


def test_every_package_has_hashes() -> None:
    blocks = re.split(r"\n(?=[a-z])", LOCK.read_text())[1:]
    assert len(blocks) > 100
    assert all("--hash=sha256:" in block for block in blocks)


def test_requirements_have_their_pinned_version() -> None:
    """After a change of pyproject.toml or constraints.txt, run make lock."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    extras = [word for words in project["optional-dependencies"].values() for word in words]
    expected = [Requirement(word) for word in [*project["dependencies"], *extras]]
    versions = locked()
    for requirement in expected:
        name = canonicalize_name(requirement.name)
        if not NOT_LOCKED.fullmatch(name):
            assert name in versions, f"{name} is not in requirements.lock: run make lock"
            assert requirement.specifier.contains(versions[name], prereleases=True), f"{name}: run make lock"
    pins = re.findall(r"^([\w.-]+)==(\S+)$", (ROOT / "constraints.txt").read_text(), re.MULTILINE)
    for name, version in pins:
        if canonicalize_name(name) in versions:
            assert versions[canonicalize_name(name)] == version, f"{name}: run make lock"


def test_no_index_and_no_local_file() -> None:
    """It must work on any machine that can access PyPI; torch is not part of it."""
    text = LOCK.read_text()
    assert not re.search(r"^--|https?:|file:|find-links|index-url|@ ", text, re.MULTILINE)
    assert not [name for name in locked() if NOT_LOCKED.fullmatch(name)]
    assert "torch==" in (ROOT / "constraints.txt").read_text()


def test_default_setup_installs_only_in_the_folder() -> None:
    """Only `make setup-browser` installs Chromium with apt."""
    assert "apt-get" not in re.sub(r"#.*|say .*|\|\| say.*", "", (ROOT / "setup.sh").read_text())
    assert "apt-get" in (ROOT / "setup-browser.sh").read_text()


@pytest.mark.parametrize("script", ["setup.sh", "lock.sh", "setup-browser.sh", ".ci/run"])
def test_scripts_are_valid_sh(script: str) -> None:
    assert subprocess.run(["sh", "-n", str(ROOT / script)], check=False).returncode == 0
