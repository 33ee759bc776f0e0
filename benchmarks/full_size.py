"""Full-size VideoMAE-base and AudioMAE ViT-B with random weights, saved in the published form and loaded by name.

    python benchmarks/full_size.py FOLDER

As a script: shapes, seconds a clip, and the differences from a float64 implementation of both architectures, which
shares only the weights on the disk with avcil (and the spectrogram, which has its own tests).
"""

from __future__ import annotations

import sys
import time
from pathlib import Path

import numpy as np
import torch
from safetensors.torch import load_file, save_file

from avcil.encoders.audio_vit import BANDS, WINDOWS
from avcil.encoders.base import AudioEncoder, VisualEncoder
from avcil.encoders.kaldi_fbank import fbank
from avcil.encoders.registry import audio_encoder, visual_encoder

WIDTH, LAYERS, HIDDEN, HEADS = 768, 12, 3072, 12


def encoders(folder: Path) -> tuple[VisualEncoder, AudioEncoder]:
    """Both encoders, from files that are written to `folder` in the first call."""
    folder.mkdir(parents=True, exist_ok=True)
    if not (folder / "videomae-base" / "config.json").exists():
        from transformers import VideoMAEConfig, VideoMAEModel

        torch.manual_seed(0)
        VideoMAEModel(VideoMAEConfig(use_mean_pooling=False)).save_pretrained(folder / "videomae-base")
    if not (folder / "audiomae.safetensors").exists():
        save_file(audio_weights(), folder / "audiomae.safetensors")
    return (
        visual_encoder(f"videomae-base:{folder / 'videomae-base'}"),
        audio_encoder(f"audiomae:{folder / 'audiomae.safetensors'}"),
    )


def audio_weights() -> dict[str, torch.Tensor]:
    """Weights of AudioMAE's encoder, with timm's names."""
    shapes = {"cls_token": (1, 1, WIDTH), "pos_embed": (1, 513, WIDTH)}
    layers = {"patch_embed.proj": (WIDTH, 1, 16, 16)}
    for number in range(LAYERS):
        block = {"norm1": (WIDTH,), "attn.qkv": (3 * WIDTH, WIDTH), "attn.proj": (WIDTH, WIDTH)}
        block |= {"norm2": (WIDTH,), "mlp.fc1": (HIDDEN, WIDTH), "mlp.fc2": (WIDTH, HIDDEN)}
        layers |= {f"blocks.{number}.{name}": shape for name, shape in block.items()}
    for name, shape in layers.items():
        shapes |= {f"{name}.weight": shape, f"{name}.bias": shape[:1]}
    draw = torch.Generator().manual_seed(0)
    weights = {name: 0.02 * torch.randn(shape, generator=draw) for name, shape in shapes.items()}
    return {name: value + ("norm" in name and name.endswith("weight")) for name, value in weights.items()}


Weights = dict[str, torch.Tensor]


def linear(x: torch.Tensor, w: Weights, name: str) -> torch.Tensor:
    """x W^T + b."""
    return x @ w[name + ".weight"].T + w[name + ".bias"]


def normed(x: torch.Tensor, w: Weights | None, name: str, epsilon: float) -> torch.Tensor:
    """LayerNorm over the width; without `w` neither scale nor shift."""
    centered = x - x.mean(dim=-1, keepdim=True)
    scaled = centered / (centered.square().mean(dim=-1, keepdim=True) + epsilon).sqrt()
    return scaled if w is None else scaled * w[name + ".weight"] + w[name + ".bias"]


def attended(q: torch.Tensor, k: torch.Tensor, v: torch.Tensor) -> torch.Tensor:
    """softmax(q k^T / sqrt(64)) v of each of 12 heads; all (tokens, 768)."""
    out = torch.empty_like(q)
    for head in range(HEADS):
        own = slice(64 * head, 64 * head + 64)
        scores = torch.exp(q[:, own] @ k[:, own].T / 8)
        out[:, own] = (scores / scores.sum(dim=1, keepdim=True)) @ v[:, own]
    return out


def gelu(x: torch.Tensor) -> torch.Tensor:
    """x times the standard normal distribution function at x."""
    return x * (1 + torch.erf(x / 2**0.5)) / 2


