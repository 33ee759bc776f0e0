"""The HTTP API."""

from __future__ import annotations

import io
import zipfile
from pathlib import Path

import httpx
import numpy as np

from avcil.errors import AvcilError
from avcil.inference import Recognizer
from avcil.media import write_video

FORM = b'--x\r\nContent-Disposition: form-data; name="file"; filename="a.mp4"\r\n\r\n'
"""The beginning of a form of unknown length."""


def clips_of(trained: Path) -> list[Path]:
    return sorted((trained / "clips").glob("test-*.mp4"))


def send(url: str, path: Path, **more) -> httpx.Response:
    return httpx.post(
        f"{url}/api/predict", files={"file": (path.name, path.read_bytes())}, timeout=60, **more
    )


def teach(url: str, label: str, clips: list[Path]) -> httpx.Response:
    files = [("files", (clip.name, clip.read_bytes())) for clip in clips]
    return httpx.post(f"{url}/api/teach", data={"label": label}, files=files, timeout=60)


def labels(url: str) -> list[str]:
    return [known["label"] for known in httpx.get(f"{url}/api/classes").json()]


def test_predict(shared_server, trained, run):
    """The response equals the recognizer's prediction; a file name with folders is only a name."""
    expected = Recognizer.load(run).predict_clip(clips_of(trained)[0])
    got = send(shared_server.url, clips_of(trained)[0]).json()
    assert got["label"] == expected.label
    assert {p["label"]: p["probability"] for p in got["predictions"]} == expected.probabilities
    tricky = {"file": ("../../etc/passwd", clips_of(trained)[0].read_bytes())}
    response = httpx.post(f"{shared_server.url}/api/predict", files=tricky, timeout=60)
    assert (response.status_code, response.json()["filename"]) == (200, "passwd")


def test_errors(shared_server, trained, tmp_path):
    """Each error has its status and the common form, without paths of the machine."""
    long = tmp_path / "long.mp4"
    write_video(long, list(np.zeros((6, 32, 32, 3), np.uint8)), 1.0)
    clip = clips_of(trained)[0]
    url = f"{shared_server.url}/api/predict"
    answers = {
        415: [httpx.post(url, files={"file": ("a.mp4", b"no clip at all")})],
        422: [httpx.post(url), send(shared_server.url, long), teach(shared_server.url, " ", [clip])],
        413: [
            httpx.post(url, files={"file": ("a.mp4", bytes(600_000))}),
            httpx.post(
                url,
                content=iter([FORM, *[bytes(50_000)] * 12]),
                headers={"content-type": "multipart/form-data; boundary=x"},
            ),
        ],
        404: [httpx.get(f"{shared_server.url}/api/nothing"), httpx.get(f"{shared_server.url}/api/teach")],
        409: [httpx.post(f"{shared_server.url}/api/undo")],
        403: [
            send(shared_server.url, clip, headers={"origin": "https://elsewhere.example"}),
            send(shared_server.url, clip, headers={"host": "elsewhere.example"}),
        ],
    }
    for status, result in answers.items():
        for response in result:
            assert response.status_code == status, response.text
            assert response.json()["error"]["message"]
            assert "/tmp" not in response.text


def test_requests_of_a_proxy(run, serve_run, trained):
    """Host names given with options are accepted, also as origin; other names are rejected."""
    clip = clips_of(trained)[0]
    with serve_run(run, app={"names": ("clips.example.org",)}) as served:
        handed_on = {"host": "clips.example.org", "origin": "https://clips.example.org"}
        assert send(served.url, clip, headers=handed_on).status_code == 200
        assert send(served.url, clip).status_code == 200
        for headers in (
            {"host": "elsewhere.example"},
            {"host": "clips.example.org", "origin": "https://elsewhere.example"},
        ):
            refused = send(served.url, clip, headers=headers)
            assert refused.status_code == 403
            assert "/tmp" not in refused.text
        assert (
            "only be reached as clips.example.org"
            in httpx.get(served.url, headers={"host": "other.example"}).text
        )


def test_schema(shared_server):
    """The schema has all routes, and models of all responses except the zip file."""
    result = httpx.get(f"{shared_server.url}/api/openapi.json").json()
    expected = ("predict", "classes", "teach", "rename", "forget", "merge", "undo", "model", "health")
    assert set(result["paths"]) == {f"/api/{name}" for name in expected}
    for path, methods in result["paths"].items():
        for method in methods.values():
            for status, response in method["responses"].items():
                assert path == "/api/model" or response["content"]["application/json"]["schema"], (
                    path,
                    status,
                )
    assert {"old", "new"} == set(result["components"]["schemas"]["Accuracies"]["properties"])


