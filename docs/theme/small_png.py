"""Pictures as PNG files with a palette."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from PIL import Image

COLORS = 256
FOLDER = Path(__file__).parents[1] / "pictures"


def save(picture: np.ndarray, name: str, *, folder: Path = FOLDER, photo: bool = False) -> None:
    """Write a picture.

    Args:
        picture: uint8 (H, W, 3).
        name: Of the file.
        folder: Where it goes; docs/pictures by default.
        photo: Dither, so that gradients show no bands; screenshots are smaller and sharper without.
    """
    folder.mkdir(exist_ok=True)
    dither = Image.Dither.FLOYDSTEINBERG if photo else Image.Dither.NONE
    image = Image.fromarray(picture)
    palette = image.quantize(COLORS)
    image.quantize(COLORS, palette=palette, dither=dither).save(folder / name, optimize=True)
