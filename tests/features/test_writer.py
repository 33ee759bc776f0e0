"""Writing a feature store: invalid values, crashes, full disks, several writers."""

import dataclasses
import errno
import os
import subprocess
import sys
import threading
from pathlib import Path

import numpy as np
import pytest

from avcil.data.clips import Clip
from avcil.errors import InputError
from avcil.features import FeatureSpec, FeatureStore, FeatureWriter, Manifest
from avcil.features import writer as writer_module
from avcil.features.failures import read_failures
from avcil.features.verify import verify

MANIFEST = Manifest(visual=FeatureSpec(shape=(2, 3, 4)), audio=FeatureSpec(shape=(5,), encoder={"name": "a"}))


def clip(n, label="a"):
    return Clip(clip_id=f"c{n:03}", path=Path(f"/clips/{n}.mp4"), label=label, split="train")


def add(writer, n):
    writer.add(clip(n), visual=np.full((2, 3, 4), n, np.float32), audio=np.full(5, n, np.float32))


def fill(path, ids, shard_size=4):
    with FeatureWriter(path, MANIFEST, shard_size=shard_size) as writer:
        for n in ids:
            add(writer, n)


@pytest.mark.parametrize(
    ("value", "message"),
    [
        (np.full((2, 3, 4), np.nan), "NaN or infinity"),
        (np.full((2, 3, 4), np.inf), "NaN or infinity"),
        (np.full((2, 3, 4), 7e4), "reach 70000, more than the maximum of float16; use dtype float32"),
        (np.zeros((2, 3, 5)), r"have shape \(2, 3, 5\); this store needs \(2, 3, 4\)"),
        (None, "visual features of clip 'c000' are missing"),
    ],
)
def test_invalid_values(tmp_path, value, message):
    """They are rejected at once with clip and modality; other clips can be added."""
    with FeatureWriter(tmp_path, MANIFEST) as writer:
        with pytest.raises(InputError, match=message) as caught:
            writer.add(clip(0), visual=value, audio=np.zeros(5))
        assert "visual" in str(caught.value)
        assert "c000" in str(caught.value)
        add(writer, 1)
    assert [c.clip_id for c in FeatureStore(tmp_path).clips] == ["c001"]


def test_clip_without_a_modality(tmp_path):
    """The index records the missing modality; a clip without features is an error."""
    with FeatureWriter(tmp_path, dataclasses.replace(MANIFEST, missing="keep")) as writer:
        writer.add(clip(0), audio=np.ones(5))
        with pytest.raises(InputError, match="neither visual nor audio features"):
            writer.add(clip(1))
    held = FeatureStore(tmp_path)
    assert (held.clips[0].visual, held.clips[0].audio) == (False, True)
    assert not held.visual([0]).any()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"audio": FeatureSpec(shape=(5,), encoder={"name": "b"})}, "another audio encoder"),
        ({"visual": None}, "another visual encoder"),
        ({"dtype": "float32"}, "another dtype"),
        ({"missing": "keep"}, "another value of --missing"),
        ({"sampling": {"frames": 3}}, "another sampling"),
    ],
)
def test_store_with_other_settings(tmp_path, change, message):
    """A store never mixes features of different encoders; versions of libraries may differ."""
    fill(tmp_path, [0])
    with pytest.raises(InputError, match=message + r".*Choose another --out"):
        FeatureWriter(tmp_path, dataclasses.replace(MANIFEST, **change))
    FeatureWriter(tmp_path, dataclasses.replace(MANIFEST, libraries={"numpy": "9"})).close()


def test_folder_with_other_files(tmp_path):
    """No store is written to a folder with other files."""
    (tmp_path / "thesis.txt").touch()
    with pytest.raises(InputError, match="contains other files and is not a feature store"):
        FeatureWriter(tmp_path, MANIFEST)
    with pytest.raises(InputError, match="is a file"):
        FeatureWriter(tmp_path / "thesis.txt", MANIFEST)