def test_learn_restart_and_undo(run, serve_run, new_clips):
    """A class is learned, exists after a restart, and can be undone then; the run does not change."""
    before = {path: path.read_bytes() for path in run.rglob("*") if path.is_file()}
    clips = new_clips(0)
    with serve_run(run) as served:
        old = labels(served.url)
        assert teach(served.url, "<b>new</b>", clips).status_code == 202
        served.service.job.ended.wait(60)
        report = httpx.get(f"{served.url}/api/teach").json()
        assert report["state"] == "done", report
        result = report["result"]
        assert (result["learned"], result["held_out"], result["new_class"]) == (6, 2, True)
        assert result["accuracy_before"]["new"] == 0
        assert result["accuracy_after"]["new"] == 1
        assert result["accuracy_after"]["old"] is not None
        assert send(served.url, clips[3]).json()["label"] == "<b>new</b>"
        archive = zipfile.ZipFile(io.BytesIO(httpx.get(f"{served.url}/api/model").content))
        archive.extractall(run.parent / "unzipped")
    assert "<b>new</b>" in Recognizer.load(run.parent / "unzipped" / "model").classes_
    with serve_run(run) as served:
        assert labels(served.url) == [*old, "<b>new</b>"]
        assert httpx.post(f"{served.url}/api/undo").json()["label"] == "<b>new</b>"
        assert labels(served.url) == old
    with serve_run(run) as served:
        assert labels(served.url) == old
    assert {path: path.read_bytes() for path in run.rglob("*") if path.is_file()} == before


def test_one_job_at_a_time(served, new_clips, monkeypatch):
    """The second job is an error; predictions continue, and the first job is finished."""
    import threading

    go_on = threading.Event()
    learn = served.service.recognizer.learn
    monkeypatch.setattr(
        served.service.recognizer, "learn", lambda *a, **k: (go_on.wait(60), learn(*a, **k))[1]
    )
    clips = new_clips(1)
    assert teach(served.url, "first", clips).status_code == 202
    assert teach(served.url, "second", clips).status_code == 409
    assert httpx.post(f"{served.url}/api/undo").status_code == 409
    assert send(served.url, clips[0]).status_code == 200
    go_on.set()
    served.service.job.ended.wait(60)
    assert "first" in labels(served.url)
    assert "second" not in labels(served.url)


def test_full_disk_changes_nothing(served, new_clips, monkeypatch):
    """The model is unchanged in memory and on the disk."""

    def full(folder):
        raise AvcilError("no space left on the disk")

    old = labels(served.url)
    monkeypatch.setattr(served.service.recognizer, "save", full)
    assert teach(served.url, "new", new_clips(0)).status_code == 202
    served.service.job.ended.wait(60)
    assert httpx.get(f"{served.url}/api/teach").json()["state"] == "failed"
    assert labels(served.url) == old
    assert served.service.state_directory.updates == []


def test_skipped_clips_are_listed(served, new_clips, tmp_path):
    """A file that is not a clip is listed with the reason; the others are learned."""
    junk = tmp_path / "junk.mp4"
    junk.write_bytes(b"junk")
    teach(served.url, "new", [*new_clips(0)[:3], junk])
    served.service.job.ended.wait(60)
    report = httpx.get(f"{served.url}/api/teach").json()
    assert [left["name"] for left in report["left_out"]] == ["junk.mp4"]
    assert (report["result"]["learned"], report["result"]["held_out"]) == (3, 0)


def test_clips_without_audio_are_learned(served, new_clips, tmp_path):
    """blade learns them together with complete clips, and a note has their number."""
    silent = []
    for take in range(2):
        silent.append(tmp_path / f"silent-{take}.mp4")
        write_video(
            silent[-1], [np.full((48, 64, 3), 90 + take + frame, np.uint8) for frame in range(8)], 20.0
        )
    teach(served.url, "new", [*new_clips(0)[:1], *silent])
    served.service.job.ended.wait(60)
    report = httpx.get(f"{served.url}/api/teach").json()
    assert report["left_out"] == []
    assert report["result"]["learned"] == 3
    assert "learned from clips that lack a modality: 2 without audio" in report["result"]["notes"]
    assert send(served.url, silent[0]).json()["modality"] == "visual"


def test_read_only_server(run, serve_run, new_clips):
    """The model of a read-only server cannot be changed."""
    with serve_run(run, read_only=True) as served:
        assert teach(served.url, "new", new_clips(0)[:1]).status_code == 403
        assert httpx.post(f"{served.url}/api/undo").status_code == 403


def test_page_serves_no_other_files(shared_server):
    """Neither Gradio's file route nor its events read other files."""
    for path in ("/etc/passwd", str(shared_server.service.model / "config.json"), "../pyproject.toml"):
        assert httpx.get(f"{shared_server.url}/gradio_api/file={path}").status_code in (403, 404)
    config = httpx.get(f"{shared_server.url}/config").json()
    for dependency in config["dependencies"]:
        data = [{"path": "/etc/passwd", "meta": {"_type": "gradio.FileData"}}]
        body = {"fn_index": dependency["id"], "data": data, "session_hash": "x"}
        response = httpx.post(f"{shared_server.url}/gradio_api/run/predict", json=body, timeout=60)
        assert "root:" not in response.text
    assert config["dependencies"]
