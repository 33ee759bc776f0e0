"""Results of reading media as messages of a worker process: JSON values, and arrays by name."""

from __future__ import annotations

from dataclasses import fields
from typing import Any, TypeVar

import numpy as np

from avcil.media.clip import ClipMedia
from avcil.media.probe import MediaInfo
from avcil.media.windows import ClipWindow

Media = TypeVar("Media", MediaInfo, ClipMedia, ClipWindow)


def pack(media: MediaInfo | ClipMedia | ClipWindow) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
    """The fields that are not arrays (for `extra_frames` the number of arrays), and the arrays by name."""
    values = {field.name: getattr(media, field.name) for field in fields(media)}
    arrays = {name: value for name, value in values.items() if isinstance(value, np.ndarray)}
    if "extra_frames" in values:
        arrays |= {f"extra_frames.{number}": frames for number, frames in enumerate(values["extra_frames"])}
        values["extra_frames"] = len(values["extra_frames"])
    return {name: value for name, value in values.items() if name not in arrays}, arrays


def unpack(kind: type[Media], values: dict[str, Any], arrays: dict[str, np.ndarray]) -> Media:
    """The inverse of `pack`, for a message that was sent as JSON."""
    fields_of_media: dict[str, Any] = values | arrays | {"problems": tuple(values["problems"])}
    if "extra_frames" in values:
        names = [f"extra_frames.{number}" for number in range(values["extra_frames"])]
        fields_of_media["extra_frames"] = tuple(fields_of_media.pop(name) for name in names)
    return kind(**fields_of_media)
