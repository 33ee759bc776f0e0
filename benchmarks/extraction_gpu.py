"""VideoMAE-base on a GPU: clips a second, how near to the limit of bfloat16 products, and whether reading keeps up.

    python benchmarks/extraction_gpu.py CLIPS.csv FOLDER [--batch-size 32] [--device cuda]

The model has its full size and random weights, so nothing is downloaded. Measured are, one after another: matrix
products alone, the model on frames that lie in memory, and `avcil extract` from the videos of the list. Without a GPU
it says so and ends with exit code 2; `--device cpu` tries the script itself.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from transformers import VideoMAEConfig, VideoMAEModel

from avcil.clips import read_clips
from avcil.encoders.registry import visual_encoder
from avcil.features.extract import extract

TOKENS, WIDTH, LAYERS, HIDDEN, PATCH = 1568, 768, 12, 3072, 3 * 2 * 16 * 16


def clip_flop() -> float:
    """Products of one clip: the patches' projection, and for each layer q, k, v, attention, its projection, the MLP."""
    layer = 2 * TOKENS * (4 * WIDTH * WIDTH + 2 * WIDTH * HIDDEN) + 4 * TOKENS * TOKENS * WIDTH
    return LAYERS * layer + 2 * TOKENS * PATCH * WIDTH


def seconds_of(work: Callable[[], object], device: torch.device) -> float:
    """Least of five, after two to warm up."""
    times = []
    for _ in range(7):
        began = time.perf_counter()
        work()
        if device.type == "cuda":
            torch.cuda.synchronize(device)
        times.append(time.perf_counter() - began)
    return min(times[2:])


def product_rate(device: torch.device, dtype: torch.dtype) -> float:
    """FLOP a second of a large matrix product."""
    size = 8192 if device.type == "cuda" else 1024
    a, b = (torch.randn(size, size, device=device, dtype=dtype) for _ in range(2))
    return 2 * size**3 / seconds_of(lambda: a @ b, device)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("clips", type=Path)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--batch-size", type=int, default=32)
    parser.add_argument("--device", default="cuda")
    options = parser.parse_args()
    if options.device != "cpu" and not torch.cuda.is_available():
        print("there is no CUDA GPU here; nothing was measured", file=sys.stderr)
        sys.exit(2)
    weights = options.folder / "videomae-base"
    if not weights.exists():
        torch.manual_seed(0)
        VideoMAEModel(VideoMAEConfig(use_mean_pooling=False)).save_pretrained(weights)
    encoder = visual_encoder(f"videomae-base:{weights}")
    encoder.place(options.device)
    device = encoder.device
    dtype = torch.bfloat16 if encoder.precision == "bfloat16" else torch.float32
    limit = product_rate(device, dtype)
    print(f"matrix products, {encoder.precision}: {limit / 1e12:.2f} TFLOP/s")
    rng = np.random.default_rng(0)
    frames = rng.integers(0, 256, (options.batch_size, 16, 224, 299, 3), dtype=np.uint8)
    seconds = seconds_of(lambda: encoder.encode(list(frames)), device)
    rate = options.batch_size / seconds
    share = rate * clip_flop() / limit
    print(f"model alone, frames in memory: {rate:.2f} clips/s, {share:.0%} of the products' rate")
    clips = read_clips(options.clips)
    began = time.perf_counter()
    report = extract(
        clips,
        options.folder / "features",
        visual=f"videomae-base:{weights}",
        audio="none",
        batch_size=options.batch_size,
        device=options.device,
    )
    extracted = report.stored / (time.perf_counter() - began)
    print(
        f"avcil extract, loading the model included: {extracted:.2f} clips/s, {extracted / rate:.0%} of the model's"
    )


if __name__ == "__main__":
    main()