def videomae_written_out(path: Path, frames: np.ndarray) -> torch.Tensor:
    """Tokens (1568, 768) of frames (16, 224, 224, 3)."""
    w = {name.removeprefix("videomae."): value.double() for name, value in load_file(path).items()}
    pixels = torch.from_numpy((frames / 255 - [0.485, 0.456, 0.406]) / [0.229, 0.224, 0.225])
    cubes = pixels.reshape(8, 2, 14, 16, 14, 16, 3).permute(0, 2, 4, 6, 1, 3, 5).reshape(1568, -1)
    kernel = "embeddings.patch_embeddings.projection"
    h = cubes @ w[kernel + ".weight"].reshape(WIDTH, -1).T + w[kernel + ".bias"]
    angles = torch.arange(1568.0).double()[:, None] / 10000 ** (torch.arange(0, WIDTH, 2).double() / WIDTH)
    h[:, 0::2] += angles.sin()
    h[:, 1::2] += angles.cos()
    for number in range(LAYERS):
        p = f"encoder.layer.{number}."
        a, at = normed(h, w, p + "layernorm_before", 1e-12), p + "attention.attention."
        q = a @ w[at + "query.weight"].T + w[at + "q_bias"]
        v = a @ w[at + "value.weight"].T + w[at + "v_bias"]
        h = h + linear(attended(q, a @ w[at + "key.weight"].T, v), w, p + "attention.output.dense")
        inner = linear(normed(h, w, p + "layernorm_after", 1e-12), w, p + "intermediate.dense")
        h = h + linear(gelu(inner), w, p + "output.dense")
    return normed(h, w, "layernorm", 1e-12)


def audiomae_written_out(path: Path, waveform: np.ndarray) -> torch.Tensor:
    """The vector (768,) of a waveform (N,) at 16 kHz."""
    w = {name: value.double() for name, value in load_file(path).items()}
    heard = torch.zeros(WINDOWS, BANDS, dtype=torch.float64)
    energies = torch.as_tensor(np.asarray(fbank(waveform - waveform.mean(), 16_000)), dtype=torch.float64)[
        :WINDOWS
    ]
    heard[: len(energies)] = energies
    x = (heard + 4.2677393) / (2 * 4.5689974)
    patches = x.reshape(64, 16, 8, 16).permute(0, 2, 1, 3).reshape(512, 256)
    h = patches @ w["patch_embed.proj.weight"].reshape(WIDTH, -1).T + w["patch_embed.proj.bias"]
    h = torch.cat([w["cls_token"][0], h]) + w["pos_embed"][0]
    for number in range(LAYERS):
        p = f"blocks.{number}."
        q, k, v = linear(normed(h, w, p + "norm1", 1e-6), w, p + "attn.qkv").split(WIDTH, dim=1)
        h = h + linear(attended(q, k, v), w, p + "attn.proj")
        h = h + linear(gelu(linear(normed(h, w, p + "norm2", 1e-6), w, p + "mlp.fc1")), w, p + "mlp.fc2")
    return normed(h[1:].mean(dim=0), None, "", 1e-6)


def report(name: str, found: np.ndarray, wanted: torch.Tensor, seconds: float) -> None:
    """A line for each model; exit code 1 if the values differ from the independent implementation."""
    off = float((torch.from_numpy(found).double() - wanted).abs().max() / wanted.abs().max())
    print(f"{name}: {found.shape}, {seconds:.2f} s a clip, off by {off:.1e} of the largest number")
    if off > 1e-4:
        sys.exit(f"{name} is not the architecture written out")


def main() -> None:
    if len(sys.argv) != 2:
        sys.exit(__doc__)
    folder, rng = Path(sys.argv[1]), np.random.default_rng(0)
    seeing, hearing = encoders(folder)
    frames = rng.integers(0, 256, (16, 224, 224, 3), dtype=np.uint8)
    waveform = rng.uniform(-0.3, 0.3, 160_000).astype(np.float32)
    seeing.encode([frames]), hearing.encode([waveform])  # the first call takes longer
    start = time.perf_counter()
    tokens = seeing.encode([frames])[0]
    between = time.perf_counter()
    vector = hearing.encode([waveform])[0]
    ended = time.perf_counter()
    wanted = videomae_written_out(folder / "videomae-base" / "model.safetensors", frames)
    report("videomae-base", tokens, wanted.reshape(tokens.shape), between - start)
    report(
        "audiomae", vector, audiomae_written_out(folder / "audiomae.safetensors", waveform), ended - between
    )


if __name__ == "__main__":
    main()
