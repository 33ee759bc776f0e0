"""The state directory: only files of the server are used or removed."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from avcil.errors import InputError
from avcil.serve.state_directory import StateDirectory


@pytest.fixture
def model(tmp_path: Path) -> Path:
    (tmp_path / "model").mkdir()
    (tmp_path / "model" / "model.safetensors").write_bytes(b"numbers")
    return tmp_path / "model"


def trained(folder: Path, model: Path) -> StateDirectory:
    work = StateDirectory(folder, model)
    work.add({"label": "owl", "held_out": ["owl"]}, lambda path: (path / "model").mkdir())
    return work


def test_updates_are_loaded_again(tmp_path: Path, model: Path) -> None:
    trained(tmp_path / "work", model).close()
    work = StateDirectory(tmp_path / "work", model)
    assert [update["label"] for update in work.updates] == ["owl"]
    work.close()


@pytest.mark.parametrize("name", ["incoming", "updates", "sittings"])
def test_folder_with_other_files_is_an_error(name: str, tmp_path: Path, model: Path) -> None:
    """The server would otherwise remove files of `incoming` and `sittings` in a wrong folder."""
    (tmp_path / "work" / name / "precious").mkdir(parents=True)
    (tmp_path / "work" / "thesis.txt").touch()
    with pytest.raises(InputError, match=r"thesis\.txt, which is not a file of avcil serve"):
        StateDirectory(tmp_path / "work", model)
    assert (tmp_path / "work" / name / "precious").is_dir()


def test_only_folders_of_the_server_are_removed(tmp_path: Path, model: Path) -> None:
    """Folders of a killed server are removed; links and other folders are kept."""
    trained(tmp_path / "work", model).close()
    updates = tmp_path / "work" / "updates"
    (updates / "000009").mkdir()
    (updates / "holiday").mkdir()
    (updates / "000010").symlink_to(model)
    StateDirectory(tmp_path / "work", model).close()
    assert sorted(path.name for path in updates.iterdir()) == ["000001", "000010", "holiday"]
    assert model.is_dir()


@pytest.mark.parametrize(
    "change",
    [
        {"updates": None},
        {"updates": [3]},
        {"updates": [{"number": "../../x", "label": "owl", "held_out": []}]},
        {"updates": [{"number": 1, "label": ["owl"], "held_out": []}]},
        {"updates": [{"number": 1, "label": "owl", "held_out": [3]}]},
        {"updates": [{"number": 7, "label": "owl", "held_out": []}]},
        {"next": "2"},
        {"next": True},
        {"base": 3},
        {"version": 9},
    ],
)
def test_invalid_states(change: dict[str, Any], tmp_path: Path, model: Path) -> None:
    trained(tmp_path / "work", model).close()
    path = tmp_path / "work" / "state.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | change))
    with pytest.raises(InputError, match=r"state\.json"):
        StateDirectory(tmp_path / "work", model)
