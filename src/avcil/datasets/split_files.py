"""Reading the three split files of the authors' release safely, and checking that they agree.

- `all_classId_vid_dict.npy`: split -> class number -> clip ids
- `all_id_category_dict.npy`: split -> clip id -> class name
- `category_encode_dict.npy`: class name -> class number, from 0 without gaps

They are pickles. `avcil.datasets.released.restricted_pickle` reads them without executing anything.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from avcil.data.clips import SPLITS, check_labels
from avcil.datasets.protocols import CLASS_CLIPS, CLASS_IDS, CLIP_CLASSES
from avcil.datasets.released.restricted_pickle import load_npy
from avcil.errors import InputError
from avcil.utils.input_files import open_regular

MAX_BYTES = 64 * 2**20
_ADVICE = "Download the released file again, or give an unmodified copy of it with --from DIR"


@dataclass(frozen=True)
class SplitClip:
    """Label and split of a clip."""

    label: str
    split: str


@dataclass(frozen=True, kw_only=True)
class Splits:
    """Content of the three files."""

    classes: tuple[str, ...]
    """Class names by class number."""
    clips: Mapping[str, SplitClip]
    """Clips by id, ordered by split (training, validation, test), class number, and position in the file."""


def read_splits(folder: Path) -> Splits:
    """Read the three files in a folder; InputError if one is missing, invalid, or contradicts the others."""
    folder = Path(folder)
    classes = _classes(_read(folder / CLASS_IDS), str(folder / CLASS_IDS))
    clips = _clips(_read(folder / CLASS_CLIPS), classes, str(folder / CLASS_CLIPS))
    _check_agreement(_read(folder / CLIP_CLASSES), clips, str(folder / CLIP_CLASSES))
    return Splits(classes=classes, clips=clips)


def _read(path: Path) -> Any:
    if path.is_dir():
        raise InputError(f"{path} is a folder where a split file was expected. {_ADVICE}")
    if not path.exists():
        raise InputError(f"there is no split file {path}. {_ADVICE}")
    with open_regular(path) as file:
        if os.fstat(file.fileno()).st_size > MAX_BYTES:
            raise InputError(f"{path} is larger than any released split file. {_ADVICE}")
        return load_npy(file, str(path))


def _classes(value: Any, where: str) -> tuple[str, ...]:
    fits = isinstance(value, dict) and all(type(k) is str and type(v) is int for k, v in value.items())
    if not fits or not value:
        raise InputError(f"{where} must map class names to whole numbers. {_ADVICE}")
    if sorted(value.values()) != list(range(len(value))):
        raise InputError(
            f"{where}: class numbers must run from 0 to {len(value) - 1} without gaps. {_ADVICE}"
        )
    check_labels(value, where)
    return tuple(sorted(value, key=value.__getitem__))


def _clips(value: Any, classes: tuple[str, ...], where: str) -> dict[str, SplitClip]:
    _check_splits(value, where)
    clips: dict[str, SplitClip] = {}
    for split in SPLITS:
        for number in sorted(value[split], key=_whole_number(where)):
            ids = value[split][number]
            if not 0 <= number < len(classes) or not isinstance(ids, list):
                raise InputError(
                    f"{where}: {split}, class {number!r:.40} is not a class with a list of clips. {_ADVICE}"
                )
            for clip_id in ids:
                if type(clip_id) is not str or not clip_id:
                    raise InputError(
                        f"{where}: {split}, class {number} has a clip id that is not a string. {_ADVICE}"
                    )
                if clip_id in clips:
                    raise InputError(f"{where}: clip {clip_id!r:.60} is listed twice. {_ADVICE}")
                clips[clip_id] = SplitClip(classes[number], split)
    lacking = set(classes) - {clip.label for clip in clips.values() if clip.split == "train"}
    if lacking:
        raise InputError(f"{where}: no training clip of class {min(lacking)!r}. {_ADVICE}")
    return clips


def _whole_number(where: str) -> Any:
    def number(key: Any) -> int:
        if type(key) is not int:
            raise InputError(f"{where}: {key!r:.40} is not a class number. {_ADVICE}")
        return key

    return number


def _check_splits(value: Any, where: str) -> None:
    fits = isinstance(value, dict) and set(value) == set(SPLITS)
    if not fits or not all(isinstance(part, dict) for part in value.values()):
        raise InputError(f"{where} must have the splits {', '.join(SPLITS)}, each a dict. {_ADVICE}")


def _check_agreement(value: Any, clips: Mapping[str, SplitClip], where: str) -> None:
    """Check that the file of clip classes agrees with that of class clips."""
    _check_splits(value, where)
    if not all(type(label) is str for part in value.values() for label in part.values()):
        raise InputError(f"{where} must give every clip a class name. {_ADVICE}")
    given_by_file = {
        clip_id: SplitClip(label, split) for split in SPLITS for clip_id, label in value[split].items()
    }
    for clip_id in given_by_file.keys() ^ clips.keys():
        raise InputError(f"{where}: clip {clip_id!r:.60} is in one of the split files only. {_ADVICE}")
    for clip_id, clip in clips.items():
        if given_by_file[clip_id] != clip or sum(clip_id in value[split] for split in SPLITS) != 1:
            raise InputError(
                f"{where}: clip {clip_id!r:.60} has different classes or splits in the split files. {_ADVICE}"
            )
