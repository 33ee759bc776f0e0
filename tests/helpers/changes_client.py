"""Requests that change the model of a test server."""

from __future__ import annotations

import io
import zipfile
from pathlib import Path

import httpx

from avcil.inference import Recognizer


def post(url: str, name: str, files: list[Path] = (), **fields: object) -> httpx.Response:
    sent = [("files", (clip.name, clip.read_bytes())) for clip in files]
    return httpx.post(f"{url}/api/{name}", data=fields, files=sent or None, timeout=60)


def merge(url: str, content: bytes, **fields: object) -> httpx.Response:
    return httpx.post(f"{url}/api/merge", data=fields, files={"file": ("other.zip", content)}, timeout=60)


def labels(url: str) -> list[str]:
    return [known["label"] for known in httpx.get(f"{url}/api/classes").json()]


def teach(served, label: str, clips: list[Path]) -> None:
    assert post(served.url, "teach", clips, label=label).status_code == 202
    served.service.wait_for_learning()
    assert served.service.job.error is None


def predicted(url: str, clip: Path) -> str:
    response = httpx.post(f"{url}/api/predict", files={"file": (clip.name, clip.read_bytes())}, timeout=60)
    return response.json()["label"]


def zipped(recognizer: Recognizer, folder: Path) -> bytes:
    """Its zip file from GET /api/model."""
    recognizer.save(folder / "saved")
    return packed({f"model/{path.name}": path.read_bytes() for path in (folder / "saved").iterdir()})


def packed(files: dict[str | zipfile.ZipInfo, bytes], method: int = zipfile.ZIP_STORED) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", method) as archive:
        for name, content in files.items():
            archive.writestr(name, content)
    return buffer.getvalue()