def test_ids_are_unique(tmp_path):
    """Neither a shard nor several sessions may contain an id twice."""
    with FeatureWriter(tmp_path, MANIFEST) as writer:
        add(writer, 0)
        with pytest.raises(InputError, match="already"):
            add(writer, 0)
    with FeatureWriter(tmp_path, MANIFEST) as writer, pytest.raises(InputError, match="already"):
        add(writer, 0)


def test_error_discards_pending_clips_only(tmp_path):
    """Committed shards are kept; a shard is complete or absent."""

    def stop():
        with FeatureWriter(tmp_path, MANIFEST, shard_size=2) as writer:
            for n in range(3):
                add(writer, n)
            raise KeyError

    with pytest.raises(KeyError):
        stop()
    assert len(FeatureStore(tmp_path)) == 2


def test_failures_are_listed_until_their_clip_is_stored(tmp_path):
    """They are sorted by id over several sessions; a stored clip is removed, and with the last one the file."""
    with FeatureWriter(tmp_path, MANIFEST) as writer:
        writer.fail(clip(2, label='a, "b"'), "no audio\n track", "16 frames")
        writer.fail(clip(1), "truncated", "16 frames")
    with FeatureWriter(tmp_path, MANIFEST) as writer:
        assert [(f.clip_id, f.reason, f.label) for f in writer.failures.values()] == [
            ("c001", "truncated", "a"),
            ("c002", "no audio track", 'a, "b"'),
        ]
        add(writer, 1)
    assert list(read_failures(tmp_path)) == ["c002"]
    fill(tmp_path, [2])
    assert not (tmp_path / "failures.csv").exists()


def test_truncated_index_line_is_removed(tmp_path):
    """After a crash while writing the line, it is ignored, and its clips are added again."""
    fill(tmp_path, range(8))
    index = tmp_path / "index.jsonl"
    os.truncate(index, index.stat().st_size - 5)
    assert len(FeatureStore(tmp_path)) == 4
    with FeatureWriter(tmp_path, MANIFEST) as writer:
        assert len(writer.done) == 4
        assert (
            len(list((tmp_path / "shards").glob("*.safetensors"))) == 1
        )  # the shard without an index line is removed
        for n in range(4, 8):
            add(writer, n)
    held = FeatureStore(tmp_path)
    assert verify(held.path).is_intact
    assert held.audio(range(8))[:, 0].tolist() == list(range(8))


@pytest.mark.parametrize("damage", [lambda path: path.unlink(), lambda path: os.truncate(path, 50)])
def test_lost_shard_is_written_again(tmp_path, damage):
    """The same command repairs a store whose shard was deleted or truncated."""
    fill(tmp_path, range(8))
    damage(sorted((tmp_path / "shards").glob("*.safetensors"))[0])
    with pytest.raises(InputError):
        FeatureStore(tmp_path)
    with FeatureWriter(tmp_path, MANIFEST) as writer:
        assert (writer.reencoded, len(writer.done)) == (4, 4)
        for n in range(8):
            if f"c{n:03}" not in writer.done:
                add(writer, n)
    held = FeatureStore(tmp_path)
    assert verify(held.path).is_intact
    assert len(held) == 8


@pytest.mark.parametrize("call", ["fsync", "write"])
def test_full_disk_keeps_committed_clips(tmp_path, monkeypatch, call):
    """While a shard or an index line is written: a clear error with exit code 2, no loss, and resuming works."""
    fill(tmp_path, range(4))
    before = FeatureStore(tmp_path).fingerprint
    real = getattr(os, call)

    def refuse(*arguments):
        raise OSError(errno.ENOSPC, "No space left on device")

    def fill_up():
        with FeatureWriter(tmp_path, MANIFEST, shard_size=2) as writer:
            monkeypatch.setattr(os, call, refuse)
            add(writer, 4)
            add(writer, 5)

    with pytest.raises(InputError, match="no space left on the disk") as caught:
        fill_up()
    monkeypatch.setattr(os, call, real)
    assert caught.value.exit_code == 2
    assert FeatureStore(tmp_path).fingerprint == before
    assert len(list((tmp_path / "shards").iterdir())) == 1
    fill(tmp_path, [4, 5])
    assert len(FeatureStore(tmp_path)) == 6


