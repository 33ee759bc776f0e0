"""The documentation site builds without warnings, has no broken links and sends no requests to other servers."""

from __future__ import annotations

import html.parser
import os
import re
import subprocess
import sys
from pathlib import Path
from urllib.parse import unquote, urlsplit

import pytest

ROOT = Path(__file__).parents[2]
LOADED = {
    ("script", "src"),
    ("img", "src"),
    ("link", "href"),
    ("iframe", "src"),
    ("source", "src"),
    ("video", "src"),
}


class Page(html.parser.HTMLParser):
    """Anchors and links of a page, and the resources that a browser loads with it."""

    def __init__(self, file: Path) -> None:
        super().__init__()
        self.anchors: set[str] = set()
        self.links: list[str] = []
        self.loaded: list[str] = []
        self.feed(file.read_text(encoding="utf-8"))

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        for name, value in attrs:
            if name == "id" or (tag == "a" and name == "name"):
                self.anchors.add(value or "")
            elif (tag, name) in LOADED:
                self.loaded.append(value or "")
            elif name == "href":
                self.links.append(value or "")


builds_site = pytest.mark.slow


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The site, built in the same way as with `make docs`."""
    folder = tmp_path_factory.mktemp("site") / "html"
    arguments = [sys.executable, "-m", "mkdocs", "build", "--strict", "--quiet", "--site-dir", str(folder)]
    quiet = os.environ | {"NO_MKDOCS_2_WARNING": "1"}
    done = subprocess.run(arguments, cwd=ROOT, env=quiet, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stdout + done.stderr
    return folder


@pytest.fixture(scope="module")
def pages(site: Path) -> dict[Path, Page]:
    """Every page except the one for error 404, whose links are relative to the server's root."""
    return {file: Page(file) for file in site.rglob("*.html") if file.name != "404.html"}


@pytest.mark.slow
@builds_site
def test_links_within_the_site_exist(pages):
    """File and anchor of every link in the HTML exist."""
    broken = []
    for file, page in pages.items():
        for link in [*page.links, *page.loaded]:
            parts = urlsplit(link)
            if parts.scheme:
                continue
            target = (file.parent / unquote(parts.path)).resolve() if parts.path else file
            known = pages[target].anchors if target in pages else set()
            if not target.exists() or (parts.fragment and unquote(parts.fragment) not in known):
                broken.append(f"{file.name}: {link}")
    assert broken == []


@builds_site
def test_no_external_resources(site, pages):
    """The site works without a network and sends no requests to other servers."""
    abroad = [link for page in pages.values() for link in page.loaded if urlsplit(link).netloc]
    styles = "".join(file.read_text(encoding="utf-8") for file in site.rglob("*.css"))
    assert abroad == []
    assert re.findall(r"url\(\s*['\"]?(?:https?:)?//[^)]*", styles) == []


@builds_site
def test_every_option_is_documented(site):
    """The page of commands has the help text of every option of `avcil COMMAND --help`."""
    sys.path.insert(0, str(ROOT / "docs" / "theme"))
    try:
        import hooks
    finally:
        sys.path.pop(0)
    page = hooks.commands_page()
    for verb in hooks.COMMANDS:
        section = page.split(f"\n## {verb}\n")[1].split("\n## ")[0]
        flags = set(re.findall(r"^│ (--[a-z-]+)", hooks.help_text(verb), flags=re.MULTILINE))
        assert {flag for flag in flags if f"`` {flag}" not in section} == set(), verb
    assert "│" not in page
    assert "`` --classes-per-step INT ``\n:   Classes that arrive at each step" in page


def public_names() -> set[str]:
    """Public names: those of the packages, the metrics, every method and its options."""
    from avcil import closed_form as statistics
    from avcil import features, losses, media
    from avcil import inference as serving
    from avcil.methods.registry import load_method, method_names
    from avcil.runs import metrics

    offered = [
        getattr(package, n)
        for package in (features, losses, media, serving, statistics)
        for n in package.__all__
    ]
    offered += [
        value
        for name, value in vars(metrics).items()
        if callable(value) and not name.startswith("_") and value.__module__ == metrics.__name__
    ]
    for name in method_names():
        offered += [load_method(name), load_method(name).Options]
    return {f"{value.__module__}.{value.__qualname__}" for value in offered if callable(value)}


@builds_site
def test_public_names_are_in_the_reference(pages):
    """Each name is in the API reference."""
    anchors = set().union(*(page.anchors for file, page in pages.items() if file.parent.name == "api"))
    assert public_names() - anchors == set()


@pytest.mark.parametrize("name", ["README.md", "CONTRIBUTING.md"])
def test_links_of_repository_pages(name):
    """README and similar files are not part of the site, so its builder does not check them."""
    links = re.findall(r"\]\(([^)#]+)[^)]*\)", (ROOT / name).read_text(encoding="utf-8"))
    local = [link for link in links if "://" not in link]
    assert local
    assert [link for link in local if not (ROOT / link).exists()] == []
