"""Vision models of Hugging Face as visual encoders, including VideoMAE-base.

Shapes: B clips, F frames, H x W pixels as decoded, P x P pixels of the model, T time slices, S spatial tokens
per slice, D width. Tokens are the model's last hidden state.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar

import numpy as np

from avcil.encoders.base import VisualEncoder
from avcil.encoders.device import inference
from avcil.encoders.hugging_face.loading import (
    HuggingFaceModel,
    Source,
    load_config,
    load_settings,
    load_transformers_model,
    square,
)
from avcil.encoders.hugging_face.visual_families import FAMILIES, VisionFamily, vision_family
from avcil.encoders.info import EncoderInfo
from avcil.encoders.pixels import NORMALIZATIONS, FramePreprocessing, from_processor
from avcil.errors import InputError, unknown_name
from avcil.utils.frame_sampling import SCRIPT_FPS, SLICE_CENTERS

_BATCH_SIZE = 64
"""Frames that go through the model together (on a CPU, larger numbers need more memory and are not faster)."""
_CUDA_BATCH_SIZE = 512
_PROCESSOR_FILES = (
    "preprocessor_config.json",
    "video_preprocessor_config.json",
    "processor_config.json#image_processor",
    "processor_config.json#video_processor",
)
MAX_FRAMES = 1024
_VARIANTS = {
    "published": SLICE_CENTERS,
    **{f"av-cil-script{name}": choice for name, choice in SCRIPT_FPS.items()},
}
"""Rules for frame times (`media.frame_choice`) by variant."""


class HuggingFaceVisual(HuggingFaceModel, VisualEncoder):
    """`hf:NAME_OR_FOLDER`: a video model, or an image model applied to each frame.

    Mean, standard deviation and size of frames are those of the model's preprocessor_config.json, otherwise those of
    its family.
    """

    name: str = "hf"
    info: ClassVar[EncoderInfo] = EncoderInfo(
        license="of the model",
        purpose="any video or image model of the families in docs/encoders.md",
        extra="encoders",
        needs_source=True,
    )
    families: ClassVar[tuple[str, ...]] = tuple(FAMILIES)

    def __init__(
        self,
        *,
        source: str = "",
        variant: str = "published",
        frames: int | None = None,
        device: str | None = None,
    ) -> None:
        """
        Args:
            source: Hub name, optionally with @REVISION, or local folder.
            variant: "published", or "av-cil-script" (10 frames per second) or "av-cil-script-8fps", which sample frames
                like the scripts of AV-CIL's release.
            frames: Number of frames for an image model or PE-AV, by default 8; other video models have a fixed number.
            device: "cpu", "cuda", "cuda:1"; None is a GPU if there is one. It is not part of the fingerprint.
                On a GPU, matrix products are computed in bfloat16.
        """
        if variant not in _VARIANTS:
            raise unknown_name(f"variant of encoder {self.name!r}:", variant, _VARIANTS)
        self.frame_choice = _VARIANTS[variant]
        whole, self.source = load_config(Source.of(source))
        self.model_type: str = whole.model_type
        self.family = vision_family(self.model_type)
        if self.model_type not in self.families:
            raise InputError(
                f"{self.name} needs a {self.families[0]} model, not {self.model_type}; use hf:{source}"
            )
        config = self.family.config(whole, load_settings(self.source, "config.json") or {})
        if self.model_type == "vit_mae":
            config.mask_ratio = 0.0
        self._read_config(config, frames)
        self.options = {
            "source": self._fingerprint_source(source),
            "variant": variant,
            "frames": frames,
        }
        self._model = load_transformers_model(
            self.source,
            self.family.model,
            config,
            optional_weights=self.family.optional_weights,
            **self.family.options,
        )
        self.to(device)

    def _read_config(self, config: Any, frames: int | None) -> None:
        """Frames, pixels, token grid and width, from the model's configuration."""
        family = self.family
        if family.frames and frames is not None:
            raise InputError(f"a {self.model_type} model has a fixed number of frames; omit `frames`")
        own = getattr(config, family.frames) if family.frames else (8 if frames is None else frames)
        self.frames = check_frame_count(own)
        slices = self.frames // (_tubelet(config, family.tubelet) if family.tubelet else 1)
        self._pixels = self._preprocessing(config)
        self.short_side = self._pixels.short_side
        self.token_grid = (slices, self._tokens_per_slice(config))
        self.width = int(config.hidden_size)

    def _tokens_per_slice(self, config: Any) -> int:
        if self.family.one_token_per_frame:
            return 1
        return (self._pixels.side // square(_patch(config), "patch size")) ** 2

    def _preprocessing(self, config: Any) -> FramePreprocessing:
        return model_pixels(self.source, self.family, config)

    def encode(self, clips: Sequence[np.ndarray]) -> np.ndarray:
        """Tokens (B, T, S, D) float32 of B clips, each uint8 RGB (F, H, W, 3); sizes may differ."""
        batch_size = max(1, (_CUDA_BATCH_SIZE if self.device.type == "cuda" else _BATCH_SIZE) // self.frames)
        parts = [self._encode_some(clips[i : i + batch_size]) for i in range(0, len(clips), batch_size)]
        return np.concatenate([np.zeros((0, *self.token_grid, self.width), np.float32), *parts])

    def _encode_some(self, clips: Sequence[np.ndarray]) -> np.ndarray:
        check_frames(clips, self.frames, self.name)
        frames = self._pixels.batch(clips, self.name).to(self.device, non_blocking=True)
        with inference(self.device, self.precision):
            pixels = self._pixels.normalized(frames)  # (B, F, 3, P, P)
            tokens = self.family.run(self._model, pixels if self.family.is_video else pixels.flatten(0, 1))
            return tokens.float().reshape(len(clips), *self.token_grid, self.width).cpu().numpy()

    def _preprocessing_fingerprint(self) -> dict[str, Any]:
        return {**self._pixels.to_dict(), "frame_choice": self.frame_choice}


class VideoMAE(HuggingFaceVisual):
    """VideoMAE as in AV-CIL: 16 frames, short side 224, center crop, ImageNet's mean and standard deviation.

    `videomae-base`, or `videomae-base:FOLDER` with other weights. Tokens are the last hidden state after the final
    LayerNorm: (8, 196, 768). The preprocessing does not depend on files of the model.
    """

    name: str = "videomae-base"
    info: ClassVar[EncoderInfo] = EncoderInfo(
        license="CC-BY-NC-4.0",
        purpose="actions in videos, self-supervised; used in the AV-CIL paper",
        downloaded_bytes=345_000_000,
        extra="encoders",
        features=(8, 196, 768),
    )
    families: ClassVar[tuple[str, ...]] = ("videomae",)

    def __init__(
        self, *, source: str = "MCG-NJU/videomae-base", variant: str = "published", device: str | None = None
    ) -> None:
        super().__init__(source=source, variant=variant, device=device)
        del self.options["frames"]
        if self._model.layernorm is None:
            raise InputError(
                f"the model {source} has no final LayerNorm (use_mean_pooling is set, as in fine-tuned "
                "ones); videomae-base needs a model that was not fine-tuned. Use "
                f"hf:{source} to take it as it is"
            )

    def _preprocessing(self, config: Any) -> FramePreprocessing:
        side = _side(config)
        mean, std = NORMALIZATIONS["imagenet"]
        return FramePreprocessing(
            side=side, short_side=side, fit="crop", mean=mean, std=std, source="published: VideoMAE"
        )


def model_pixels(source: Source, family: VisionFamily, config: Any) -> FramePreprocessing:
    """Preprocessing from the model's preprocessor file, otherwise that of its family."""
    return from_processor(
        load_settings(source, *_PROCESSOR_FILES),
        side=_side(config),
        accepts_other_sizes=family.accepts_other_sizes,
        fit=family.fit,
        normalization=family.normalization,
    )


def check_frame_count(frames: int) -> int:
    """`frames`, if it is in the allowed range."""
    if not 1 <= frames <= MAX_FRAMES:
        raise InputError(f"frames must be 1 to {MAX_FRAMES}, not {frames}")
    return frames


def check_frames(clips: Sequence[np.ndarray], frames: int, name: str) -> None:
    """Raise InputError for clips with another number of frames."""
    for clip in clips:
        if len(clip) != frames:
            raise InputError(f"{name} needs {frames} frames per clip; got {np.shape(clip)}")


def _side(config: Any) -> int:
    """P. SigLIP 2 with flexible resolution has the number of patches instead; names of timm end with the side."""
    config = getattr(config, "vision_config", config)
    if hasattr(config, "architecture"):
        side = str(config.architecture).rpartition("_")[2]
        if not side.isdigit():
            raise InputError(f"the size of the frames is not part of the name {config.architecture!r}")
        return int(side)
    if hasattr(config, "image_size"):
        return square(config.image_size, "image size")
    if hasattr(config, "crop_size"):
        return square(config.crop_size, "image size")
    return int(config.num_patches**0.5) * config.patch_size


def _patch(config: Any) -> Any:
    """The side of a patch; for ViViT, the second number of its tubelet size."""
    tubelet = getattr(config, "tubelet_size", None)
    return tubelet[1:] if isinstance(tubelet, list | tuple) else config.patch_size


def _tubelet(config: Any, field: str) -> int:
    value = getattr(config, field)
    return int(value if isinstance(value, int) else value[0])
