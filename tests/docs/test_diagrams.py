"""The diagrams equal the output of their scripts, and are readable in both color schemes and with screen readers."""

from __future__ import annotations

import re
from pathlib import Path
from xml.etree import ElementTree

DOCS = Path(__file__).parents[2] / "docs"


def test_files_equal_the_output_of_the_scripts(theme):
    """`python docs/theme/draw.py` changes no file."""
    for name, text in theme("draw").diagrams().items():
        assert (DOCS / "diagrams" / name).read_text(encoding="utf-8") == text, (
            f"run docs/theme/draw.py: {name}"
        )


def test_colors_are_those_of_the_site(theme):
    """Every color is a variable that the site defines in both schemes, with the value in the file as default."""
    drawing = theme("drawing")
    style = (DOCS / "theme" / "site.css").read_text(encoding="utf-8")
    light, dark = (dict(re.findall(r"--d-([\w-]+): (#\w+);", part)) for part in style.split('="slate"]')[:2])
    assert light == drawing.LIGHT
    assert dark == drawing.DARK
    for file in (DOCS / "diagrams").glob("*.svg"):
        root = ElementTree.parse(file).getroot()
        assert root.find("{*}title").text
        drawn = re.sub(r"<style>.*?</style>", "", file.read_text(encoding="utf-8"))
        assert set(re.findall(r"var\(--d-([\w-]+)\)", drawn)) <= set(light)
        assert not re.search(r'(fill|stroke)(=|:)"?#', drawn), "a color without a variable"
        assert float(root.get("viewBox").split()[2]) <= 420, "wider than the screen of a phone"


def test_every_diagram_is_on_a_page():
    """Every image is used on a page, with a text alternative."""
    pages = "\n".join(page.read_text(encoding="utf-8") for page in DOCS.rglob("*.md"))
    shown = re.findall(r"!\[([^\]]+)\]\((?:\.\./)?diagrams/([\w-]+\.svg)\)", pages)
    assert {name for _, name in shown} == {file.name for file in (DOCS / "diagrams").glob("*.svg")}
    assert all(len(words) > 30 for words, _ in shown)


def test_total_size_of_images():
    """All images of the site have less than 400 kB."""
    assert sum(file.stat().st_size for file in (DOCS / "pictures").iterdir()) < 400_000
