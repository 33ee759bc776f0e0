"""AudioMAE's encoder: a plain vision transformer over a spectrogram, its weights named as in timm.

Shapes: B clips, L = 1024 windows, M = 128 mel bands, S = 512 patch tokens of 16 x 16, in order of time and
from low to high bands; D width.

Weights have the names of the authors' checkpoint. Huang et al.,
Masked Autoencoders that Listen, 2022.
"""

from __future__ import annotations

import argparse
import pickle
import re
import warnings
from collections.abc import Mapping
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn import functional

from avcil.errors import InputError
from avcil.utils.tensor_files import ITEM_BYTES, load_tensors

WINDOWS, BANDS, PATCH = 1024, 128, 16
PATCHES = (WINDOWS // PATCH) * (BANDS // PATCH)
_HEAD_WIDTH = 64
EPSILON = 1e-6
_NOT_NEEDED = ("decoder", "mask_token", "norm.", "head.", "fc_norm.")
"""Weights of AudioMAE's decoder and heads. `norm` is applied before the decoder; the encoder uses a
norm after the mean over tokens instead."""


class AudioViT(nn.Module):
    """Spectrograms (B, 1, 1024, 128) to tokens (B, 512, D) of the last block, without a final norm."""

    def __init__(self, *, width: int, depth: int, hidden: int) -> None:
        super().__init__()
        self.patch_embed = nn.ModuleDict({"proj": nn.Conv2d(1, width, PATCH, stride=PATCH)})
        self.cls_token = nn.Parameter(torch.zeros(1, 1, width))
        self.pos_embed = nn.Parameter(torch.zeros(1, 1 + PATCHES, width))
        self.blocks = nn.ModuleList([Block(width, hidden) for _ in range(depth)])

    def forward(self, spectrograms: Tensor) -> Tensor:
        patches = self.patch_embed["proj"](spectrograms).flatten(2).transpose(1, 2)  # (B, 512, D)
        first = self.cls_token.expand(len(patches), -1, -1)
        tokens = torch.cat([first, patches], dim=1) + self.pos_embed
        for block in self.blocks:
            tokens = block(tokens)
        return tokens[:, 1:]


class Block(nn.Module):
    """x + attention(norm(x)), then x + mlp(norm(x))."""

    def __init__(self, width: int, hidden: int) -> None:
        super().__init__()
        self.norm1, self.norm2 = (nn.LayerNorm(width, eps=EPSILON) for _ in range(2))
        self.attn = nn.ModuleDict({"qkv": nn.Linear(width, 3 * width), "proj": nn.Linear(width, width)})
        self.mlp = nn.ModuleDict({"fc1": nn.Linear(width, hidden), "fc2": nn.Linear(hidden, width)})

    def forward(self, tokens: Tensor) -> Tensor:
        query, key, value = (
            part.unflatten(2, (-1, _HEAD_WIDTH)).transpose(1, 2)  # (B, heads, S, 64)
            for part in self.attn["qkv"](self.norm1(tokens)).chunk(3, dim=2)
        )
        mixed = functional.scaled_dot_product_attention(query, key, value)
        tokens = tokens + self.attn["proj"](mixed.transpose(1, 2).flatten(2))
        return tokens + self.mlp["fc2"](functional.gelu(self.mlp["fc1"](self.norm2(tokens))))


def read_checkpoint(path: Path) -> dict[str, Tensor]:
    """The weights in a .safetensors file or the authors' .pth, which may contain training settings too.

    A .pth file is read by torch's restricted loader, which rejects files that need other code.
    """
    if path.suffix == ".safetensors":
        return load_tensors(path, dtypes=ITEM_BYTES)
    try:
        content = _restricted(path)
    except Exception as error:  # torch raises many kinds of errors for damaged files
        raise InputError(f"the checkpoint {path} cannot be read: {_reason(error)}") from None
    if isinstance(content, Mapping) and isinstance(content.get("model"), Mapping):
        content = content["model"]
    if not isinstance(content, Mapping) or not all(isinstance(value, Tensor) for value in content.values()):
        raise InputError(
            f"the checkpoint {path} contains no weights: it must be a dict of tensors, or have one as 'model'"
        )
    return dict(content)


def _restricted(path: Path) -> object:
    """Load tensors, plain containers, and argparse's Namespace, which contains the authors' settings."""
    with warnings.catch_warnings(), torch.serialization.safe_globals([argparse.Namespace]):
        warnings.simplefilter("ignore")  # about pickle protocols; real problems are raised
        return torch.load(path, map_location="cpu", weights_only=True)


def _reason(error: Exception) -> str:
    """The error in one line, without torch's advice to load the file without restrictions."""
    if isinstance(error, pickle.UnpicklingError):
        named = re.search(r"Unsupported (?:global: GLOBAL|class) ([\w.]+)", str(error))
        if named:
            return f"it needs {named[1]}, which is never part of weights, so it may be malicious. Use the authors' file"
        return "it is not a file of weights from torch.save. Use the authors' file"
    message_lines = str(error).strip().splitlines()
    return message_lines[0] if message_lines else type(error).__name__


def audio_vit(weights: Mapping[str, Tensor], where: str) -> AudioViT:
    """The frozen encoder with these weights, which determine its size; InputError unless all names match."""
    used = {key: value.float() for key, value in weights.items() if not key.startswith(_NOT_NEEDED)}
    model = AudioViT(**_size(used, where))
    expected = model.state_dict()
    faults = {
        "missing": expected.keys() - used.keys(),
        "unexpected": used.keys() - expected.keys(),
        "of another shape": {k for k in expected.keys() & used.keys() if expected[k].shape != used[k].shape},
    }
    if any(faults.values()):
        message = (
            f"{len(keys)} {what} ({', '.join(sorted(keys)[:3])}{', …' if len(keys) > 3 else ''})"
            for what, keys in faults.items()
            if keys
        )
        raise InputError(
            f"{where} does not contain AudioMAE's encoder: of its weights {'; '.join(message)}. Use the authors' "
            "pre-trained ViT-B (pretrained.pth), or the same weights under timm's names as safetensors"
        )
    model.load_state_dict(used)
    return model.eval().requires_grad_(False)


def _size(weights: Mapping[str, Tensor], where: str) -> dict[str, int]:
    """Width, depth and hidden width of the weights."""
    position, first = weights.get("pos_embed"), weights.get("blocks.0.mlp.fc1.weight")
    if position is None or first is None or position.ndim != 3 or first.ndim != 2:
        raise InputError(
            f"{where} does not contain AudioMAE's encoder: pos_embed or blocks.0.mlp.fc1.weight is missing. "
            "Use the authors' pre-trained ViT-B (pretrained.pth), or the same weights as safetensors"
        )
    if position.shape[1] != 1 + PATCHES or position.shape[2] % _HEAD_WIDTH:
        raise InputError(
            f"{where} is for another input or has another width: its pos_embed is {tuple(position.shape)}, "
            f"allowed is (1, {1 + PATCHES}, a multiple of {_HEAD_WIDTH}) (spectrograms of {WINDOWS} x {BANDS})"
        )
    numbers = {key.split(".")[1] for key in weights if key.startswith("blocks.")}
    return {"width": position.shape[2], "depth": len(numbers), "hidden": first.shape[0]}
