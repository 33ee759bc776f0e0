"""Preprocessing of frames for vision models: size, crop, mean and standard deviation.

Shapes: B clips, F frames, H x W pixels as decoded, P x P pixels of the model.

Most of the resizing is done by the decoder, which scales frames to the given short side (bilinear with averaging). The
rest is done here in the same way.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from avcil.errors import InputError

Triple = tuple[float, float, float]
NORMALIZATIONS: dict[str, tuple[Triple, Triple]] = {
    "imagenet": ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225)),
    "clip": ((0.48145466, 0.4578275, 0.40821073), (0.26862954, 0.26130258, 0.27577711)),
    "half": ((0.5, 0.5, 0.5), (0.5, 0.5, 0.5)),
    "timesformer": ((0.45, 0.45, 0.45), (0.225, 0.225, 0.225)),
}
"""Mean and standard deviation per channel, for pixels from 0 to 1, as published with the model families."""


@dataclass(frozen=True, kw_only=True)
class FramePreprocessing:
    """Preprocessing of a vision model.

    >>> FramePreprocessing(side=224, short_side=256, mean=(0.5, 0.5, 0.5), std=(0.5, 0.5, 0.5)).batch(
    ...     [np.full((2, 256, 300, 3), 255, np.uint8)], "example").shape
    torch.Size([1, 2, 224, 224, 3])
    """

    side: int
    """P."""
    short_side: int
    """Short side of frames before the crop."""
    fit: Literal["crop", "squash"] = "crop"
    """crop: the center of the frame; squash: the whole frame, resized to a square."""
    mean: Triple
    std: Triple
    source: str = "published"
    """Source of these values: the file of the model, or the values of its family."""

    def __post_init__(self) -> None:
        if self.fit == "crop" and self.short_side < self.side:
            raise InputError(
                f"frames of short side {self.short_side} are smaller than the crop of {self.side} pixels"
            )

    def to_dict(self) -> dict[str, Any]:
        """As JSON, for the fingerprint."""
        return asdict(self) | {"mean": list(self.mean), "std": list(self.std), "resize": "bilinear"}

    def batch(self, clips: Sequence[np.ndarray], name: str) -> Tensor:
        """Bytes (B, F, P, P, 3) from RGB clips (F, H, W, 3) of any size; `name` is that of the encoder."""
        return torch.stack([self._fitted(torch.from_numpy(_checked(clip, name))) for clip in clips])

    def normalized(self, frames: Tensor) -> Tensor:
        """Float32 (..., 3, P, P) from bytes (..., P, P, 3), on the device where these are."""
        mean, std = (torch.tensor(values, device=frames.device) * 255 for values in (self.mean, self.std))
        return ((frames.float() - mean) / std).movedim(-1, -3).contiguous()

    def _fitted(self, clip: Tensor) -> Tensor:
        height, width = clip.shape[1:3]
        if self.fit == "squash":
            return _resized(clip, self.side, self.side)
        if min(height, width) != self.short_side:
            scale = self.short_side / min(height, width)
            clip = _resized(clip, *(max(self.short_side, round(side * scale)) for side in (height, width)))
        top, left = ((side - self.side) // 2 for side in clip.shape[1:3])
        return clip[:, top : top + self.side, left : left + self.side]


def _resized(clip: Tensor, height: int, width: int) -> Tensor:
    """Bytes (F, height, width, 3), bilinear with averaging; unchanged if they have this size."""
    if clip.shape[1:3] == (height, width):
        return clip
    planes = clip.movedim(3, 1).float()
    planes = functional.interpolate(planes, (height, width), mode="bilinear", antialias=True)
    return planes.round().clamp(0, 255).byte().movedim(1, 3)


def _checked(clip: np.ndarray, name: str) -> np.ndarray:
    clip = np.asarray(clip)
    if clip.dtype != np.uint8 or clip.ndim != 4 or clip.shape[3] != 3 or 0 in clip.shape:
        raise InputError(f"{name} needs RGB frames, uint8 (F, H, W, 3); got {clip.dtype} {clip.shape}")
    return np.ascontiguousarray(clip)


def from_processor(
    settings: Mapping[str, Any] | None,
    *,
    side: int,
    accepts_other_sizes: bool,
    fit: Literal["crop", "squash"],
    normalization: str,
) -> FramePreprocessing:
    """Read the preprocessing from preprocessor_config.json; None uses the values of the model family.

    Args:
        side: P from the configuration of the model.
        accepts_other_sizes: Whether the file can override `side`.
        fit: The family's way of resizing, if the file does not specify it.
    """
    mean, std = NORMALIZATIONS[normalization]
    if settings is None:
        return FramePreprocessing(
            side=side, short_side=side, fit=fit, mean=mean, std=std, source=f"published: {normalization}"
        )
    size, crop = settings.get("size"), settings.get("crop_size")
    cropped = settings.get("do_center_crop", fit == "crop")
    wanted = (crop or size) if cropped else size
    if accepts_other_sizes and wanted:
        side = _length(wanted)
    short = max(side, _length(size)) if cropped and size and settings.get("do_resize", True) else side
    if settings.get("do_normalize", True):
        mean, std = settings.get("image_mean") or mean, settings.get("image_std") or std
    else:
        mean, std = (0.0, 0.0, 0.0), (1.0, 1.0, 1.0)
    # the file uses x * factor - offset, this module x / 255: mean and std are adjusted
    factor, offset = 255 * settings.get("rescale_factor", 1 / 255), 1.0 if settings.get("offset") else 0.0
    mean = tuple(round((value + offset) / factor, 9) for value in mean)
    std = tuple(round(value / factor, 9) for value in std)
    return FramePreprocessing(
        side=side,
        short_side=short,
        fit="crop" if cropped else "squash",
        mean=mean,
        std=std,
        source="the model's own file",
    )


def _length(size: int | Mapping[str, int]) -> int:
    """The length given by the size of a processor: a number, a shortest edge, or a square."""
    if isinstance(size, Mapping):
        return int(size.get("shortest_edge") or min(size["height"], size["width"]))
    return int(size)
