"""Pictures as PNG files of few colours."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from PIL import Image

COLOURS = 128
FOLDER = Path(__file__).parents[1] / "pictures"


def save(picture: np.ndarray, name: str) -> None:
    """Write (H, W, 3) uint8 to docs/pictures."""
    FOLDER.mkdir(exist_ok=True)
    few = Image.fromarray(picture).quantize(COLOURS, dither=Image.Dither.NONE)
    few.save(FOLDER / name, optimize=True)
