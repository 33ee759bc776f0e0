"""Split files of the release are read; malicious and inconsistent ones are rejected."""

from __future__ import annotations

import copy
import os
from pathlib import Path

import numpy as np
import pytest

from avcil.datasets.protocols import CLASS_CLIPS, CLASS_IDS, CLIP_CLASSES
from avcil.datasets.split_files import read_splits
from avcil.errors import InputError

CLASSES = {"subway, metr": 1, "Cat": 0}
CLIPS = {
    "train": {0: ["-abcdefghij", "b2"], 1: ["c3"]},
    "val": {0: ["d4"], 1: ["e5"]},
    "test": {0: [], 1: ["f6", "g7"]},
}


def labels_of(clips: dict) -> dict:
    names = {number: name for name, number in CLASSES.items()}
    return {split: {i: names[n] for n, ids in part.items() for i in ids} for split, part in clips.items()}


def write(folder: Path, **changed: object) -> Path:
    """The three files, as the release writes them."""
    values = {CLASS_IDS: CLASSES, CLASS_CLIPS: CLIPS, CLIP_CLASSES: labels_of(CLIPS)}
    names = {"classes": CLASS_IDS, "clips": CLASS_CLIPS, "labels": CLIP_CLASSES}
    values |= {names[key]: value for key, value in changed.items()}
    for name, value in values.items():
        np.save(folder / name, value, allow_pickle=True)
    return folder


def test_order_of_classes_and_clips(tmp_path):
    """Classes by number; clips by split, class number and position; the truncated class name is kept."""
    splits = read_splits(write(tmp_path))
    assert splits.classes == ("Cat", "subway, metr")
    assert list(splits.clips) == ["-abcdefghij", "b2", "c3", "d4", "e5", "f6", "g7"]
    assert (splits.clips["g7"].label, splits.clips["g7"].split) == ("subway, metr", "test")


def changed(path: list, value: object) -> dict:
    clips = copy.deepcopy(CLIPS)
    place = clips
    for key in path[:-1]:
        place = place[key]
    place[path[-1]] = value
    return clips


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"classes": {"Cat": 0, "Dog": 2}}, "without gaps"),
        ({"classes": {"Cat": 0, "cat": 1}}, "differ only in case"),
        ({"classes": {"Cat": "0"}}, "whole numbers"),
        ({"classes": {}}, "must map"),
        ({"clips": changed(["val"], [])}, "splits train, val, test"),
        ({"clips": {"train": {}, "val": {}}}, "splits train, val, test"),
        ({"clips": changed(["train", 7], ["x"])}, "not a class with a list"),
        ({"clips": changed(["train", "a"], ["x"])}, "not a class number"),
        ({"clips": changed(["train", 1], "c3")}, "not a class with a list"),
        ({"clips": changed(["train", 1], ["c3", 4])}, "not a string"),
        ({"clips": changed(["test", 0], ["b2"])}, "listed twice"),
        ({"clips": changed(["train", 1], [])}, "no training clip of class"),
        ({"clips": changed(["val", 0], ["d4", "new"])}, "one of the split files only"),
        ({"labels": labels_of(CLIPS) | {"train": {}}}, "one of the split files only"),
        (
            {"labels": labels_of(CLIPS) | {"val": {"d4": "subway, metr", "e5": "subway, metr"}}},
            "different classes",
        ),
        ({"labels": labels_of(CLIPS) | {"val": {"d4": ["Cat"], "e5": "subway, metr"}}}, "a class name"),
        ({"labels": labels_of(CLIPS) | {"val": {"d4": np.zeros(3), "e5": "subway, metr"}}}, "a class name"),
    ],
)
def test_inconsistent_files_are_rejected(tmp_path, change, message):
    """Each error has the file and what to do."""
    with pytest.raises(InputError, match=message) as error:
        read_splits(write(tmp_path, **change))
    assert str(tmp_path) in str(error.value)
    assert "labels differ" in str(error.value) or "--from DIR" in str(error.value)


def test_malicious_split_file_is_rejected_and_not_run(tmp_path):
    """The error names os.system, which is not called."""

    class Attack:
        def __reduce__(self):
            return os.system, (f"touch {tmp_path / 'ran'}",)

    write(tmp_path, clips={"train": Attack()})
    with pytest.raises(InputError, match=rf"{os.name}.system.*Nothing of it was run"):
        read_splits(tmp_path)
    assert not (tmp_path / "ran").exists()


def test_missing_files(tmp_path):
    """A folder without the files, and a folder in place of a file."""
    with pytest.raises(InputError, match=CLASS_IDS):
        read_splits(tmp_path)
    (tmp_path / CLASS_IDS).mkdir()
    with pytest.raises(InputError, match="is a folder"):
        read_splits(tmp_path)


@pytest.mark.parametrize("put", [os.mkfifo, Path.mkdir, lambda path: path.symlink_to("/dev/zero")])
def test_split_files_must_be_regular_files(tmp_path, put):
    """A pipe, a folder or a device is an error; opening it does not block."""
    folder = write(tmp_path)
    (folder / CLASS_IDS).unlink()
    put(folder / CLASS_IDS)
    with pytest.raises(InputError, match=CLASS_IDS):
        read_splits(folder)
