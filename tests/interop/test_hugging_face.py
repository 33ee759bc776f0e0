"""Feature stores as Hugging Face Datasets, and back."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from avcil.data.clips import Clip
from avcil.errors import InputError
from avcil.features import FeatureSpec, FeatureStore, FeatureWriter, Manifest
from avcil.interop import hugging_face
from avcil.interop.hugging_face import from_huggingface, to_huggingface

datasets = pytest.importorskip("datasets")


@pytest.fixture
def exported(store, tmp_path):
    return to_huggingface(store, cache_dir=tmp_path / "cache")


def test_splits_columns_and_values(store, exported):
    """Splits with the names of the library, class names, and the features of the store."""
    opened = FeatureStore(store)
    assert {name: len(part) for name, part in exported.items()} == {"train": 48, "validation": 18, "test": 24}
    part = exported["test"]
    assert part.features["label"].names == list(opened.labels)
    assert part.features["visual"].shape == (2, 3, 12)
    row = next(row for row, clip in enumerate(opened.clips) if clip.clip_id == part[7]["clip_id"])
    assert part.features["label"].int2str(part[7]["label"]) == opened.clips[row].label
    example = part.with_format("torch")[7]
    assert torch.equal(example["visual"], torch.from_numpy(opened.visual([row])[0]).float())
    assert torch.equal(example["audio"], torch.from_numpy(opened.audio([row])[0]).float())


def test_round_trip(exported, store, tmp_path):
    """The store equals the original with encoders, also after saving the dataset; a second call changes nothing."""
    exported.save_to_disk(tmp_path / "saved")
    loaded = datasets.load_from_disk(tmp_path / "saved")
    again = from_huggingface(loaded, tmp_path / "again")
    assert again.fingerprint == FeatureStore(store).fingerprint
    assert again.manifest.identity() == FeatureStore(store).manifest.identity()
    assert len(from_huggingface(loaded, tmp_path / "again")) == len(again)


def test_missing_modalities(tmp_path):
    """NaN and a flag, never zeros; missing again after conversion to a store."""
    manifest = Manifest(visual=FeatureSpec(shape=(1, 2, 3)), audio=FeatureSpec(shape=(4,)), missing="keep")
    with FeatureWriter(tmp_path / "store", manifest) as writer:
        for number in range(3):
            clip = Clip(clip_id=str(number), path=Path("x"), label="a", split="train")
            audio = None if number == 1 else np.ones(4, np.float16)
            visual = None if number == 2 else np.ones((1, 2, 3), np.float16)
            writer.add(clip, audio=audio, visual=visual)
    result = to_huggingface(tmp_path / "store", cache_dir=tmp_path / "cache")
    part = result["train"].with_format("numpy")[:]
    assert part["has_audio"].tolist() == [True, False, True]
    assert np.isnan(part["audio"]).all(axis=1).tolist() == [False, True, False]
    assert np.isnan(part["visual"]).all(axis=(1, 2, 3)).tolist() == [False, False, True]
    again = from_huggingface(result, tmp_path / "again")
    assert [(clip.audio, clip.visual) for clip in again.clips] == [(True, True), (False, True), (True, False)]


def test_number_of_clips_in_memory_is_limited(store, tmp_path, monkeypatch):
    """The size of a read is limited, also for large stores."""
    sizes = []
    read = FeatureStore._read
    monkeypatch.setattr(FeatureStore, "_read", lambda *words: (sizes.append(len(words[2])), read(*words))[1])
    monkeypatch.setattr(hugging_face, "CHUNK_BYTES", 5 * 4 * (2 * 3 * 12 + 10))
    assert len(to_huggingface(store, cache_dir=tmp_path / "cache")["train"]) == 48
    assert max(sizes) == 5


def test_dataset_with_other_columns(tmp_path):
    """Columns with other names, text labels, no ids; None is a missing modality. The encoder is unknown."""
    columns = {"vector": [[1.0, 2.0], None, [5.0, 6.0]], "frames": [[[[1.0]]]] * 3, "class": ["a", "b", "a"]}
    part = datasets.Dataset.from_dict(columns)
    names = {"audio": "vector", "visual": "frames", "label": "class"}
    result = from_huggingface({"train": part, "validation": part}, tmp_path / "store", **names)
    assert [clip.clip_id for clip in result.clips] == [f"{s}/{i}" for s in ("train", "val") for i in range(3)]
    assert [clip.audio for clip in result.clips[:3]] == [True, False, True]
    assert [clip.label for clip in result.clips[:3]] == ["a", "b", "a"]
    assert result.audio([2]).tolist() == [[5.0, 6.0]]
    assert result.manifest.audio.encoder["name"] == "released:audio"


def test_invalid_datasets(tmp_path, monkeypatch, store):
    """Each error states what is allowed."""
    part = datasets.Dataset.from_dict({"audio": [[1.0]], "label": [3]})
    with pytest.raises(InputError, match=r"must be among train, val, test, validation; not \['dev'\]"):
        from_huggingface({"dev": part}, tmp_path / "a")
    with pytest.raises(InputError, match="has the columns audio, label; needed are 'class'"):
        from_huggingface({"train": part}, tmp_path / "a", label="class")
    with pytest.raises(InputError, match="must have text or a ClassLabel; not 3"):
        from_huggingface({"train": part}, tmp_path / "b")
    monkeypatch.setitem(sys.modules, "datasets", None)
    with pytest.raises(ModuleNotFoundError, match=r"pip install 'avcil\[datasets\]'"):
        to_huggingface(store)
