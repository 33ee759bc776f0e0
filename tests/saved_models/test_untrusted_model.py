"""Untrusted or damaged model folders: the error names the problem and the file."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from changed_models import METHODS, change, change_tensors, learn
from safetensors.torch import load_file, save_file

from avcil.errors import InputError
from avcil.saved_models.folder import load_saved


@pytest.mark.parametrize("method", METHODS)
def test_saved_model_is_read(method: str, models: Path) -> None:
    assert load_saved(models / method).learning is not None


@pytest.mark.parametrize("method", METHODS)
def test_model_without_checksums_is_read(method: str, copy: Callable[[str], Path]) -> None:
    """Earlier versions wrote none."""
    folder = copy(method)
    labels = load_saved(folder).labels
    change(folder / "config.json", "extra", 1)
    assert "checksum" not in (folder / "config.json").read_text()
    assert load_saved(folder).labels == labels


@pytest.mark.parametrize("name", ["config.json", "labels.json", "model.safetensors", "learning.json"])
def test_changed_files_of_valid_form_are_detected(name: str, copy: Callable[[str], Path]) -> None:
    """Exchanged labels, a changed weight and a changed number are valid, but differ from the checksums."""
    folder = copy("blade")
    if name == "labels.json":
        labels = json.loads((folder / name).read_text())
        (folder / name).write_text(json.dumps(labels[::-1]))
    elif name == "model.safetensors":
        tensors = load_file(folder / name)
        tensors["head.audio-visual.bias"] += 1e-3
        (folder / name).unlink()
        save_file(tensors, folder / name)
    elif name == "config.json":
        change(folder / name, "metrics.average_incremental_accuracy", 0.125, keep_checksums=True)
    else:
        counts = json.loads((folder / name).read_text())["counts"]
        change(folder / name, f"counts.{next(iter(counts))}", 99, keep_checksums=True)
    with pytest.raises(InputError, match=f"{name} changed after the model was saved"):
        load_saved(folder)


@pytest.mark.parametrize(
    "labels", [[], {}, "abc", [1, 2], ["a", "a"], ["a", " "], ["a", None], [["a"]], ["x" * 2_000], None]
)
def test_invalid_labels(labels: Any, copy: Callable[[str], Path]) -> None:
    folder = copy("blade")
    (folder / "labels.json").write_text(json.dumps(labels))
    with pytest.raises(InputError, match=r"labels\.json"):
        load_saved(folder)


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("file", ["model.safetensors", "learning.safetensors"])
@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_non_finite_tensors(method: str, file: str, value: float, copy: Callable[[str], Path]) -> None:
    """A model with NaN would predict the first class for every clip."""
    folder = copy(method)
    floats = [name for name, tensor in load_file(folder / file).items() if tensor.is_floating_point()]
    for name in floats[:1]:
        change_tensors(folder / file, lambda tensors, name=name: tensors[name].view(-1)[:1].fill_(value))
        with pytest.raises(InputError, match="NaN or infinity"):
            load_saved(folder)


@pytest.mark.parametrize("method", METHODS)
def test_invalid_tensors(method: str, copy: Callable[[str], Path]) -> None:
    """Missing, with an additional row, of another dtype, or unknown."""
    folder = copy(method)
    file = folder / "model.safetensors"
    saved = file.read_bytes()
    names = list(load_file(file))
    changes: list[Callable[[dict[str, torch.Tensor]], object]] = [
        *(lambda tensors, name=name: tensors.pop(name) for name in names),
        *(
            lambda tensors, name=name: tensors.update(
                {name: torch.cat([tensors[name].reshape(-1), torch.ones(1)])}
            )
            for name in names
        ),
        *(lambda tensors, name=name: tensors.update({name: tensors[name].bool()}) for name in names),
        lambda tensors: tensors.update(surplus=torch.ones(1)),
    ]
    for make in changes:
        change_tensors(file, make)
        with pytest.raises(InputError):
            load_saved(folder)
        file.write_bytes(saved)


@pytest.mark.parametrize("name", ["config.json", "labels.json", "model.safetensors", "learning.json"])
def test_irregular_files(name: str, copy: Callable[[str], Path]) -> None:
    """A folder, a pipe, a device or a broken link in place of a file neither blocks nor crashes."""
    folder = copy("blade")
    path = folder / name
    for put in (
        Path.mkdir,
        os.mkfifo,
        lambda it: it.symlink_to("/dev/zero"),
        lambda it: it.symlink_to(folder),
    ):
        path.unlink() if path.is_symlink() or not path.is_dir() else path.rmdir()
        put(path)
        with pytest.raises(InputError):
            load_saved(folder)


def test_folder_of_links_is_read(models: Path, tmp_path: Path) -> None:
    """In the hub's cache, the files of a snapshot are links."""
    (tmp_path / "snapshot").mkdir()
    for file in (models / "blade").iterdir():
        (tmp_path / "snapshot" / file.name).symlink_to(file)
    assert load_saved(tmp_path / "snapshot").labels == load_saved(models / "blade").labels


LEARNING = {
    "settings": [None, [], {}, {"method": "blade"}, {"method": 3, "modality": "audio-visual"}],
    "steps": [None, [], [[]], [["a", "b"]], "ab", [[1]], [["c0"], ["c0"]]],
    "counts": [None, {}, {"c0": 1}, {"other": 1}, []],
    "exemplars": [None, [], {"other": ["x"]}, {"c0": [3]}, {"c0": "x"}, {"c0": ["x"]}],
}


@pytest.mark.parametrize("name", LEARNING)
def test_learning_state_must_match_the_model(name: str, copy: Callable[[str], Path]) -> None:
    for method in ("blade", "av-cil"):
        folder = copy(method)
        saved = (folder / "learning.json").read_text()
        for value in LEARNING[name]:
            change(folder / "learning.json", name, value)
            with pytest.raises(InputError, match=r"learning\.json"):
                load_saved(folder)
            (folder / "learning.json").write_text(saved)


@pytest.mark.parametrize("method", ["blade", "slda", "rls"])
def test_statistics_must_be_consistent(method: str, copy: Callable[[str], Path]) -> None:
    """They are loaded and checked when the model learns more clips, not before."""
    folder = copy(method)
    learn(folder)
    file = folder / "learning.safetensors"
    saved = file.read_bytes()
    for name in load_file(file):
        changes: list[Callable[[dict[str, torch.Tensor]], object]] = [
            lambda tensors, name=name: tensors.update({name: torch.zeros(3, 3, 3)})
        ]
        if ".figure." not in name or method == "rls":  # the others are initial values, or for the log only
            changes.append(lambda tensors, name=name: tensors.pop(name))
        for make in changes:
            change_tensors(file, make)
            with pytest.raises(InputError):
                learn(folder)
            file.write_bytes(saved)
