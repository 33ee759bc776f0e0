"""Decoding in worker processes: limits, inherited resources, and workers that fail."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

import avcil.media.reader as reader_module
from avcil.errors import InputError
from avcil.media import MediaError, probe, read_clip, write_video
from avcil.media.container import ProgramError
from avcil.media.reader import ReaderProcess, ReadLimits
from avcil.media.windows import read_windows
from avcil.utils.frame_sampling import FrameSampling
from avcil.workers.process import WorkerDiedError, WorkerError, WorkerProcess, WorkerTimeoutError
from avcil.workers.reply_stream import TimeBudget

READ_UNDER_LIMIT = """
import resource, sys
from avcil.errors import AvcilError
from avcil.media.container import ProgramError
from avcil.media.reader import ReaderProcess, ReadLimits
reader = ReaderProcess(ReadLimits())
try:
    reader.read_clip("missing", frames=1)
except AvcilError:
    status = open(f"/proc/{reader.pid}/status").read()
reader.close()
limit = int(status.split("VmPeak:")[1].split()[0]) * 1024 + int(sys.argv[2]) * 2**20
reader = ReaderProcess(ReadLimits(megabytes=int(sys.argv[3])))
resource.setrlimit(resource.RLIMIT_AS, (limit, limit))
try:
    print(reader.read_clip(sys.argv[1], frames=2).frames.shape)
except AvcilError as error:
    print(error)
    sys.exit(error.exit_code)
finally:
    reader.close()
"""
READ_FOREVER = """
from avcil.media.container import ProgramError
from avcil.media.reader import ReaderProcess, ReadLimits
reader = ReaderProcess(ReadLimits())
reader.probe({path!r})
print(reader.pid, flush=True)
while True:
    reader.read_clip({path!r}, frames=2)
