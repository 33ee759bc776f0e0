"""Learning jobs are resumed after kills, full disks leave no files, and stopping finishes accepted jobs."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx
import pytest

from avcil.serve.incoming import MAX_ATTEMPTS, Incoming, Upload
from avcil.serve.render_learning import learning_html
from avcil.serve.service import Service
from avcil.serve.temporary import PREFIX


def labels(url: str) -> list[str]:
    return [known["label"] for known in httpx.get(f"{url}/api/classes").json()]


def teach(url: str, label: str, clips: list[Path]) -> httpx.Response:
    files = [("files", (clip.name, clip.read_bytes())) for clip in clips]
    return httpx.post(f"{url}/api/teach", data={"label": label}, files=files, timeout=60)


def accept(work: Path, clips: list[Path], number: int = 1) -> Path:
    """The state of a server that was killed after it accepted a job."""
    Incoming(work / "incoming").accept(number, "owl", uploads(clips))
    return work / "incoming" / str(number)


@pytest.fixture
def work(run) -> Path:
    """The default state directory of the run."""
    return run.with_name("run.taught")


def test_accepted_job_is_resumed(run, serve_run, work, new_clips):
    """After a kill, the next server runs it with the same number; incomplete jobs are removed."""
    accept(work, new_clips(0), number=3)
    (work / "incoming" / "4").mkdir()
    (work / "incoming" / "4" / "0000").write_bytes(b"the first clip of a teaching that was not accepted")
    with serve_run(run) as served:
        assert served.service.messages == [
            "learning job resumed: 'owl' (8 clips), accepted before the last stop"
        ]
        served.service.wait_for_learning()
        told = httpx.get(f"{served.url}/api/teach").json()
        assert (told["number"], told["state"], told["label"]) == (3, "done", "owl")
        assert "owl" in labels(served.url)
        assert list((work / "incoming").iterdir()) == []
    with serve_run(run) as served:  # and is reported as done after another restart
        assert httpx.get(f"{served.url}/api/teach").json()["state"] == "done"
        assert teach(served.url, "other", new_clips(1)[:1]).json()["number"] == 4
        served.service.wait_for_learning()


@contextmanager
def service_of(run: Path) -> Iterator[Service]:
    """The service without its HTTP server."""
    service = Service(run)
    try:
        yield service
    finally:
        service.close()


def uploads(clips: list[Path]) -> list[Upload]:
    return [Upload(clip, clip.name) for clip in clips]


@pytest.mark.parametrize("how", ["clip missing", "clip cut off", "too many attempts"])
def test_lost_job_is_reported(run, work, new_clips, how):
    """In the terminal, the API and the page, also after another restart; its files are removed."""
    folder = accept(work, new_clips(0))
    if how == "clip missing":
        (folder / "0003").unlink()
    elif how == "clip cut off":
        (folder / "0003").write_bytes(b"half")
    else:
        record = json.loads((folder / "teaching.json").read_text())
        (folder / "teaching.json").write_text(json.dumps(record | {"attempts": MAX_ATTEMPTS}))
    for start in range(2):
        with service_of(run) as service:
            assert len(service.messages) == 1 - start
            assert all(
                message.startswith("learning job lost: 'owl' (8 clips)") for message in service.messages
            )
            told = service.job.response().model_dump()
            assert (told["number"], told["state"], told["clips"]) == (1, "lost", 8)
            assert "it was accepted, but" in told["error"]
            assert "it was accepted, but" in learning_html(service.job, [])
            assert list((work / "incoming").iterdir()) == []
            assert "owl" not in service.recognizer.classes_


def test_finished_job_is_not_repeated(run, work, new_clips):
    """The server was killed between writing the result and removing the clips."""
    with service_of(run) as service:
        service.start_learning("owl", uploads(new_clips(0)))
    accept(work, new_clips(0))
    with service_of(run) as service:
        assert service.messages == []
        assert len(service.state_directory.updates) == 1
        assert list((work / "incoming").iterdir()) == []


def test_interrupted_undo_is_finished(run, work, new_clips):
    """After a kill between renaming the folder and the end of the undo, the next start finishes it."""
    with service_of(run) as service:
        old = service.recognizer.classes_
        service.start_learning("owl", uploads(new_clips(0)))
    os.rename(work / "updates" / "000001", work / "updates" / "000001.undone")
    for _ in range(2):
        with service_of(run) as service:
            assert service.recognizer.classes_ == old
            assert list((work / "updates").iterdir()) == []


@pytest.fixture
def small_disk(tmp_path) -> Iterator[Path]:
    """A file system of 16 MB."""
    disk = tmp_path / "disk"
    disk.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", "size=16m", "tmpfs", str(disk)]
    if shutil.which("mount") is None or subprocess.run(command, capture_output=True, check=False).returncode:
        pytest.skip("needs the right to mount a file system")
    try:
        yield disk
    finally:
        subprocess.run(["umount", str(disk)], check=True)


def fill(disk: Path, leave: int) -> Path:
    """Fill a disk except for `leave` bytes."""
    filler = disk / "filler"
    with open(filler, "wb") as file:
        left = shutil.disk_usage(disk).free - leave
        file.write(bytes(max(0, left)))
    return filler


def test_full_disk(run, serve_run, small_disk, new_clips):
    """The error is documented and has no path, no files remain, and undo succeeds without free space."""
    clips = new_clips(0)
    work = small_disk / "work"
    with serve_run(run, state_dir=work) as served:
        old = labels(served.url)
        assert teach(served.url, "owl", clips).status_code == 202
        served.service.wait_for_learning()
        assert labels(served.url) == [*old, "owl"], served.service.job.error
        filler = fill(small_disk, 0)
        response = teach(served.url, "other", clips)
        assert (response.status_code, response.json()["error"]["code"]) == (507, "no_space")
        assert str(small_disk) not in response.text
        assert list((work / "incoming").iterdir()) == []
        response = httpx.post(f"{served.url}/api/undo")
        assert (response.status_code, labels(served.url)) == (200, old), response.text
        assert list((work / "updates").iterdir()) == []
        assert json.loads((work / "state.json").read_text())["updates"] == []
        filler.unlink()
        fill(
            small_disk, sum(clip.stat().st_size for clip in clips) + 64 * 1024
        )  # clips fit, the model does not
        assert teach(served.url, "other", clips).status_code == 202
        served.service.wait_for_learning()
        told = httpx.get(f"{served.url}/api/teach").json()
        assert told["state"] == "failed"
        assert "disk is full" in told["error"]
        assert str(small_disk) not in told["error"]
        assert list((work / "incoming").iterdir()) == list((work / "updates").iterdir()) == []
        assert labels(served.url) == old


@pytest.mark.slow
def test_sigterm_finishes_accepted_jobs(run, work, new_clips, tmp_path):
    """Exit code 0, the class is saved, new jobs get 503, and temporary folders are removed, also those of a
    killed server at the next start."""
    killed = tmp_path / "tmp" / f"{PREFIX}killed"
    killed.mkdir(parents=True)
    (killed / ".lock").write_text("")
    arguments = [sys.executable, "-m", "avcil", "serve", str(run), "--port", "0"]
    environment = os.environ | {
        "TMPDIR": str(killed.parent),
        "PYTHONPATH": os.pathsep.join(filter(None, sys.path)),
    }
    server = subprocess.Popen(
        arguments, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    try:
        assert server.stdout is not None
        url = re.search(r"http://127\.0\.0\.1:\d+", server.stdout.readline())[0]
        assert not killed.exists()
        assert teach(url, "owl", new_clips(0)).status_code == 202
        server.send_signal(signal.SIGTERM)
        refused = teach(url, "other", new_clips(1)[:1])
        assert (refused.status_code, refused.json()["error"]["code"]) == (503, "shutting_down")
        assert refused.headers["retry-after"] == "10"
        _, message = server.communicate(timeout=120)
    finally:
        server.kill()
        server.wait()
    assert server.returncode == 0, message
    assert "Traceback" not in message
    assert [update["label"] for update in json.loads((work / "state.json").read_text())["updates"]] == ["owl"]
    assert list((work / "incoming").iterdir()) == []
    assert [path for path in killed.parent.rglob("*") if path.is_file()] == []
