"""VideoMAE-base on a GPU: clips per second, fraction of the peak bfloat16 throughput, and whether reading keeps up.

    python benchmarks/extraction_gpu.py CLIPS.csv FOLDER [--batch-size 32] [--device cuda]

The model has its full size and random weights, so nothing is downloaded. Measured are, one after another: matrix
products alone, the model on frames that lie in memory, readers alone, and `avcil extract` from the videos of the list.
If readers alone are slower than the model, the GPU waits for them. Without a GPU, the script prints a message and exits
with code 2; `--device cpu` tests the script.
"""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from full_size import encoders

from avcil.data.clips import Clip, read_clips
from avcil.encoders.base import VisualEncoder
from avcil.extraction.extract import extract
from avcil.extraction.read_ahead import DecodeSpec
from avcil.extraction.read_pool import read_clips_ahead
from avcil.media.reader import ReadLimits

TOKENS, WIDTH, LAYERS, HIDDEN, PATCH = 1568, 768, 12, 3072, 3 * 2 * 16 * 16


def clip_flop() -> float:
    """FLOP of one clip: the projection of patches, and for each layer q, k, v, attention, its projection, the MLP."""
    layer = 2 * TOKENS * (4 * WIDTH * WIDTH + 2 * WIDTH * HIDDEN) + 4 * TOKENS * TOKENS * WIDTH
    return LAYERS * layer + 2 * TOKENS * PATCH * WIDTH


def seconds_of(work: Callable[[], object], device: torch.device) -> float:
    """Minimum of five runs, after two for warm-up."""
    times = []
    for _ in range(7):
        start = time.perf_counter()
        work()
        if device.type == "cuda":
            torch.cuda.synchronize(device)
        times.append(time.perf_counter() - start)
    return min(times[2:])


def product_rate(device: torch.device, dtype: torch.dtype) -> float:
    """FLOP per second of a large matrix product."""
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
    encoder, _ = encoders(options.folder)
    encoder.to(options.device)
    device = encoder.device
    dtype = torch.bfloat16 if encoder.precision == "bfloat16" else torch.float32
    limit = product_rate(device, dtype)
    print(f"matrix products, {encoder.precision}: {limit / 1e12:.3g} TFLOP/s")
    rng = np.random.default_rng(0)
    frames = rng.integers(0, 256, (options.batch_size, 16, 224, 299, 3), dtype=np.uint8)
    seconds = seconds_of(lambda: encoder.encode(list(frames)), device)
    rate = options.batch_size / seconds
    share = rate * clip_flop() / limit
    print(f"model alone, frames in memory: {rate:.2f} clips/s, {share:.0%} of the products' rate")
    clips = read_clips(options.clips)
    print(f"readers alone, one a core: {reading_rate(clips, encoder):.2f} clips/s")
    with tempfile.TemporaryDirectory(dir=options.folder) as folder:
        start = time.perf_counter()
        report = extract(
            clips, Path(folder) / "store", visual=encoder, audio="none", batch_size=options.batch_size
        )
        extracted = report.new / (time.perf_counter() - start)
    share = extracted / rate
    print(f"avcil extract, the model loaded before: {extracted:.2f} clips/s, {share:.0%} of the model's")


def reading_rate(clips: list[Clip], encoder: VisualEncoder) -> float:
    """Clips per second of the readers of `avcil extract` without encoding, including their start."""
    workers = len(os.sched_getaffinity(0))
    start = time.perf_counter()
    stream = read_clips_ahead(
        clips, DecodeSpec.of(encoder, None), ReadLimits(), workers=workers, ahead=2 * workers, isolate=True
    )
    count = sum(read.frames is not None for read in stream)
    return count / (time.perf_counter() - start)


if __name__ == "__main__":
    main()
