"""Write the pictures of the documentation: screenshots as PNG, photos as JPEG."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from PIL import Image

FOLDER = Path(__file__).parents[1] / "pictures"


def save(picture: np.ndarray, name: str, *, folder: Path = FOLDER) -> None:
    """Write a picture.

    Args:
        picture: uint8 (H, W, 3).
        name: Of the file; its suffix selects the format.
        folder: Where it goes; docs/pictures by default.
    """
    folder.mkdir(exist_ok=True)
    Image.fromarray(picture).save(folder / name, optimize=True, quality=88)  # PNG ignores the quality
