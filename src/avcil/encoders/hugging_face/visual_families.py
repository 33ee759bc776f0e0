"""Families of vision models: class of the model, and extraction of tokens from its output.

Shapes: B clips, F frames, P x P pixels, T time slices, S spatial tokens per slice, D width. An adapter computes
tokens (B, T, S, D) in row-major order from float32 pixels (B, F, 3, P, P), without class and register tokens. Image
models are applied to each frame: T = F.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

import torch
from torch import Tensor

from avcil.encoders.hugging_face.loading import TransformersModel, need_transformers
from avcil.errors import InputError, unknown_name

Adapter = Callable[[TransformersModel, Tensor], Tensor]


@dataclass(frozen=True, kw_only=True)
class VisionFamily:
    """A `model_type` of transformers."""

    model: str
    """Name of the class in transformers that contains only the encoder."""
    run: Adapter
    """Computes tokens (B, T * S, D) from pixels (B, F, 3, P, P) for video models, (B * F, S, D) from (B * F, 3, P, P)
    for image models."""
    is_video: bool = False
    tubelet: str | None = None
    """Field of the configuration for the number of frames per time slice; None: one."""
    frames: str | None = None
    """Field of the configuration for the number of frames of a video model."""
    fit: Literal["crop", "squash"] = "squash"
    normalization: str = "half"
    accepts_other_sizes: bool = False
    """Whether the model accepts other frame sizes than that of its configuration."""
    options: Mapping[str, Any] = field(default_factory=dict)
    """Further arguments of `from_pretrained`."""
    optional_weights: tuple[str, ...] = ()
    config: Callable[[Any, Mapping[str, Any]], Any] = lambda whole, written: getattr(
        whole, "vision_config", whole
    )
    """Computes the configuration of `model` from that of the whole model and config.json."""
    one_token_per_frame: bool = False
    """Whether it has one token per frame instead of a grid of patches: T = F, S = 1."""


def _after(prefix: int) -> Adapter:
    """The last hidden state without its first `prefix` tokens."""
    return lambda model, pixels: model(pixel_values=pixels).last_hidden_state[:, prefix:]


def _after_registers(model: TransformersModel, pixels: Tensor) -> Tensor:
    tokens = model(pixel_values=pixels).last_hidden_state
    return tokens[:, 1 + model.config.num_register_tokens :]


def _unmasked(model: TransformersModel, pixels: Tensor) -> Tensor:
    """ViTMAE shuffles and drops tokens by noise; ascending noise keeps their order."""
    side = pixels.shape[-1] // model.config.patch_size
    noise = torch.arange(side * side, device=pixels.device, dtype=torch.float32).expand(len(pixels), -1)
    return model(pixel_values=pixels, noise=noise).last_hidden_state[:, 1:]


def _time_major(model: TransformersModel, pixels: Tensor) -> Tensor:
    """Reorder the tokens of TimeSformer from (position, frame) to (frame, position)."""
    tokens = model(pixel_values=pixels).last_hidden_state[:, 1:]  # (B, S * F, D)
    frames = pixels.shape[1]
    return tokens.unflatten(1, (-1, frames)).transpose(1, 2).flatten(1, 2)


def _pe_video(model: TransformersModel, pixels: Tensor) -> Tensor:
    """The states of the frames after the temporal layers."""
    return model(pixel_values_videos=pixels).last_hidden_state


def _pe_video_config(whole: Any, written: Mapping[str, Any]) -> Any:
    """The configuration of PE-AV's video encoder.

    Frames are processed by an image model of timm or of transformers. transformers reads both configurations as timm's;
    this function restores that of transformers from config.json.
    """
    config = whole.audio_video_config.video_config
    parts = written["audio_video_config"].get("video_config") or {}
    options = dict(parts.get("vision_config") or {})
    kind = options.pop("model_type", "timm_wrapper")
    if kind != "timm_wrapper":
        config.vision_config = need_transformers().AutoConfig.for_model(kind, **options)
    return config


def _vjepa(model: TransformersModel, pixels: Tensor) -> Tensor:
    return model(pixel_values_videos=pixels, skip_predictor=True).last_hidden_state


def _patches_of_any_shape(model: TransformersModel, pixels: Tensor) -> Tensor:
    """SigLIP 2 of flexible resolution takes patches, colors last, and the grid that they form."""
    patch = model.config.patch_size
    grid = pixels.shape[-1] // patch
    cut = pixels.unflatten(2, (grid, patch)).unflatten(4, (grid, patch))  # (N, 3, g, p, g, p)
    patches = cut.permute(0, 2, 4, 3, 5, 1).flatten(3).flatten(1, 2)  # (N, g * g, p * p * 3)
    shapes = torch.tensor([[grid, grid]] * len(pixels), device=pixels.device)
    mask = torch.ones(patches.shape[:2], dtype=torch.int32, device=pixels.device)
    return model(pixel_values=patches, pixel_attention_mask=mask, spatial_shapes=shapes).last_hidden_state


_WITHOUT_POOLER = {"add_pooling_layer": False}
CLIP = VisionFamily(model="CLIPVisionModel", run=_after(1), fit="crop", normalization="clip")
_SIGLIP = VisionFamily(model="SiglipVisionModel", run=_after(0))
_SIGLIP2 = VisionFamily(model="Siglip2VisionModel", run=_patches_of_any_shape)
FAMILIES: dict[str, VisionFamily] = {
    "videomae": VisionFamily(
        model="VideoMAEModel", run=_after(0), is_video=True, tubelet="tubelet_size", frames="num_frames",
        fit="crop", normalization="imagenet",
    ),
    "vjepa2": VisionFamily(
        model="VJEPA2Model", run=_vjepa, is_video=True, tubelet="tubelet_size", frames="frames_per_clip",
        fit="crop", normalization="imagenet",
    ),
    "vivit": VisionFamily(
        model="VivitModel", run=_after(1), is_video=True, tubelet="tubelet_size", frames="num_frames",
        fit="crop", options=_WITHOUT_POOLER,
    ),
    "timesformer": VisionFamily(
        model="TimesformerModel", run=_time_major, is_video=True, frames="num_frames", fit="crop",
        normalization="timesformer",
    ),
    "clip": CLIP,
    "clip_vision_model": CLIP,
    "siglip": _SIGLIP,
    "siglip_vision_model": _SIGLIP,
    "siglip2": _SIGLIP2,
    "siglip2_vision_model": _SIGLIP2,
    "dinov2": VisionFamily(
        model="Dinov2Model", run=_after(1), fit="crop", normalization="imagenet", accepts_other_sizes=True,
        optional_weights=("mask_token",),
    ),
    "dinov2_with_registers": VisionFamily(
        model="Dinov2WithRegistersModel", run=_after_registers, fit="crop", normalization="imagenet",
        accepts_other_sizes=True, optional_weights=("mask_token",),
    ),
    "dinov3_vit": VisionFamily(
        model="DINOv3ViTModel", run=_after_registers, normalization="imagenet", accepts_other_sizes=True,
        optional_weights=("mask_token",),
    ),
    "vit": VisionFamily(model="ViTModel", run=_after(1), options=_WITHOUT_POOLER),
    "deit": VisionFamily(
        model="DeiTModel", run=_after(2), fit="crop", normalization="imagenet", options=_WITHOUT_POOLER,
        optional_weights=("mask_token",),
    ),
    "vit_mae": VisionFamily(model="ViTMAEModel", run=_unmasked, normalization="imagenet"),
    "pe_audio_video": VisionFamily(
        model="PeVideoEncoder", run=_pe_video, is_video=True, accepts_other_sizes=True, config=_pe_video_config,
        one_token_per_frame=True,
    ),
}  # fmt: skip


def vision_family(model_type: str) -> VisionFamily:
    """The family of this `model_type`; InputError with the nearest ones for any other."""
    if model_type not in FAMILIES:
        error = unknown_name("family of vision models", model_type, FAMILIES)
        raise InputError(
            f"{error}. Other families need an adapter in encoders/hugging_face/visual_families.py first"
        )
    return FAMILIES[model_type]
