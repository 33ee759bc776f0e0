"""One clip as it is stored: its record in the index, and its arrays in the dtype of the store."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from avcil.data.clips import Clip
from avcil.errors import InputError
from avcil.features.index_lines import StoredClip
from avcil.features.manifest import ZERO, Manifest
from avcil.features.source import SourceFile
from avcil.utils.csv_files import escape_surrogates


@dataclass(frozen=True)
class Row:
    """A clip and its arrays by name; the arrays of a missing modality are zeros."""

    clip: StoredClip
    arrays: Mapping[str, np.ndarray]


def make_row(
    manifest: Manifest,
    clip: Clip,
    features: Mapping[str, np.ndarray | None],
    *,
    remark: str,
    source: SourceFile | None,
) -> Row:
    """Check the features of a clip, and convert them to the dtype of the store.

    Args:
        manifest: Of the store.
        clip: The clip.
        features: Arrays by name; None for a missing modality.
        remark: Problem of the file with which the clip can still be stored.
        source: State of its file when it was read.

    Raises:
        InputError: See `FeatureWriter.add`.
    """
    names = manifest.arrays()
    if all(features[name] is None for name in names):
        raise InputError(f"clip {clip.clip_id!r} has neither visual nor audio features")
    arrays = {name: _stored_array(manifest, clip, name, features[name]) for name in names}
    stored = StoredClip(
        clip_id=clip.clip_id,
        label=clip.label,
        split=clip.split,
        path=escape_surrogates(str(clip.path if source is None else clip.path.absolute())),
        start=clip.start,
        end=clip.end,
        visual="visual" in arrays and features["visual"] is not None,
        audio="audio" in arrays and features["audio"] is not None,
        remark=escape_surrogates(" ".join(remark.split())),
        source=source,
    )
    return Row(stored, arrays)


def _stored_array(manifest: Manifest, clip: Clip, name: str, value: np.ndarray | None) -> np.ndarray:
    shape, dtype = manifest.arrays()[name], np.dtype(manifest.dtype)
    where = f"{name} features of clip {clip.clip_id!r}"
    if value is None:
        if manifest.missing not in ("keep", ZERO):
            raise InputError(
                f"the {where} are missing; only stores with the policy --missing keep accept such clips"
            )
        return np.zeros(shape, dtype)  # a placeholder: the index records that the modality is missing
    value = np.asarray(value)
    if value.shape != shape:
        raise InputError(f"the {where} have shape {value.shape}; this store needs {shape}")
    if not np.isfinite(value).all():
        raise InputError(f"the {where} contain NaN or infinity")
    largest = float(np.abs(value).max())
    if largest > float(np.finfo(dtype).max):
        raise InputError(
            f"the {where} reach {largest:g}, more than the maximum of {dtype}; use dtype float32"
        )
    return value.astype(dtype)  # a copy, so that the caller can reuse its buffer
