"""The clips of a feature store as a PyTorch dataset.

n clips, D width of audio vectors, T time slices, S spatial tokens per slice, E width of visual tokens.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Dataset

from avcil.data.clips import SPLITS
from avcil.data.modality import Modality
from avcil.errors import InputError, unknown_name
from avcil.features import FeatureStore

Missing = Literal["fail", "skip", "keep"]
"""What happens to clips that lack a modality: an error; they are left out; they are kept with NaN features."""
Sample = Tensor | dict[str, Tensor]


class FeatureDataset(Dataset[tuple[Any, Any]]):
    """A map-style dataset of (sample, target), with the attributes of the datasets of torchvision.

    The sample of one modality is a tensor: audio (D,) or visual (T, S, E). An audio-visual sample is a dictionary with
    "audio" and "visual". With missing="keep" it also has the booleans "has_audio" and "has_visual"; the features of a
    missing modality are NaN, so that they cannot be used by mistake. The target is the class number.

    Features are read when they are needed, a batch of a `DataLoader` at once. The dataset can be pickled and read by
    several worker processes.

    Attributes:
        store: The feature store.
        modality: The modality of the samples.
        classes: Class names, by class number.
        class_to_idx: Class number of each name.
        rows: (n,) rows of the store.
        targets: Class number of each clip.
        clip_ids: Id of each clip.
        skipped: Ids of the clips that were left out because they lack a modality.

    Args:
        store: The feature store.
        rows: Rows of the store, in the order of the dataset.
        classes: Class names in the order of their numbers.
        modality: "audio-visual", "audio" or "visual".
        missing: What happens to clips that lack a part of `modality`. A clip that lacks all of it cannot be kept.
        hidden: By row of the store, the modalities that count as missing although the store has them.
        dtype: Type of the features.
        transform: Called with each sample. Must be picklable for worker processes.
        target_transform: Called with each target.

    Raises:
        InputError: The store lacks the modality, or missing="fail" and some clips lack it.
    """

    def __init__(
        self,
        store: FeatureStore,
        *,
        rows: Sequence[int] | np.ndarray,
        classes: Sequence[str],
        modality: Modality | str,
        missing: Missing = "fail",
        hidden: Mapping[int, Collection[str]] | None = None,
        dtype: torch.dtype = torch.float32,
        transform: Callable[[Any], Any] | None = None,
        target_transform: Callable[[int], Any] | None = None,
    ) -> None:
        self.store, self.modality = store, Modality(modality)
        self.dtype, self.transform, self.target_transform = dtype, transform, target_transform
        self.classes = list(classes)
        self.class_to_idx = {label: number for number, label in enumerate(self.classes)}
        self._parts = tuple(part.value for part in self.modality.parts)
        for part in self._parts:
            getattr(store, part)([])  # an error if the store lacks the modality
        self._select(np.asarray(rows, dtype=np.int64), missing, hidden or {})
        clips = [store.clips[row] for row in self.rows]
        self.targets = [self.class_to_idx[clip.label] for clip in clips]
        self.clip_ids = [clip.clip_id for clip in clips]

    def _select(self, rows: np.ndarray, missing: Missing, hidden: Mapping[int, Collection[str]]) -> None:
        """Set `rows`, `skipped` and the presence of each modality."""
        stored = self.store.presence(rows)
        present = np.array(
            [
                stored.has(Modality(part))
                & np.array([part not in hidden.get(row, ()) for row in rows.tolist()], bool)
                for part in self._parts
            ]
        )
        usable = present.any(axis=0) if missing == "keep" else present.all(axis=0)
        self.skipped = [self.store.clips[row].clip_id for row in rows[~usable]]
        if self.skipped and missing == "fail":
            raise InputError(
                f"{len(self.skipped)} of {len(rows)} clips lack {' or '.join(self._parts)} features, such as "
                f"{self.skipped[0]!r}. missing='skip' leaves them out"
                + ("; missing='keep' keeps clips that have one of both" if len(self._parts) > 1 else "")
            )
        self.rows = rows[usable]
        self._has = {
            part: torch.from_numpy(of_part[usable])
            for part, of_part in zip(self._parts, present, strict=True)
        }
        self._tells_presence = missing == "keep" and len(self._parts) > 1

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, index: int) -> tuple[Any, Any]:
        return self.__getitems__([index])[0]

    def __getitems__(self, indices: Sequence[int]) -> list[tuple[Any, Any]]:
        """The items of a batch. `DataLoader` calls this instead of `__getitem__`, so a batch is read at once."""
        at = np.asarray(indices, dtype=np.int64)
        features: dict[str, Tensor] = {part: self._read(part, at) for part in self._parts}
        samples: list[Sample] = [
            {part: features[part][i] for part in self._parts}
            if len(self._parts) > 1
            else features[self._parts[0]][i]
            for i in range(len(at))
        ]
        return [self._item(sample, int(i)) for sample, i in zip(samples, at, strict=True)]

    def _read(self, part: str, at: np.ndarray) -> Tensor:
        """Features (n, ...) of one modality."""
        features = torch.from_numpy(getattr(self.store, part)(self.rows[at])).to(self.dtype)
        features[~self._has[part][at]] = torch.nan
        return features

    def _item(self, sample: Sample, index: int) -> tuple[Any, Any]:
        if self._tells_presence and isinstance(sample, dict):
            sample |= {f"has_{part}": self._has[part][index] for part in self._parts}
        target = self.targets[index]
        return (
            sample if self.transform is None else self.transform(sample),
            target if self.target_transform is None else self.target_transform(target),
        )

    def __repr__(self) -> str:
        skipped = f", {len(self.skipped)} clips skipped" if self.skipped else ""
        classes = f"{len(self.classes)} classes"
        return f"FeatureDataset({self.store.path}: {len(self)} clips of {classes}, {self.modality}{skipped})"


def as_torch_dataset(
    store: FeatureStore | Path | str,
    *,
    split: str | None = None,
    labels: Sequence[str] | None = None,
    rows: Sequence[int] | np.ndarray | None = None,
    modality: Modality | str | None = None,
    missing: Missing = "fail",
    dtype: torch.dtype = torch.float32,
    transform: Callable[[Any], Any] | None = None,
    target_transform: Callable[[int], Any] | None = None,
) -> FeatureDataset:
    """The clips of a feature store, or some of them, as a PyTorch dataset.

    Args:
        store: A feature store, or its folder.
        split: "train", "val" or "test". Default: all splits.
        labels: The classes to use, in the order of their numbers. Default: all classes of the store, sorted; the
            numbers are then the same for all splits.
        rows: Rows of the store to choose from, in the order of the dataset. Default: all.
        modality: "audio-visual", "audio" or "visual". Default: all that the store has.
        missing: What happens to clips that lack a modality: "fail", "skip" or "keep" (see `FeatureDataset`).
        dtype: Type of the features.
        transform: Called with each sample.
        target_transform: Called with each class number.

    Raises:
        InputError: A name is unknown, no clip is left, or some clips lack a modality and `missing` is "fail".
    """
    store = store if isinstance(store, FeatureStore) else FeatureStore(store)
    if split is not None and split not in SPLITS:
        raise unknown_name("split", split, SPLITS)
    classes = store.labels if labels is None else tuple(labels)
    for label in classes:
        if label not in store.labels:
            raise unknown_name("class", label, store.labels)
    requested = set(classes)
    chosen = [
        row
        for row in (range(len(store)) if rows is None else np.asarray(rows).tolist())
        if store.clips[row].label in requested and split in (None, store.clips[row].split)
    ]
    if not chosen:
        raise InputError(
            f"the feature store {store.path} has no clip of these classes in split {split or 'any'}"
        )
    return FeatureDataset(
        store,
        rows=chosen,
        classes=classes,
        modality=modality or stored_modality(store),
        missing=missing,
        dtype=dtype,
        transform=transform,
        target_transform=target_transform,
    )


def stored_modality(store: FeatureStore) -> Modality:
    """The modality of clips that have everything that a store has."""
    has_audio, has_visual = store.audio_width is not None, store.visual_shape is not None
    modality = Modality.of(has_audio=has_audio, has_visual=has_visual)
    assert modality is not None  # a manifest has at least one modality
    return modality


def pooled(sample: Sample) -> Tensor:
    """A sample as one vector: audio (D,), the mean of the visual tokens (E,), or both joined (D + E,).

    Use it as `transform` for models that take one vector. Clips that lack a modality give NaN.
    """
    if isinstance(sample, Tensor):
        return sample if sample.ndim == 1 else sample.mean(dim=(0, 1))
    return torch.cat([sample["audio"], sample["visual"].mean(dim=(0, 1))])
