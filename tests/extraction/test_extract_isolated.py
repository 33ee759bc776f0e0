"""Extraction of small real files: readers that crash, hang or use too much memory; parts; batch sizes."""

from __future__ import annotations

import os
import signal
import threading
import time
from pathlib import Path

import numpy as np
import pytest

from avcil.data.clips import Clip
from avcil.errors import InputError
from avcil.extraction import engine
from avcil.extraction.batch_size import measure_batch_size
from avcil.extraction.encoding import EncoderOptions
from avcil.extraction.extract import extract
from avcil.extraction.read_ahead import DecodeSpec, read_one
from avcil.features import FeatureStore
from avcil.features.failures import read_failures
from avcil.media import write_video
from avcil.media.reader import ReaderProcess, ReadLimits

COUNT = 10
SMALL = {"visual": "patch-motion", "audio": "log-mel"}
"""The encoders of the store `whole`."""
WANTED = DecodeSpec(frames=4, short_side=32, sample_rate=16_000)


def test_reader_processes_equal_threads(clips, whole, tmp_path):
    """The features are equal, and no reader process remains."""
    extract(clips, tmp_path / "s", batch_size=2, workers=3, **SMALL)
    assert FeatureStore(tmp_path / "s").fingerprint == whole.fingerprint
    assert not _readers_of(os.getpid())


def _readers_of(parent: int) -> list[str]:
    result = []
    for status in Path("/proc").glob("[0-9]*/stat"):
        try:
            fields = status.read_text().rsplit(")", 1)[1].split()
            words = (status.parent / "cmdline").read_text()
        except OSError:
            continue
        if int(fields[1]) == parent and "reader_worker" in words:
            result.append(status.parent.name)
    return result


def test_killed_reader_fails_only_its_clip(clips):
    """If killed during a clip, this clip is reported and a new reader continues. If killed between clips, no
    clip fails."""
    reader = ReaderProcess(ReadLimits())
    try:
        assert read_one(clips[0], WANTED, reader=reader).frames.shape[0] == 4
        os.kill(reader.pid, signal.SIGSTOP)
        threading.Timer(0.3, os.kill, (reader.pid, signal.SIGKILL)).start()
        reason = read_one(clips[1], WANTED, reader=reader).reason
        assert reason == "the process that reads the clip was ended by SIGKILL"
        assert read_one(clips[1], WANTED, reader=reader).waveform is not None
        os.kill(reader.pid, signal.SIGKILL)
        time.sleep(0.1)
        assert read_one(clips[1], WANTED, reader=reader).waveform is not None
    finally:
        reader.close()


def test_stopped_reader_is_replaced(clips):
    """A reader that does not respond is ended: its clip is reported, and the extraction continues."""
    reader = ReaderProcess(ReadLimits(seconds=0.3, grace_seconds=0.2))
    try:
        read_one(clips[0], WANTED, reader=reader)
        os.kill(int(_readers_of(os.getpid())[0]), signal.SIGSTOP)
        assert read_one(clips[1], WANTED, reader=reader).reason == "reading was stopped after 0.3 s"
        reader.limits = ReadLimits()
        assert read_one(clips[1], WANTED, reader=reader).frames is not None
    finally:
        reader.close()


def test_stopping_does_not_wait_for_a_slow_reader(clips):
    """Ctrl-C ends the extraction immediately although a file is slow."""
    reader = ReaderProcess(ReadLimits())
    read_one(clips[0], WANTED, reader=reader)
    os.kill(int(_readers_of(os.getpid())[0]), signal.SIGSTOP)
    answers = []
    waiting = threading.Thread(target=lambda: answers.append(read_one(clips[1], WANTED, reader=reader)))
    waiting.start()
    time.sleep(0.1)
    reader.stop()
    waiting.join(timeout=20)
    reader.close()
    assert not waiting.is_alive()
    assert "SIGKILL" in answers[0].reason


def test_clip_over_the_memory_limit_is_reported(clips, tmp_path):
    """Large frames under a small limit are reported with the limit; small clips are stored."""
    large = tmp_path / "large.mp4"
    frame = np.full((2160, 3840, 3), 90, dtype=np.uint8)
    write_video(large, [frame] * 6, 20.0)
    bomb = Clip(clip_id="bomb", path=large, label="a", split="train")
    listed = [clips[0], bomb, *clips[1:3]]
    report = extract(listed, tmp_path / "s", audio="none", limits=ReadLimits(megabytes=96), workers=1)
    assert report.stored == 3
    reason = read_failures(tmp_path / "s")["bomb"].reason
    assert reason == "it needs more memory than the limit for a clip, 96 MB"
    assert extract(listed, tmp_path / "s", audio="none", workers=1, retry_failed=True).stored == 4


def test_invalid_limits():
    """Zero time and zero memory are errors at once."""
    for wrong in ({"seconds": 0.0}, {"seconds": float("inf")}, {"megabytes": 0}):
        with pytest.raises(InputError):
            ReadLimits(**wrong)


def test_parts_give_the_same_store(clips, whole, tmp_path):
    """Three parts, in any order and two at once, give the store of one call, and no clip is encoded twice."""
    out = tmp_path / "s"
    options = {**SMALL, "batch_size": 2, "isolate": False}
    assert extract(clips, out, part="3/3", **options).listed == 2
    threads = [
        threading.Thread(target=extract, args=(clips, out), kwargs=options | {"part": part})
        for part in ("1/3", "2/3")
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    store = FeatureStore(out)
    assert store.fingerprint == whole.fingerprint
    assert sum(store.shard_bytes.values()) > 0
    assert len(store) == COUNT
    for rows in (range(COUNT),):
        assert store.visual(rows).tobytes() == whole.visual(rows).tobytes()
    with pytest.raises(InputError, match="such as 2/4"):
        extract(clips, out, part="4/3", **options)


def test_measured_batch_size_is_stored(clips, tmp_path, monkeypatch):
    """It is measured once for a store; a later call uses the stored size."""
    sizes = iter([4])
    monkeypatch.setattr(engine, "measure_batch_size", lambda encoders: next(sizes))
    extract(clips[:2], tmp_path / "s", batch_size="auto", isolate=False)
    extract(clips, tmp_path / "s", batch_size="auto", isolate=False)
    assert (tmp_path / "s" / "batch_size.json").read_text() == '{\n  "batch_size": 4\n}\n'
    assert len(FeatureStore(tmp_path / "s")) == COUNT


def test_batch_size_measurement():
    """A size without enough memory, or without higher speed, is not used."""
    encoders = EncoderOptions(visual="patch-motion", audio="log-mel").build()
    encoders.decode_spec = DecodeSpec(frames=2, short_side=8, sample_rate=1000)
    calls = []

    def encode(batch):
        calls.append(len(batch))
        if len(batch) > 16:
            raise MemoryError
        time.sleep(0.02)  # a batch takes the same time for any size, so that larger batches are faster
        return [{} for _ in batch]

    encoders.encode_together = encode
    assert measure_batch_size(encoders) == 16
    assert max(calls) == 32


def test_unsupported_device_is_an_error(clips, tmp_path):
    """Built-in encoders cannot use a GPU."""
    with pytest.raises(InputError, match="patch-motion and log-mel only run on the CPU"):
        extract(clips, tmp_path / "s", device="cuda", isolate=False, **SMALL)
    assert not (tmp_path / "s").exists()