WRITE = """
import sys
import numpy as np
from pathlib import Path
from avcil.data.clips import Clip
from avcil.features import FeatureWriter, Manifest, FeatureSpec
manifest = Manifest(visual=FeatureSpec(shape=(2, 3, 4)), audio=FeatureSpec(shape=(5,), encoder={"name": "a"}))
with FeatureWriter(sys.argv[1], manifest, shard_size=3) as writer:
    for n in map(int, sys.argv[2:]):
        clip = Clip(clip_id=f"c{n:03}", path=Path(f"/clips/{n}.mp4"), label="a", split="train")
        if clip.clip_id not in writer.done:
            writer.add(clip, visual=np.full((2, 3, 4), n, np.float32), audio=np.full(5, n, np.float32))
"""


def test_parallel_writers_store_each_clip_once(tmp_path):
    """Three processes with overlapping parts start with an empty folder."""
    parts = [range(40), range(20, 60), range(59, 9, -1)]
    commands = [[sys.executable, "-c", WRITE, str(tmp_path / "many"), *map(str, part)] for part in parts]
    running = [subprocess.Popen(command) for command in commands]
    assert [process.wait() for process in running] == [0, 0, 0]
    fill(tmp_path / "one", range(60))
    many, one = FeatureStore(tmp_path / "many"), FeatureStore(tmp_path / "one")
    assert verify(many.path).is_intact
    assert many.fingerprint == one.fingerprint
    assert not list((tmp_path / "many" / "shards").glob(".*"))


def test_first_commit_is_kept(tmp_path):
    """For two writers with the same clip, one copy is kept, and the other clips of both writers."""
    first, second = (FeatureWriter(tmp_path, MANIFEST) for _ in range(2))
    add(first, 0)
    add(second, 0)
    add(second, 1)
    first.close()
    second.close()
    held = FeatureStore(tmp_path)
    assert verify(held.path).is_intact
    assert [c.clip_id for c in held.clips] == ["c000", "c001"]
    assert second.done == {"c000", "c001"}


def test_adding_while_a_shard_is_written(tmp_path, monkeypatch):
    """A slow disk does not block: clips and failures are added meanwhile, and all are stored at the end."""
    written, write = threading.Event(), writer_module.write_shard

    def slow(path, columns):
        assert written.wait(60)
        return write(path, columns)

    monkeypatch.setattr(writer_module, "write_shard", slow)
    with FeatureWriter(tmp_path, MANIFEST, shard_size=100) as writer:
        add(writer, 0)
        writer.begin_commit()
        add(writer, 1)
        writer.fail(clip(2), "no audio track")
        assert not (tmp_path / "index.jsonl").read_bytes()
        written.set()
    held = FeatureStore(tmp_path)
    assert verify(held.path).is_intact
    assert ([c.clip_id for c in held.clips], len(held.shard_bytes)) == (["c000", "c001"], 2)
    assert list(read_failures(tmp_path)) == ["c002"]


def test_failed_background_write_keeps_pending_rows(tmp_path, monkeypatch):
    """After a full disk in a background commit, the next commit raises, and no pending row is lost."""

    def refuse(path, columns):
        raise InputError("no space left on the disk")

    with FeatureWriter(tmp_path, MANIFEST, shard_size=100) as writer, monkeypatch.context() as patched:
        patched.setattr(writer_module, "write_shard", refuse)
        add(writer, 0)
        writer.begin_commit()
        add(writer, 1)
        with pytest.raises(InputError, match="no space left"):
            writer.begin_commit()
    assert [c.clip_id for c in FeatureStore(tmp_path).clips] == ["c000", "c001"]


def test_many_pending_clips_use_several_shards(tmp_path):
    """One index line for all could exceed the size limit of readers."""
    count = writer_module.MAX_ROWS + 1
    fill(tmp_path, range(count), shard_size=2**62)
    store = FeatureStore(tmp_path)
    assert [len(store), len(store.shard_bytes)] == [count, 2]
