"""The commands of docs/serving.md, run against a server, and the responses that the page describes."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from pathlib import Path

import httpx
import numpy as np
import pytest

from avcil.media import write_video
from avcil.serve import api_errors

PAGE = Path(__file__).parents[2] / "docs" / "serving.md"
pytestmark = pytest.mark.skipif(shutil.which("curl") is None, reason="needs curl")


def commands() -> list[str]:
    """Every command that begins with curl, with its continuation lines, in order."""
    text = PAGE.read_text(encoding="utf-8").replace("\\\n", " ")
    return re.findall(r"^curl .*$", text, flags=re.MULTILINE)


@pytest.fixture
def folder(trained, new_clips, tmp_path) -> Path:
    """The files that the commands name."""
    shutil.copy(next((trained / "clips").glob("test-*.mp4")), tmp_path / "clip.mp4")
    frames = [np.full((48, 64, 3), 20 * second, np.uint8) for second in range(8) for _ in range(4)]
    waveform = np.sin(np.arange(8 * 16000) / 5).astype(np.float32) / 3
    write_video(tmp_path / "long.mp4", frames, 4.0, waveform=waveform, sample_rate=16000)
    for number, clip in enumerate(new_clips(0)[:4], start=1):
        shutil.copy(clip, tmp_path / f"owl-{number}.mp4")
    for number, clip in enumerate(new_clips(1)[:2], start=1):
        shutil.copy(clip, tmp_path / f"street-{number}.mp4")
    return tmp_path


def test_every_command_works(run, serve_run, folder):
    """Each command succeeds, and responses equal those on the page."""
    answers = {}
    with serve_run(run, limits={"seconds": 20.0, "upload_bytes": 4_000_000}) as served:
        for command in commands():
            here = command.replace("http://127.0.0.1:7860", served.url).replace(
                "curl ", "curl -sS --fail-with-body "
            )
            done = subprocess.run(["sh", "-c", here], cwd=folder, capture_output=True, text=True, timeout=60)
            assert done.returncode == 0, (command, done.stdout, done.stderr)
            answers[command] = json.loads(done.stdout) if done.stdout else None
            if "/api/teach" in command and "-F" in command:
                assert served.service.job.ended.wait(60)
    asked = [response for command, response in answers.items() if "/api/predict" in command]
    (shown,) = re.findall(r"```json\n(.*?)```", PAGE.read_text(encoding="utf-8"), flags=re.DOTALL)
    assert len(asked) == 2
    assert all(response.keys() == json.loads(shown).keys() for response in asked)
    assert asked[1]["events"]
    assert "owl" in [
        response["label"]
        for response in answers.values()
        if isinstance(response, dict) and "label" in response
    ]
    assert (folder / "model.zip").stat().st_size > 1000


def test_every_route_and_code_is_documented(served):
    """The page has each route of the schema, and each error code."""
    text = PAGE.read_text(encoding="utf-8")
    paths = httpx.get(f"{served.url}/api/openapi.json").json()["paths"]
    assert len(commands()) >= len(paths)
    assert [path for path in paths if path not in text] == []
    assert [code for _, _, code in api_errors.STATUS if f"`{code}`" not in text] == []
