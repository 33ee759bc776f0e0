"""What the site shows that no file of docs/ holds: each verb's options, from its own help; the changelog and the
contributor's page, which lie beside docs/; and diagrams, drawn into the page so that they follow its colors."""

from __future__ import annotations

import contextlib
import html
import importlib
import io
import os
import re
from pathlib import Path
from typing import Any
from unittest import mock

from mkdocs.structure.files import File, Files

from avcil.cli.main import COMMANDS
from avcil.cli.parse import parse
from avcil.methods.registry import method_names

ROOT = Path(__file__).parents[2]
BESIDE = {"changes.md": "CHANGELOG.md", "contributing.md": "CONTRIBUTING.md", "security.md": "SECURITY.md"}
WIDE = "1000"
"""Columns of the terminal that help is printed for: an option's words then stand in one line."""


def on_files(files: Files, config: Any) -> Files:
    """Add the pages that are made."""
    pages = {page: (ROOT / source).read_text(encoding="utf-8") for page, source in BESIDE.items()}
    for page, text in pages.items():
        text = text.replace("](docs/", "](")
        for target, source in BESIDE.items():
            text = text.replace(f"]({source})", f"]({target})")
        files.append(File.generated(config, page, content=text))
    files.append(File.generated(config, "reference/commands.md", content=commands_page()))
    return files


def on_page_markdown(markdown: str, **_: Any) -> str:
    """Put every method in the place that is kept for them, so that a new one needs no line here."""
    return markdown.replace("<!-- every method -->", "\n".join(map(method_entry, method_names())))


def method_entry(name: str) -> str:
    """A method's heading, and its file for mkdocstrings."""
    module = f"avcil.methods.{name.replace('-', '_')}"
    shown = "{show_root_heading: false, show_root_toc_entry: false, heading_level: 4}"
    return f"### {name}\n\n::: {module}\n    options: {shown}\n"


def on_page_content(content: str, **_: Any) -> str:
    """Put diagrams into the page, where its style sheet reaches them."""
    return re.sub(r'<img alt="([^"]*)" src="[^"]*diagrams/([\w-]+\.svg)" ?/?>', _drawn, content)


def _drawn(found: re.Match[str]) -> str:
    words, name = found.groups()
    drawing = (ROOT / "docs" / "diagrams" / name).read_text(encoding="utf-8")
    drawing = re.sub(r"<style>.*?</style>", "", drawing, flags=re.DOTALL)
    return f'<span class="diagram" role="img" aria-label="{words}">{drawing}</span>'


def commands_page() -> str:
    """All commands with their options."""
    parts = [
        "# Commands",
        "`avcil COMMAND --help` prints the text of a command in a terminal. These options work with every command:",
        "- `--config FILE` reads options from a TOML file. Options on the command line override them.\n"
        "- `--debug` shows the traceback of an error.",
        "`avcil --version` prints the version.",
        "| exit code | meaning |\n|---|---|\n| 0 | success |\n| 1 | failure |\n| 2 | invalid input |\n"
        "| 130, 143 | interrupted by Ctrl-C, by SIGTERM |",
        "| command | purpose |\n|---|---|\n"
        + "\n".join(
            f"| [`{command}`](#{command}) | {_prose(summary)} |" for command, summary in COMMANDS.items()
        ),
    ]
    for command, summary in COMMANDS.items():
        parts += [f"## {command}", _sentence(summary), *_described(command, ())]
    return "\n\n".join(parts) + "\n"


def _sentence(words: str) -> str:
    return _prose(words[0].upper() + words[1:].replace(" -> ", " → ")) + "."


def _prose(words: str) -> str:
    """Words of a help as Markdown that says just these; code in backticks stays code."""
    return re.sub(r"([\[\]*])", r"\\\1", html.escape(words, quote=False))


def _described(verb: str, subcommand: tuple[str, ...]) -> list[str]:
    """Usage, what it does, options; then the same of its subcommands."""
    usage, about, boxes = read_help(help_text(verb, subcommand))
    parts = [f"```text\n{usage}\n```", _prose(about)]
    for term, words in (item for name, items in boxes if name != "subcommands" for item in items):
        if term != "-h, --help":
            parts.append(f"`` {term} ``\n:   {_prose(words)}")
    for name in (
        term.removeprefix("• ") for box, items in boxes if box == "subcommands" for term, _ in items
    ):
        parts += [f"### {verb} {name}", *_described(verb, (name,))]
    return parts


def help_text(verb: str, subcommand: tuple[str, ...] = ()) -> str:
    """What `avcil VERB [SUBCOMMAND] --help` prints in a wide terminal."""
    module = importlib.import_module(f"avcil.cli.{verb.replace('-', '_')}")
    said = io.TextIOWrapper(io.BytesIO(), encoding="utf-8")
    plain = mock.patch.dict(os.environ, {"COLUMNS": WIDE, "NO_COLOR": "1", "TERM": "dumb"})
    with plain, contextlib.redirect_stdout(said), contextlib.suppress(SystemExit):
        parse(verb, module.Args, [*subcommand, "--help"])
    said.seek(0)
    return said.read()


def read_help(text: str) -> tuple[str, str, list[tuple[str, list[tuple[str, str]]]]]:
    """Usage, description, and each box's name and items: (option, what it says).

    An item starts at the box's edge; its words follow behind two blanks, or in lines that are indented.
    """
    head, *rest = re.split(r"^╭─ (.*?) ─*╮$", text, flags=re.MULTILINE)
    usage, _, about = head.strip().partition("\n\n")
    boxes = []
    for name, body in zip(rest[::2], rest[1::2], strict=True):
        items: list[tuple[str, str]] = []
        for line in re.findall(r"^│ (.*?) *│$", body, flags=re.MULTILINE):
            bare = re.sub(r"^ +(?=• )", "", line)
            if set(line) <= {"─"} or line == "(required)":
                continue
            if bare.startswith(" "):
                term, words = items.pop()
                items.append((term, f"{words} {line.strip()}".strip()))
            elif name == "action options" and not bare.startswith("-"):
                continue  # the subcommand's description once more
            else:
                term, _, words = bare.partition("  ")
                items.append((term, words.strip()))
        boxes.append((name, items))
    return usage.removeprefix("usage: "), " ".join(about.split()), boxes
