"""Feature stores as datasets of the library Hugging Face Datasets, and back; needs the extra [datasets].

D width of audio vectors, T time slices, S spatial tokens per slice, E width of visual tokens.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from avcil.data.clips import Clip
from avcil.data.modality import Modality
from avcil.errors import InputError
from avcil.features import FeatureSpec, FeatureStore, FeatureWriter, Manifest
from avcil.features.manifest import IMPORTED

if TYPE_CHECKING:
    from datasets import Dataset, DatasetDict

_SPLITS = {"train": "train", "val": "validation", "test": "test"}
"""Names of the splits in avcil and in Hugging Face Datasets."""
CHUNK_BYTES = 32 << 20
"""Features that are held in memory at once."""


def to_huggingface(store: FeatureStore | Path | str, *, cache_dir: Path | str | None = None) -> DatasetDict:
    """A feature store as a `datasets.DatasetDict` with the splits "train", "validation" and "test" that have clips.

    The columns are clip_id, label (`ClassLabel` with all classes of the store, sorted), visual (T, S, E), audio (D,),
    has_visual and has_audio. Features of a missing modality are NaN. Paths of media files are not part of it.

    The library writes the features to Arrow files in `cache_dir` and maps them into memory. Another call for the same
    store uses these files. `save_to_disk` and `push_to_hub` of the result keep or publish it.

    Args:
        store: A feature store, or its folder.
        cache_dir: Where the library writes. Default: its cache folder, ~/.cache/huggingface/datasets.

    Raises:
        ModuleNotFoundError: The library is not installed.
        InputError: The store cannot be read.
    """
    datasets = _library()
    store = store if isinstance(store, FeatureStore) else FeatureStore(store)
    arrays = _arrays(store.manifest)
    chunk = max(1, CHUNK_BYTES // sum(4 * math.prod(shape) for shape in arrays.values()))
    splits = datasets.DatasetDict()
    for split, name in _SPLITS.items():
        rows = [row for row, clip in enumerate(store.clips) if clip.split == split]
        if not rows:
            continue
        splits[name] = datasets.Dataset.from_generator(
            _examples,
            features=_features(store),
            gen_kwargs={"store": store, "rows": np.array(rows), "chunk": chunk},
            cache_dir=None if cache_dir is None else str(cache_dir),
            split=datasets.NamedSplit(name),
            fingerprint=f"avcil1-{name}-{store.fingerprint[:32]}",
            writer_batch_size=chunk,
        )
        splits[name].info.description = json.dumps(store.manifest.to_dict())
    return splits


def _arrays(manifest: Manifest) -> dict[str, tuple[int, ...]]:
    """Shapes of the exported arrays; audio tokens are not exported."""
    return {name: shape for name, shape in manifest.arrays().items() if name in ("audio", "visual")}


def _features(store: FeatureStore) -> Any:
    """Types of the columns."""
    from datasets import Array3D, ClassLabel, Features, List, Value

    dtype = store.manifest.dtype
    columns = {"clip_id": Value("string"), "label": ClassLabel(names=list(store.labels))}
    for name, shape in _arrays(store.manifest).items():
        array = List(Value(dtype), length=shape[0]) if name == "audio" else Array3D(shape=shape, dtype=dtype)
        columns |= {name: array, f"has_{name}": Value("bool")}
    return Features(columns)


def _examples(store: FeatureStore, rows: np.ndarray, chunk: int) -> Iterator[dict[str, Any]]:
    """The clips as rows of the dataset. The library would divide `rows` among calls if it were a list."""
    for start in range(0, len(rows), chunk):
        part = rows[start : start + chunk]
        presence = store.presence(part)
        arrays = {name: getattr(store, name)(part) for name in _arrays(store.manifest)}
        for name, values in arrays.items():
            values[~presence.has(Modality(name))] = np.nan
        for i, row in enumerate(part):
            clip = store.clips[row]
            example: dict[str, Any] = {"clip_id": clip.clip_id, "label": clip.label}
            for name, values in arrays.items():
                example |= {name: values[i], f"has_{name}": bool(presence.has(Modality(name))[i])}
            yield example


def from_huggingface(
    dataset: Mapping[str, Dataset],
    out: Path | str,
    *,
    audio: str = "audio",
    visual: str = "visual",
    label: str = "label",
    clip_id: str = "clip_id",
) -> FeatureStore:
    """A feature store from a `datasets.DatasetDict` of features. Interrupted, it continues with the same call.

    The store knows the encoders if `to_huggingface` made the dataset and its description was kept. Otherwise models
    that are trained on the store cannot predict media files, only features.

    Args:
        dataset: The splits "train", "test" and optionally "validation" (or "val").
        out: Folder of the new store.
        audio: Column with audio vectors (D,). It may be absent.
        visual: Column with visual tokens (T, S, E). It may be absent.
        label: Column with class names, or with numbers of a `ClassLabel`.
        clip_id: Column with unique ids. Default: if absent, the split and the number of the row.

    A modality is missing where its value is None or its column "has_audio" or "has_visual" is False.

    Raises:
        InputError: A split or column is unknown, or a value does not fit.
    """
    names = {avcil: avcil for avcil in _SPLITS} | {other: avcil for avcil, other in _SPLITS.items()}
    unknown = [name for name in dataset if name not in names]
    if unknown or not dataset:
        raise InputError(
            f"the splits of the dataset must be among {', '.join(names)}; not {unknown or 'none'}"
        )
    columns = {"audio": audio, "visual": visual}
    first = next(iter(dataset.values()))
    columns = {name: column for name, column in columns.items() if column in first.column_names}
    if not columns or label not in first.column_names:
        raise InputError(
            f"the dataset has the columns {', '.join(first.column_names)}; needed are {label!r}, and {audio!r} or "
            f"{visual!r}. Name them with the arguments label, audio and visual"
        )
    manifest = _manifest(first, columns)
    with FeatureWriter(out, manifest) as writer:
        for name, part in dataset.items():
            _copy(part, names[name], columns, label, clip_id, writer)
    return FeatureStore(out)


def _manifest(dataset: Dataset, columns: Mapping[str, str]) -> Manifest:
    """That of the original store, or one without encoders."""
    try:
        manifest = Manifest.from_dict(json.loads(dataset.info.description or ""))
    except (ValueError, LookupError, TypeError, AttributeError):
        manifest = None
    types = {name: str(dataset.features[column]) for name, column in columns.items()}
    arrays = {name: np.asarray(_first(dataset, column)) for name, column in columns.items()}
    shapes = {name: tuple(map(int, array.shape)) for name, array in arrays.items()}
    if manifest is not None and _arrays(manifest) == shapes:
        return replace(manifest, audio_tokens=None)
    modalities = {
        name: FeatureSpec(shape=shape, encoder={"name": f"{IMPORTED}{name}"})
        for name, shape in shapes.items()
    }
    return Manifest(
        audio=modalities.get("audio"),
        visual=modalities.get("visual"),
        dtype="float16" if all("float16" in text for text in types.values()) else "float32",
        missing="keep",
    )


def _first(dataset: Dataset, column: str) -> Any:
    for row in range(len(dataset)):
        if (value := dataset[row][column]) is not None:
            return value
    raise InputError(f"the column {column!r} has no value")


def _copy(
    dataset: Dataset, split: str, columns: Mapping[str, str], label: str, clip_id: str, writer: FeatureWriter
) -> None:
    """Add the clips of one split that are not stored yet."""
    kind = dataset.features[label]
    plain = dataset.with_format("numpy", columns=list(columns.values()), output_all_columns=True)
    for number in range(len(plain)):
        row = plain[number]
        own_id = str(row.get(clip_id, f"{split}/{number}"))
        if own_id in writer.done:
            continue
        value = row[label]
        text = kind.int2str(int(value)) if hasattr(kind, "int2str") else value
        if not isinstance(text, str):
            raise InputError(f"the column {label!r} must have text or a ClassLabel; not {value!r}")
        arrays = {
            name: np.asarray(row[column], writer.manifest.dtype)
            for name, column in columns.items()
            if row[column] is not None and row.get(f"has_{name}", True)
        }
        clip = Clip(clip_id=own_id, path=Path("imported", own_id), label=text, split=split)
        writer.add(clip, audio=arrays.get("audio"), visual=arrays.get("visual"))


def _library() -> Any:
    try:
        import datasets
    except ModuleNotFoundError as error:
        raise ModuleNotFoundError(
            f"avcil.to_huggingface needs Hugging Face Datasets ({error}). Install it with: pip install "
            "'avcil[datasets]'",
            name=error.name,
        ) from None
    return datasets
