"""The folder of what a served model was taught: only what the server itself put there counts, or is removed."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from avcil.errors import InputError
from avcil.serve.work_folder import WorkFolder


@pytest.fixture
def model(tmp_path: Path) -> Path:
    (tmp_path / "model").mkdir()
    (tmp_path / "model" / "model.safetensors").write_bytes(b"numbers")
    return tmp_path / "model"


def taught(folder: Path, model: Path) -> WorkFolder:
    work = WorkFolder(folder, model)
    work.add({"label": "owl", "held_out": ["owl"]}, lambda path: (path / "model").mkdir())
    return work


def test_what_was_taught_is_found_again(tmp_path: Path, model: Path) -> None:
    taught(tmp_path / "work", model).close()
    work = WorkFolder(tmp_path / "work", model)
    assert [sitting["label"] for sitting in work.sittings] == ["owl"]
    work.close()


@pytest.mark.parametrize("name", ["incoming", "sittings"])
def test_a_folder_of_other_things_is_left_alone(name: str, tmp_path: Path, model: Path) -> None:
    """A folder given by mistake: everything in `incoming` and `sittings` was removed."""
    (tmp_path / "work" / name / "precious").mkdir(parents=True)
    (tmp_path / "work" / "thesis.txt").touch()
    with pytest.raises(InputError, match=r"thesis\.txt, which avcil serve did not put there"):
        WorkFolder(tmp_path / "work", model)
    assert (tmp_path / "work" / name / "precious").is_dir()


def test_only_folders_of_the_servers_names_are_removed(tmp_path: Path, model: Path) -> None:
    """What a kill left goes; a link, and a folder of another name, stay."""
    taught(tmp_path / "work", model).close()
    sittings = tmp_path / "work" / "sittings"
    (sittings / "000009").mkdir()
    (sittings / "holiday").mkdir()
    (sittings / "000010").symlink_to(model)
    WorkFolder(tmp_path / "work", model).close()
    assert sorted(path.name for path in sittings.iterdir()) == ["000001", "000010", "holiday"]
    assert model.is_dir()


@pytest.mark.parametrize(
    "change",
    [
        {"sittings": None},
        {"sittings": [3]},
        {"sittings": [{"number": "../../x", "label": "owl", "held_out": []}]},
        {"sittings": [{"number": 1, "label": ["owl"], "held_out": []}]},
        {"sittings": [{"number": 1, "label": "owl", "held_out": [3]}]},
        {"sittings": [{"number": 7, "label": "owl", "held_out": []}]},
        {"next": "2"},
        {"next": True},
        {"base": 3},
        {"version": 9},
    ],
)
def test_states_that_no_server_wrote(change: dict[str, Any], tmp_path: Path, model: Path) -> None:
    taught(tmp_path / "work", model).close()
    path = tmp_path / "work" / "state.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | change))
    with pytest.raises(InputError, match=r"state\.json"):
        WorkFolder(tmp_path / "work", model)
