"""The tutorial's commands, in order and in a small form: fewer clips, two epochs, any free port."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import urllib.request
from pathlib import Path

import pytest

from avcil.datasets.synthetic.clips import render_demo_clips

PAGE = Path(__file__).parents[2] / "docs" / "tutorial.md"
SMALL = {"avcil demo ": "true ", "--epochs 40": "--epochs 2"}


@pytest.fixture(scope="module")
def said(theme, tmp_path_factory) -> tuple[Path, list[str]]:
    """The folder after all blocks, and what each printed."""
    tutorial = theme("tutorial")
    folder = tmp_path_factory.mktemp("tutorial")
    render_demo_clips(folder / "runs" / "demo" / "clips", train=4, val=1, test=4)
    printed = []
    for language, code in tutorial.blocks(PAGE.read_text(encoding="utf-8")):
        for whole, small in SMALL.items():
            code = code.replace(whole, small)
        try:
            printed.append(tutorial.run(language, code, folder))
        except subprocess.CalledProcessError as error:
            pytest.fail(f"{error.cmd}\n{error.stdout}\n{error.stderr}")
    return folder, printed


def test_it_leaves_what_it_says(said):
    """Clip list, both runs, report, timeline, the updated model, and the explanation."""
    folder = said[0] / "tutorial"
    for name in ("clips.csv", "blade/results.json", "av-cil/results.json", "report.html", "long.mp4"):
        assert (folder / name).stat().st_size > 0, name
    assert (folder / "events.vtt").read_text().startswith("WEBVTT")
    assert len(json.loads((folder / "blade" / "model" / "labels.json").read_text())) == 12
    assert len(json.loads((folder / "more" / "labels.json").read_text())) == 16
    assert {path.suffix for path in (folder / "explained").iterdir()} == {".mp4", ".json"}


def test_shown_outputs_have_the_form_of_real_ones(said):
    """Lines that a block is said to print have the form of lines that it prints: figures, bars, class names and their
    number may differ, words may not."""
    page = PAGE.read_text(encoding="utf-8")
    marked = re.findall(r"<!-- run -->\n```(?:sh|python)\n.*?```\n(?:```text\n(.*?)```\n)?", page, re.DOTALL)
    assert len(marked) == len(said[1])
    for shown, printed in zip(marked, said[1], strict=True):
        forms = {form(line) for line in printed.splitlines()}
        strange = {line for line in shown.splitlines() if form(line) not in forms and not is_row(line)}
        assert strange == set(), f"{strange} are not among\n{printed}"


def form(line: str) -> str:
    """A line without its figures, units of time, class names and layout."""
    line = re.sub(r"\b(ball|cube|ring|star)-\w+", "CLASS", line)
    line = re.sub(r"[-+−]?\d[\d.,:]*( (s|min|h)\b)?", "N", line)
    return re.sub(r"[█▉▊▋▌▍▎▏─\s]+", " ", line).strip()


def is_row(line: str) -> bool:
    """A prediction or its note, a span of time, a strip or its key: which of them come depends on what was learned."""
    return (
        re.match(r"\s*((ball|cube|ring|star)-|\d\d:\d\d|\||[A-Z] \w+-|possibly an|note: )", line) is not None
    )


def test_it_is_served(said):
    """The last command serves the page and the API, and stops on a signal."""
    folder = said[0]
    (command,) = re.findall(r"<!-- serve -->\n```sh\navcil (.*)\n```", PAGE.read_text(encoding="utf-8"))
    pytest.importorskip("gradio", reason="needs the extra [serve]")
    arguments = [sys.executable, "-m", "avcil", *command.split(), "--port", "0"]
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    server = subprocess.Popen(arguments, cwd=folder, env=environment, stdout=subprocess.PIPE, text=True)
    try:
        assert server.stdout is not None
        first = server.stdout.readline()
        url = re.search(r"\(16 classes\) at (http://127\.0\.0\.1:\d+)", first)
        assert url, first
        for path in ("/", "/api/health"):
            with urllib.request.urlopen(url[1] + path, timeout=60) as result:
                assert result.status == 200
    finally:
        server.send_signal(signal.SIGINT)
        server.wait(60)
        server.stdout.close()
