"""A feature store as a PyTorch dataset."""

from __future__ import annotations

import pickle
from pathlib import Path

import numpy as np
import pytest
import torch
from torch.utils.data import DataLoader, Subset

from avcil.data.clips import Clip
from avcil.errors import InputError
from avcil.features import FeatureSpec, FeatureStore, FeatureWriter, Manifest
from avcil.interop.torch_dataset import as_torch_dataset, pooled


@pytest.fixture
def opened(store) -> FeatureStore:
    return FeatureStore(store)


@pytest.fixture
def incomplete(tmp_path) -> FeatureStore:
    """Clip 0 is complete, 1 lacks audio, 2 lacks frames."""
    manifest = Manifest(visual=FeatureSpec(shape=(1, 2, 3)), audio=FeatureSpec(shape=(4,)), missing="keep")
    with FeatureWriter(tmp_path / "incomplete", manifest) as writer:
        for number in range(3):
            clip = Clip(clip_id=str(number), path=Path("x"), label="ab"[number % 2], split="train")
            audio = None if number == 1 else np.full(4, number, np.float16)
            visual = None if number == 2 else np.full((1, 2, 3), number, np.float16)
            writer.add(clip, audio=audio, visual=visual)
    return FeatureStore(tmp_path / "incomplete")


def test_attributes_as_in_torchvision(opened):
    """Class numbers do not depend on the split; items equal those of the store."""
    dataset = as_torch_dataset(opened, split="test")
    assert dataset.classes == [f"c{number}" for number in range(6)]
    assert dataset.class_to_idx["c3"] == 3
    assert len(dataset) == len(dataset.targets) == len(dataset.clip_ids) == 24
    assert all(opened.clips[row].split == "test" for row in dataset.rows)
    sample, target = dataset[5]
    row = dataset.rows[5]
    assert dataset.classes[target] == opened.clips[row].label
    assert sample["audio"].dtype == torch.float32
    torch.testing.assert_close(sample["audio"], torch.from_numpy(opened.audio([row])[0]).float())
    torch.testing.assert_close(sample["visual"], torch.from_numpy(opened.visual([row])[0]).float())
    assert dataset[-1][1] == dataset.targets[-1]
    with pytest.raises(IndexError):
        dataset[len(dataset)]


def test_selection(opened):
    """By classes in any order, by rows, by modality; transforms are applied."""
    dataset = as_torch_dataset(
        opened, split="train", labels=["c4", "c1"], modality="audio", target_transform=str
    )
    assert dataset.targets == [1] * 8 + [0] * 8
    assert dataset[0][0].shape == (10,)
    assert dataset[0][1] == "1"
    rows = [30, 2, 16]
    assert as_torch_dataset(opened, rows=rows, modality="visual").rows.tolist() == rows
    whole = as_torch_dataset(opened, transform=pooled)
    assert whole[0][0].shape == (22,)
    torch.testing.assert_close(whole[0][0][10:], torch.from_numpy(opened.visual([0])[0]).float().mean((0, 1)))


def test_batches_are_read_at_once(opened, monkeypatch):
    """One read of the store for each modality and batch, as DataLoader uses `__getitems__`; also through a Subset."""
    calls = []
    read = FeatureStore._read
    monkeypatch.setattr(FeatureStore, "_read", lambda *words: (calls.append(len(words[2])), read(*words))[1])
    dataset = Subset(as_torch_dataset(opened, split="train"), range(40))
    calls.clear()
    assert [len(targets) for _, targets in DataLoader(dataset, batch_size=16)] == [16, 16, 8]
    assert calls == [16, 16, 16, 16, 8, 8]


def test_worker_processes_read_equal_items(opened):
    """The dataset is pickled, and read by two processes in parallel."""
    dataset = as_torch_dataset(opened, split="train")
    expected = list(DataLoader(dataset, batch_size=7))
    copy = pickle.loads(pickle.dumps(dataset))
    for loader in (DataLoader(dataset, batch_size=7, num_workers=2), DataLoader(copy, batch_size=7)):
        for (sample, target), (other, other_target) in zip(loader, expected, strict=True):
            assert torch.equal(sample["audio"], other["audio"])
            assert torch.equal(sample["visual"], other["visual"])
            assert torch.equal(target, other_target)


def test_clips_that_lack_a_modality(incomplete):
    """By default an error; or skipped and listed; or kept with NaN and flags. Never zeros."""
    with pytest.raises(
        InputError, match=r"2 of 3 clips lack audio or visual features, such as '1'.*missing='skip'"
    ):
        as_torch_dataset(incomplete)
    skipped = as_torch_dataset(incomplete, missing="skip")
    assert (skipped.clip_ids, skipped.skipped) == (["0"], ["1", "2"])
    assert "2 clips skipped" in repr(skipped)
    kept = as_torch_dataset(incomplete, missing="keep")
    ((sample, _),) = DataLoader(kept, batch_size=3)
    assert sample["has_audio"].tolist() == [True, False, True]
    assert sample["has_visual"].tolist() == [True, True, False]
    assert sample["audio"].isnan().all(dim=1).tolist() == [False, True, False]
    assert sample["visual"].isnan().flatten(1).all(dim=1).tolist() == [False, False, True]
    assert kept.skipped == []
    assert as_torch_dataset(incomplete, modality="audio", missing="keep").skipped == ["1"]


def test_invalid_arguments(opened, new_store, tmp_path):
    """Each error states what is allowed."""
    with pytest.raises(InputError, match=r"unknown split 'valid'.*train"):
        as_torch_dataset(opened, split="valid")
    with pytest.raises(InputError, match="unknown class 'c9'"):
        as_torch_dataset(opened, labels=["c9"])
    with pytest.raises(InputError, match="no clip of these classes in split val"):
        as_torch_dataset(opened, rows=[0], split="val")
    with pytest.raises(InputError, match="does not exist"):
        as_torch_dataset(tmp_path / "nothing")
