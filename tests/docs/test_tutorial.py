"""The commands of the tutorial, in order and shortened: fewer clips, two epochs, any free port."""

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
def finished(theme, tmp_path_factory) -> tuple[Path, list[str]]:
    """The folder after all blocks, and the output of each block."""
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


def test_tutorial_creates_its_files(finished):
    """Clip list, both runs, report, timeline, the updated model, and the explanation."""
    folder = finished[0] / "tutorial"
    for name in ("clips.csv", "blade/results.json", "av-cil/results.json", "report.html", "long.mp4"):
        assert (folder / name).stat().st_size > 0, name
    assert (folder / "events.vtt").read_text().startswith("WEBVTT")
    assert len(json.loads((folder / "blade" / "model" / "labels.json").read_text())) == 12
    assert len(json.loads((folder / "more" / "labels.json").read_text())) == 16
    assert {path.suffix for path in (folder / "explained").iterdir()} == {".mp4", ".json"}


def test_shown_outputs_match_real_outputs(finished):
    """Lines shown in a block equal real lines, except for numbers, bars and class names."""
    page = PAGE.read_text(encoding="utf-8")
    marked = re.findall(r"<!-- run -->\n```(?:sh|python)\n.*?```\n(?:```text\n(.*?)```\n)?", page, re.DOTALL)
    assert len(marked) == len(finished[1])
    for shown, printed in zip(marked, finished[1], strict=True):
        forms = {form(line) for line in printed.splitlines()}
        strange = {line for line in shown.splitlines() if form(line) not in forms and not is_row(line)}
        assert strange == set(), f"{strange} are not among\n{printed}"


def form(line: str) -> str:
    """A line without its numbers, units of time, class names and layout."""
    line = re.sub(r"\b(ball|cube|ring|star)-\w+", "CLASS", line)
    line = re.sub(r"[-+−]?\d[\d.,:]*( (s|min|h)\b)?", "N", line)
    return re.sub(r"[█▉▊▋▌▍▎▏─\s]+", " ", line).strip()


def is_row(line: str) -> bool:
    """A prediction or its note, a time span, a strip or its key: they depend on the trained model and may differ."""
    return (
        re.match(r"\s*((ball|cube|ring|star)-|\d\d:\d\d|\||[A-Z] \w+-|possibly an|note: )", line) is not None
    )


def test_serve_command(finished):
    """The last command serves the page and the API, and stops on a signal."""
    folder = finished[0]
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
