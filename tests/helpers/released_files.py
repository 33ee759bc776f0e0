"""Files in the format and shape of the release, with random numbers."""

from __future__ import annotations

import dataclasses
import io
import zipfile
from collections.abc import Mapping
from pathlib import Path

import numpy as np

from avcil.datasets.protocols import AVE
from avcil.datasets.published import PublishedBenchmark
from avcil.datasets.split_files import SplitClip

SHAPE = (1568, 768)
AUDIO_PATH = "AVE_features/audio_pretrained_feature/audio_pretrained_feature_dict.npy"
VISUAL_PATH = "AVE_features/visual_pretrained_feature/visual_pretrained_feature_dict.npy"
H5_PATH = "AVE_features/visual_pretrained_feature/visual_features.h5"

Arrays = dict[str, np.ndarray]


def clip_ids(count: int) -> list[str]:
    """Ids in the form of YouTube ids; every fourth begins with "-"."""
    return [("-" if i % 4 == 0 else "v") + f"clip_{i:05d}" for i in range(count)]


def tokens_of(clip_id: str) -> np.ndarray:
    """The visual tokens of a clip, float32 (1568, 768)."""
    return np.random.default_rng(sum(clip_id.encode())).standard_normal(SHAPE, dtype=np.float32)


def visual_of(ids: list[str]) -> Arrays:
    return {clip_id: tokens_of(clip_id) for clip_id in ids}


def audio_of(ids: list[str]) -> Arrays:
    rng = np.random.default_rng(7)
    return {clip_id: rng.standard_normal(768, dtype=np.float32) for clip_id in ids}


def npy_bytes(arrays: Mapping[str, np.ndarray]) -> bytes:
    """A dict as saved by `numpy.save`."""
    file = io.BytesIO()
    np.save(file, arrays, allow_pickle=True)
    return file.getvalue()


def h5_bytes(arrays: Mapping[str, np.ndarray]) -> bytes:
    """A dict as HDF5 with one dataset per entry."""
    import h5py

    file = io.BytesIO()
    with h5py.File(file, "w") as h5:
        for clip_id, values in arrays.items():
            h5.create_dataset(clip_id, data=values)
    return file.getvalue()


def unpacked(folder: Path, files: Mapping[str, bytes]) -> Path:
    for name, data in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(data)
    return folder


def zipped(path: Path, files: Mapping[str, bytes], method: int = zipfile.ZIP_STORED) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    with zipfile.ZipFile(path, "w", method, compresslevel=1) as archive:
        for name, data in files.items():
            archive.writestr(name, data)
    return path


def in_parts(path: Path, count: int) -> list[Path]:
    """Split the file into parts .aa, .ab, ... and remove it."""
    data = path.read_bytes()
    cuts = [len(data) * i // count for i in range(count + 1)]
    parts = []
    for i in range(count):
        parts.append(path.with_name(f"{path.name}.a{chr(97 + i)}"))
        parts[-1].write_bytes(data[cuts[i] : cuts[i + 1]])
    path.unlink()
    return parts


def benchmark_of(ids: list[str], parts: tuple[str, ...] = ("AVE_features.zip",)) -> PublishedBenchmark:
    """A benchmark of two classes with the clips `ids`, assigned to the splits in turn."""
    clips = {
        clip_id: SplitClip(("Cat", "Church bell")[i % 2], ("train", "val", "test")[i % 3])
        for i, clip_id in enumerate(ids)
    }
    protocol = dataclasses.replace(AVE, classes=2, classes_per_step=1, feature_parts=parts)
    return PublishedBenchmark(
        protocol=protocol, classes=("Cat", "Church bell"), clips=clips, removed={"val": 0, "test": 0}
    )
