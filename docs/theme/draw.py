"""Write the diagrams of the concept pages into docs/diagrams: python docs/theme/draw.py

Weights and maps in them are computed by the library; a test checks that the files are up to date.
"""

from __future__ import annotations

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))

import attention_diagrams
import learning_diagrams

FOLDER = Path(__file__).parents[1] / "diagrams"


def diagrams() -> dict[str, str]:
    """Every diagram by the name of its file."""
    made = (draw() for draw in (*learning_diagrams.DRAWINGS, *attention_diagrams.DRAWINGS))
    return {f"{drawing.name}.svg": drawing.svg() for drawing in made}


if __name__ == "__main__":
    FOLDER.mkdir(exist_ok=True)
    for name, text in diagrams().items():
        (FOLDER / name).write_text(text, encoding="utf-8")