"""


@pytest.fixture(scope="module")
def clip(tmp_path_factory) -> Path:
    """1.5 s of video and audio."""
    path = tmp_path_factory.mktemp("clip") / "clip.mp4"
    rng = np.random.default_rng(0)
    frames = [np.full((32, 48, 3), 20 * t, np.uint8) for t in range(12)]
    waveform = (0.1 * rng.standard_normal(24_000)).astype(np.float32)
    write_video(path, frames, 8.0, waveform=waveform, sample_rate=16_000)
    return path


@pytest.fixture
def reader():
    """A reader process with small limits."""
    reader = ReaderProcess(ReadLimits(seconds=20, megabytes=256, grace_seconds=5))
    yield reader
    reader.close()


def test_results_equal_those_in_this_process(reader, clip):
    """Every operation of the worker returns the values and errors of its function."""
    options = {"frames": 3, "short_side": 16, "sample_rate": 8000}
    samplings = [FrameSampling(frames=3, short_side=16), FrameSampling(frames=2), FrameSampling(frames=1)]
    options["extra_samplings"] = samplings[1:]
    here, there = read_clip(clip, **options), reader.read_clip(clip, **options)
    assert [frames.shape for frames in there.extra_frames] == [(2, 32, 48, 3), (1, 32, 48, 3)]
    assert all(map(np.array_equal, here.extra_frames, there.extra_frames))
    for name in ("frames", "frame_times", "waveform"):
        assert np.array_equal(getattr(here, name), getattr(there, name))
        assert getattr(here, name).dtype == getattr(there, name).dtype
    assert (here.duration, here.sample_rate, here.problems) == (
        there.duration,
        there.sample_rate,
        there.problems,
    )
    assert reader.probe(clip) == probe(clip)
    spans = [(0.0, 1.0), (0.5, 1.5)]
    options = {"samplings": samplings, "sample_rate": 8000}
    for ours, theirs in zip(
        read_windows(clip, spans, **options), reader.read_windows(clip, spans, **options), strict=True
    ):
        assert np.array_equal(ours.frames, theirs.frames)
        assert len(ours.extra_frames) == 2
        assert all(map(np.array_equal, ours.extra_frames, theirs.extra_frames))
        assert np.array_equal(ours.waveform, theirs.waveform)
        assert (ours.start, ours.end, ours.problems) == (theirs.start, theirs.end, theirs.problems)
    with pytest.raises(MediaError, match="there is no file"):
        reader.probe(clip.with_name("missing.mp4"))
    with pytest.raises(InputError, match="nothing to read"):
        reader.read_clip(clip)


def test_unread_windows_are_discarded(reader, clip):
    """If a caller stops early, the next request does not receive the remaining replies."""
    spans = [(0.0, 1.0), (0.5, 1.5)]
    stream = reader.read_windows(clip, spans, samplings=[FrameSampling(frames=2)], sample_rate=None)
    next(stream)
    stream.close()
    assert reader.read_clip(clip, frames=2).frames.shape[0] == 2


def test_worker_inherits_only_what_it_needs(reader, clip, monkeypatch):
    """No secret environment variables, sockets or files of the parent; no large files, no core dumps."""
    monkeypatch.setenv("SERVICE_PASSWORD", "hidden")
    with socket.socket() as listening, open(clip, "rb") as file:
        os.set_inheritable(listening.fileno(), True)
        os.set_inheritable(file.fileno(), True)
        reader.probe(clip)
        process = Path("/proc") / str(reader.pid)
        assert b"hidden" not in (process / "environ").read_bytes()
        opened = [os.readlink(descriptor) for descriptor in (process / "fd").iterdir()]
        assert not [name for name in opened if "socket" in name or name == str(clip)]
        lines = (process / "limits").read_text().splitlines()[1:]
        limits = {line[:26].strip(): line[26:].split()[0] for line in lines}
        assert int(limits["Max file size"]) <= 2**20
        assert limits["Max core file size"] == "0"
        assert int(limits["Max cpu time"]) < 60
        assert int(limits["Max address space"]) < 2**34


def test_number_of_packets_is_limited(clip):
    """A file with a million tiny packets is rejected at the limit."""
    reader = ReaderProcess(ReadLimits(packets=10))
    try:
        with pytest.raises(MediaError, match="reading was stopped after 10 packets"):
            reader.read_clip(clip, frames=4)
    finally:
        reader.close()


@pytest.mark.parametrize(
    ("program", "error", "message"),
    [
        ("print('ready', flush=True); input(); raise SystemExit(3)", WorkerDiedError, "exit code 3"),
        ("print('ready\\nno json', flush=True); input()", WorkerDiedError, "malformed"),
        (
            'print(\'ready\\n{"value": 1, "arrays": {"frames": ["uint8", [9000, 9000, 9000]]}}\', flush=True); input()',
            WorkerDiedError,
            "malformed",
        ),
        (
            'print(\'ready\\n{"value": 1, "arrays": {"frames": ["object", [1]]}}\', flush=True); input()',
            WorkerDiedError,
            "malformed",
        ),
        ("print('ready', flush=True); input(); input()", WorkerTimeoutError, "too long"),
    ],
)
def test_failing_workers_are_ended(tmp_path, monkeypatch, program, error, message):
    """A crash, invalid replies, too large arrays, and no reply give an error in limited time."""
    (tmp_path / "misbehaving.py").write_text(program)
    monkeypatch.setenv("PYTHONPATH", str(tmp_path), prepend=os.pathsep)
    worker = WorkerProcess("misbehaving", reply_bytes=10**6)
    with pytest.raises(error, match=message):
        list(worker.call({}, TimeBudget(0.5)))
    assert worker.pid is None
    worker.close()


@pytest.mark.parametrize(("spare", "megabytes", "works"), [(400, 10_000, True), (40, 2048, False)])
def test_hard_limit_of_the_address_space(clip, spare, megabytes, works):
    """With `ulimit -v`, a reader uses the remaining memory; if it is too small, the error has the required size."""
    arguments = [sys.executable, "-c", READ_UNDER_LIMIT, str(clip), str(spare), str(megabytes)]
    done = subprocess.run(arguments, capture_output=True, text=True, timeout=120, check=False)
    if works:
        assert (done.returncode, done.stdout) == (0, "(2, 32, 48, 3)\n"), done.stderr
    else:
        assert done.returncode == 1, done.stderr
        assert "MB of address space are needed, but the limit (ulimit -v) is" in (done.stdout)


def test_worker_that_cannot_start(tmp_path, monkeypatch):
    """The message has the output of the worker instead of an EOFError."""
    (tmp_path / "broken.py").write_text("raise ImportError('libavcodec.so: cannot map segment')")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path), prepend=os.pathsep)
    with pytest.raises(WorkerError, match=r"exit code 1: ImportError: libavcodec\.so: cannot map segment"):
        list(WorkerProcess("broken").call({}, TimeBudget(5)))


def test_worker_ends_with_its_parent(clip):
    """If the parent is killed while a worker decodes, the worker ends without a traceback."""
    code = READ_FOREVER.format(path=str(clip))
    parent = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    assert parent.stdout is not None
    worker = int(parent.stdout.readline())
    parent.kill()
    _, printed = parent.communicate(timeout=60)
    for _ in range(600):
        if not Path(f"/proc/{worker}").exists():
            break
        time.sleep(0.05)
    assert not Path(f"/proc/{worker}").exists()
    assert printed == b""


def test_program_error_in_a_worker_is_raised(tmp_path):
    """It ends the job, because every other file would fail as well."""
    error = reader_module._error(
        tmp_path, {"kind": "unexpected", "message": "TypeError: open() got an argument"}
    )
    assert isinstance(error, ProgramError)
    assert not isinstance(error, InputError)
    assert "not of the file" in str(error)
    error = reader_module._error(tmp_path, {"kind": "unexpected", "message": "ValueError: odd"})
    assert isinstance(error, reader_module.UnexpectedReadError)
