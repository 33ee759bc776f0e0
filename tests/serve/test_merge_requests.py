"""Merging the zip file of another model with the HTTP API, and zip files that are rejected."""

from __future__ import annotations

import json
import os
import stat
import zipfile
from collections.abc import Callable
from dataclasses import replace

import httpx
import pytest
from changes_client import labels, merge, packed, zipped

from avcil.inference import Recognizer


@pytest.fixture
def large_upload_server(run, serve_run):
    """A server of the run with a larger limit of uploads."""
    with serve_run(run, limits={"upload_bytes": 4_000_000}) as server:
        yield server


def test_merge_a_model(large_upload_server, other, new_clips, tmp_path):
    """The model has the classes of both and equals that of Recognizer.merge; equal names need an option."""
    url, old = large_upload_server.url, labels(large_upload_server.url)
    content = zipped(other, tmp_path)
    clash = merge(url, content)
    assert clash.status_code == 422
    assert "both models have" in clash.json()["error"]["message"]
    names = [f"{label}={label} 2" for label in old]
    result = merge(url, content, rename=names).json()
    assert result["classes"] == [*old, *(f"{label} 2" for label in old), "rook"]
    assert result["change"] == f"“other.zip” merged ({len(old) + 1} classes, {len(old) + 1} of them new)"
    assert any("they count twice" in note for note in result["notes"])
    assert result["test_clips"] > 0
    assert httpx.post(f"{url}/api/undo").json()["kind"] == "merge"
    assert labels(url) == old
    result = merge(url, content, same_classes="true").json()
    assert result["classes"] == [*old, "rook"]
    expected = Recognizer.load(large_upload_server.service.model)
    expected.merge(other, same_classes=True)
    features = expected.reader.features(new_clips(1)[3])
    assert large_upload_server.service.recognizer.predict_clip(features) == expected.predict_clip(features)
    downloaded = httpx.get(f"{url}/api/model").content
    assert (
        merge(url, downloaded, rename=[f"{label}={label} 3" for label in result["classes"]]).status_code
        == 200
    )


def link(name: str) -> zipfile.ZipInfo:
    info = zipfile.ZipInfo(name)
    info.external_attr = (stat.S_IFLNK | 0o777) << 16
    return info


HOSTILE: dict[str, tuple[Callable[[dict[str, bytes]], bytes], int, str]] = {
    "not a zip": (lambda files: b"no zip file at all", 415, "not a zip file"),
    "empty file": (lambda files: b"", 415, "not a zip file"),
    "empty zip": (lambda files: packed({}), 422, "no config.json"),
    "cut off": (lambda files: packed(files)[:-300], 422, "incomplete"),
    "only its beginning": (lambda files: packed(files)[:40], 422, "incomplete"),
    "damaged bytes": (lambda files: _flipped(packed(files)), 422, "damaged"),
    "parent folder": (lambda files: packed(files | {"../evil.txt": b"x"}), 422, "'../evil.txt'"),
    "path inside": (lambda files: packed(files | {"model/../../evil": b"x"}), 422, "not part of a model"),
    "absolute path": (lambda files: packed(files | {"/tmp/evil": b"x"}), 422, "not part of a model"),
    "backslashes": (lambda files: packed(files | {"..\\evil": b"x"}), 422, "not part of a model"),
    "name with NUL": (lambda files: _with_nul(files), 422, "not part of a model"),
    "unknown file": (lambda files: packed(files | {"model/run.py": b"x"}), 422, "not part of a model"),
    "file twice": (lambda files: packed(files | {"config.json": b"{}"}), 422, "twice"),
    "link": (lambda files: packed(files | {link("model/.lock"): b"/etc/passwd"}), 422, "link or device"),
    "bomb": (
        lambda files: packed(files | {"model/README.md": bytes(30_000_000)}, zipfile.ZIP_DEFLATED),
        422,
        "compression ratio above 100",
    ),
    "too large": (
        lambda files: packed(
            {"model/README.md": os.urandom(200_000) + bytes(9_000_000)}, zipfile.ZIP_DEFLATED
        ),
        422,
        "the limit is 8 MB",
    ),
    "long list": (
        lambda files: packed({f"model/{n:060d}": b"" for n in range(1000)}),
        422,
        "has 1000 files",
    ),
    "other compression": (
        lambda files: packed(files, zipfile.ZIP_LZMA),
        422,
        "another compression than deflate",
    ),
    "no model in it": (lambda files: packed({"model/README.md": b"x"}), 422, "no config.json"),
    "changed by hand": (
        lambda files: packed(files | {"model/labels.json": b'["x"]'}),
        422,
        "labels.json has 1",
    ),
    "no statistics": (
        lambda files: packed({k: v for k, v in files.items() if "learning" not in k}),
        422,
        "without the files for merging",
    ),
}


def _flipped(content: bytes) -> bytes:
    middle = content.index(b"model/model.safetensors") + 2000
    return content[:middle] + bytes([content[middle] ^ 1]) + content[middle + 1 :]


def _with_nul(files: dict[str, bytes]) -> bytes:
    content = packed(files | {"model/.lockXabcd": b""})
    return content.replace(b"model/.lockXabcd", b"model/.lock\0abcd")


def test_malicious_zip_files(large_upload_server, blade):
    """Each gives a clear error without a path of the machine, and changes nothing."""
    files = {f"model/{path.name}": path.read_bytes() for path in (blade / "model").iterdir()}
    old = labels(large_upload_server.url)
    for case, (make, status, message) in HOSTILE.items():
        response = merge(large_upload_server.url, make(files), same_classes="true")
        error = response.json()["error"]
        code = "not_a_zip" if status == 415 else "bad_input"
        assert (response.status_code, error["code"]) == (status, code), (case, error)
        assert message in error["message"], case
        assert "avcil-" not in response.text, case
    assert labels(large_upload_server.url) == old
    assert large_upload_server.service.state_directory.updates == []


def test_models_of_other_features_are_not_merged(large_upload_server, other, tmp_path):
    """The error names the difference."""
    state = other.snapshot()
    description = json.loads(json.dumps(state.description))
    description["audio"]["encoder"]["name"] = "other-encoder"
    response = merge(
        large_upload_server.url, zipped(Recognizer(replace(state, description=description)), tmp_path)
    )
    assert response.status_code == 422
    assert "different audio encoders" in response.json()["error"]["message"]
