"""Diagrams as SVG: boxes, words, arrows and grids on a sheet narrow enough for a phone.

Colors are variables: in the site those of its style sheet (site.css), which follow the reader's scheme; in a file
looked at alone those of the style that stands in it, which the site takes out (hooks.py).
"""

from __future__ import annotations

import html
from collections.abc import Callable

WIDTH = 420
"""Units across; the site shows one as a CSS pixel or less."""
LIGHT = {
    "ink": "#1b2733", "soft": "#5b6b7a", "line": "#9aa8b5", "paper": "#fff", "box": "#f1f4f7",
    "sound": "#b4500f", "sound-box": "#fdeee2", "picture": "#0b6b86", "picture-box": "#e1f3f8",
    "new": "#2f7a3a", "new-box": "#e6f4e8", "old": "#6a4fa3", "old-box": "#efeaf8",
}  # fmt: skip
DARK = {
    "ink": "#e6ecf2", "soft": "#a7b4c1", "line": "#64748b", "paper": "#1e2129", "box": "#2a303b",
    "sound": "#ffab70", "sound-box": "#44301f", "picture": "#74d3ea", "picture-box": "#163a46",
    "new": "#8fd69a", "new-box": "#1d3b24", "old": "#c3aef2", "old-box": "#352c4d",
}  # fmt: skip
BASE = 5
"""From a word's middle down to its base line, at the usual size."""


class Drawing:
    """A sheet of WIDTH x `height`, filled from the upper left."""

    def __init__(self, name: str, title: str, height: int) -> None:
        self.name, self.title, self.height = name, title, height
        self._parts: list[str] = []

    def text(
        self, x: float, y: float, words: str, *, size: int = 14, color: str = "ink", anchor: str = "middle",
        bold: bool = False,
    ) -> None:  # fmt: skip
        """Words in a line, their middle at height `y`."""
        weight = ' font-weight="600"' if bold else ""
        self._parts.append(
            f'<text x="{x:g}" y="{y + BASE * size / 14:g}" font-size="{size}" text-anchor="{anchor}"{weight} '
            f'style="fill:var(--d-{color})">{html.escape(words)}</text>'
        )

    def box(
        self, x: float, y: float, width: float, height: float, words: str = "", *, color: str = "line",
        fill: str = "box", size: int = 14, round_: float = 5, opacity: float = 1, thick: float = 1.3,
    ) -> None:  # fmt: skip
        """A rectangle with words in lines, middle in middle."""
        self._parts.append(
            f'<rect x="{x:g}" y="{y:g}" width="{width:g}" height="{height:g}" rx="{round_:g}" '
            f'style="fill:var(--d-{fill});stroke:var(--d-{color});fill-opacity:{opacity:.3g}" '
            f'stroke-width="{thick:g}"/>'
        )
        lines = words.split("\n") if words else []
        for number, line in enumerate(lines):
            ink = "ink" if color == "line" else color
            at = y + height / 2 + (number - (len(lines) - 1) / 2) * (size + 3)
            self.text(x + width / 2, at, line, size=size, color=ink)

    def arrow(self, points: list[tuple[float, float]], *, color: str = "soft", dashed: bool = False) -> None:
        """A line through points with a head at its end."""
        path = "M" + " L".join(f"{x:g} {y:g}" for x, y in points)
        dash = ' stroke-dasharray="5 4"' if dashed else ""
        style = f"fill:none;stroke:var(--d-{color})"
        self._parts.append(f'<path d="{path}" style="{style}" stroke-width="1.6"{dash}/>')
        (x0, y0), (x1, y1) = points[-2:]
        length = ((x1 - x0) ** 2 + (y1 - y0) ** 2) ** 0.5
        dx, dy = (x1 - x0) / length, (y1 - y0) / length
        back = (x1 - 8 * dx, y1 - 8 * dy)
        corners = [(x1, y1), (back[0] - 4 * dy, back[1] + 4 * dx), (back[0] + 4 * dy, back[1] - 4 * dx)]
        drawn = " ".join(f"{x:.1f},{y:.1f}" for x, y in corners)
        self._parts.append(f'<polygon points="{drawn}" style="fill:var(--d-{color})"/>')

    def line(self, x0: float, y0: float, x1: float, y1: float, *, color: str = "line") -> None:
        """A straight line."""
        self._parts.append(
            f'<path d="M{x0:g} {y0:g} L{x1:g} {y1:g}" style="fill:none;stroke:var(--d-{color})" stroke-width="1.3"/>'
        )

    def grid(
        self, x: float, y: float, rows: int, columns: int, side: float, *, color: str,
        level: Callable[[int, int], float],
    ) -> None:  # fmt: skip
        """Squares, each as full of the color as `level(row, column)`, 0 to 1, says."""
        for row in range(rows):
            for column in range(columns):
                self._parts.append(
                    f'<rect x="{x + column * side:g}" y="{y + row * side:g}" width="{side:g}" height="{side:g}" '
                    f'style="fill:var(--d-{color});stroke:var(--d-line);'
                    f'fill-opacity:{level(row, column):.3g}" stroke-width="0.8"/>'
                )

    def svg(self) -> str:
        """The drawing as a file."""
        light, dark = (";".join(f"--d-{name}:{value}" for name, value in c.items()) for c in (LIGHT, DARK))
        style = (
            f":root{{{light};background:var(--d-paper)}}"
            f"@media(prefers-color-scheme:dark){{:root{{{dark}}}}}text{{font-family:system-ui,sans-serif}}"
        )
        head = f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {self.height}" width="{WIDTH}">'
        return "\n".join(
            [
                head,
                f"<title>{html.escape(self.title)}</title><style>{style}</style>",
                *self._parts,
                "</svg>\n",
            ]
        )
