"""Compute the constants `center` and `scale` of the packaged networks, and write them into their weights.

    python scripts/encoder_constants.py FOLDER[:PER_CLASS] ...

Each FOLDER holds train/CLASS/clip.mp4; PER_CLASS limits how many clips of a class are taken. The released constants are
of scenes20:20 and words51:8, 808 clips. They are the mean and the standard deviation over clips (of the visual tokens,
over clips, frames and cells) of each number, with the default options, rounded to three significant digits.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
import torch
from make_encoder_weights import CONSTANTS, WEIGHTS, write_weights
from safetensors.torch import load_file

from avcil.encoders.efficientnet_lite import EfficientNetLite0
from avcil.encoders.yamnet import Yamnet
from avcil.media import read_clip

DIGITS = 3
LEAST = 1e-3
"""Of a scale: numbers that do not vary are not divided by 0."""


def chosen_clips(sources: list[str]) -> list[Path]:
    """The first clips of each class of each folder."""
    found: list[Path] = []
    for source in sources:
        folder, _, limit = source.partition(":")
        for label in sorted(Path(folder, "train").iterdir()):
            found += sorted(label.glob("*.mp4"))[: int(limit) if limit else None]
    return found


def features(clips: list[Path]) -> dict[str, np.ndarray]:
    """Vectors (n, E) of each network without projection."""
    sees, hears = EfficientNetLite0(width=1280, device="cpu"), Yamnet(width=1024, device="cpu")
    seen, heard = [], []
    for path in clips:
        media = read_clip(path, frames=sees.frames, short_side=sees.short_side, sample_rate=hears.sample_rate)
        seen.append(sees.encode([media.frames])[0].reshape(-1, sees.width))
        heard.append(hears.encode([media.sound]))
    return {"efficientnet_lite0": np.concatenate(seen), "yamnet": np.concatenate(heard)}


def constants(vectors: np.ndarray, directions: np.ndarray) -> dict[str, torch.Tensor]:
    """Center and scale of the projected numbers and of all."""
    values = []
    for numbers in (vectors @ directions.T, vectors):
        values += [
            numbers.mean(axis=0, dtype=np.float64),
            np.maximum(numbers.std(axis=0, dtype=np.float64), LEAST),
        ]
    return {name: torch.from_numpy(rounded(part)) for name, part in zip(CONSTANTS, values, strict=True)}


def rounded(values: np.ndarray) -> np.ndarray:
    """Float32, to `DIGITS` significant digits, so that the last bits of features do not matter."""
    return np.array([float(f"{value:.{DIGITS}g}") for value in values], np.float32)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("folders", nargs="+")
    clips = chosen_clips(parser.parse_args().folders)
    print(f"{len(clips)} clips")
    for name, vectors in features(clips).items():
        tensors = load_file(WEIGHTS / f"{name}.safetensors")
        write_weights(name, tensors | constants(vectors, tensors["directions"].float().numpy()))


if __name__ == "__main__":
    main()
