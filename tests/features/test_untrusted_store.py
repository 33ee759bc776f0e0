"""Untrusted or manually changed feature stores: the error names the problem, and no other file is changed."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from avcil.data.clips import Clip
from avcil.errors import InputError
from avcil.features import FeatureSpec, FeatureStore, FeatureWriter, Manifest
from avcil.features.verify import verify

MANIFEST = Manifest(audio=FeatureSpec(shape=(4,)), dtype="float32")


def add(writer: FeatureWriter, number: int) -> None:
    clip = Clip(clip_id=f"c{number}", path=Path(f"{number}.mp4"), label="ab"[number % 2], split="train")
    writer.add(clip, audio=np.arange(4.0) + number)


@pytest.fixture
def made(tmp_path: Path) -> Path:
    """A store of four clips in two shards."""
    with FeatureWriter(tmp_path / "store", MANIFEST, shard_size=2) as writer:
        for number in range(4):
            add(writer, number)
    return tmp_path / "store"


def lines(store: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (store / "index.jsonl").read_text().splitlines()]


def rewrite(store: Path, change: Callable[[list[dict[str, Any]]], object], *, checksum: bool = False) -> None:
    """Change the index; its checksums are removed, as an earlier version of avcil or an attacker would write it."""
    values = lines(store)
    if not checksum:
        for value in values:
            del value["checksum"]
    change(values)
    (store / "index.jsonl").write_text("".join(json.dumps(value) + "\n" for value in values))


def swap_labels(values: list[dict[str, Any]]) -> None:
    first, second = values[0]["clips"]
    first["label"], second["label"] = second["label"], first["label"]


def test_swapped_labels_are_detected(made: Path) -> None:
    """The features and their digests are correct; only the checksum of the line is wrong."""
    rewrite(made, swap_labels, checksum=True)
    for opened in (FeatureStore, verify):
        with pytest.raises(InputError, match=r"line 1 is damaged.*changed after it was written"):
            opened(made)


def test_store_of_an_earlier_version_is_read(made: Path) -> None:
    """Its lines have no checksum; new lines have one."""
    before = FeatureStore(made).fingerprint
    rewrite(made, lambda values: None)
    assert FeatureStore(made).fingerprint == before
    with FeatureWriter(made, MANIFEST) as writer:
        add(writer, 4)
    assert [("checksum" in value) for value in lines(made)] == [False, False, True]
    assert len(FeatureStore(made)) == 5


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("shard", "../../victim.safetensors"),
        ("shard", "/etc/passwd"),
        ("shard", "0123456789ab-00000.safetensors\0"),
        ("shard", ["x"]),
        ("bytes", "12"),
        ("bytes", True),
        ("bytes", -1),
        ("sha256", "x"),
        ("clips", {}),
        ("clips", []),
        ("clips", [3]),
        ("extra", 1),
    ],
)
def test_invalid_fields_of_an_index_line(made: Path, field: str, value: Any) -> None:
    """File names must be in the folder, and types must be right."""
    rewrite(made, lambda values: values[0].update({field: value}))
    for opened in (FeatureStore, verify, lambda path: FeatureWriter(path, MANIFEST)):
        with pytest.raises(InputError, match=r"index\.jsonl, line 1 is damaged"):
            opened(made)


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("clip_id", ""),
        ("clip_id", 3),
        ("label", None),
        ("label", ["a"]),
        ("split", "dev"),
        ("start", "0"),
        ("start", -1.0),
        ("visual", 1),
        ("digest", "zz"),
        ("remark", {}),
    ],
)
def test_invalid_fields_of_a_clip(made: Path, field: str, value: Any) -> None:
    rewrite(made, lambda values: values[0]["clips"][0].update({field: value}))
    with pytest.raises(InputError, match=f"line 1 is damaged.*{field}"):
        FeatureStore(made)


def test_more_clips_than_rows(made: Path) -> None:
    """A clip without a row would be read from the bytes of another array."""
    clip = lines(made)[0]["clips"][0] | {"clip_id": "c9"}
    rewrite(made, lambda values: values[0]["clips"].append(clip))
    with pytest.raises(InputError, match=r"has no audio features \(3, 4\)"):
        FeatureStore(made).audio([0])
    assert not verify(made).is_intact


def test_duplicate_clip(made: Path) -> None:
    rewrite(made, lambda values: values[0]["clips"][1].update(clip_id="c0"))
    with pytest.raises(InputError, match="twice: 'c0'"):
        FeatureStore(made)
    assert not verify(made).is_intact


def test_linked_shard_folder(made: Path, tmp_path: Path) -> None:
    """If the folder is a link, opening the store for writing would remove files of the link's target."""
    elsewhere = tmp_path / "elsewhere"
    (made / "shards").rename(elsewhere)
    for name in ("0123456789ab-00000.safetensors", "thesis.safetensors"):
        (elsewhere / name).write_text("precious")
    (made / "shards").symlink_to(elsewhere)
    before = sorted(os.listdir(elsewhere))
    for opened in (FeatureStore, verify, lambda path: FeatureWriter(path, MANIFEST)):
        with pytest.raises(InputError, match="shards is a symbolic link, which is not allowed"):
            opened(made)
    assert sorted(os.listdir(elsewhere)) == before


@pytest.mark.parametrize("name", ["index.jsonl", "manifest.json"])
def test_linked_index(made: Path, tmp_path: Path, name: str) -> None:
    """Appending to a linked index would change another file."""
    (made / name).rename(tmp_path / "target")
    (made / name).symlink_to(tmp_path / "target")
    for opened in (FeatureStore, verify, lambda path: FeatureWriter(path, MANIFEST)):
        with pytest.raises(InputError, match="is a symbolic link, which is not allowed"):
            opened(made)


def test_linked_shard_is_written_again(made: Path, tmp_path: Path) -> None:
    """Reading rejects it; the next extraction removes the link, not its target."""
    shard = made / "shards" / lines(made)[0]["shard"]
    shard.rename(tmp_path / "target")
    shard.symlink_to(tmp_path / "target")
    with pytest.raises(InputError, match="a link or folder instead of a file"):
        FeatureStore(made)
    assert "shards that are links or folders" in verify(made).text()
    with FeatureWriter(made, MANIFEST) as writer:
        assert writer.reencoded == 2
    assert (tmp_path / "target").exists()
    assert not shard.is_symlink()


def test_only_files_of_killed_writers_are_removed(made: Path) -> None:
    """Leftover files with the names of a writer are removed; all other files remain."""
    shards = made / "shards"
    ours = ["0123456789ab-00000.safetensors", ".0123456789ab-00001.safetensors.77.part", ".0123456789ab.lock"]
    foreign = ["notes.txt", "a-b.safetensors", ".hidden", "0123456789AB-00000.safetensors", ".x.lock"]
    for name in [*ours, *foreign]:
        (shards / name).write_text("x")
    (shards / "0123456789ab-00009.safetensors").mkdir()
    os.mkfifo(shards / ".aaaaaaaaaaaa.lock")
    FeatureWriter(made, MANIFEST).close()
    left = set(os.listdir(shards))
    assert left.isdisjoint(ours)
    assert left >= {*foreign, "0123456789ab-00009.safetensors"}


@pytest.mark.parametrize(
    "change",
    [
        {"version": True},
        {"dtype": ["float16"]},
        {"missing": 3},
        {"sampling": []},
        {"libraries": None},
        {"audio": {"shape": [4], "encoder": "log-mel"}},
        {"audio": {"shape": "4", "encoder": {}}},
        {"audio": {"shape": [True], "encoder": {}}},
        {"audio": {"shape": [10**12], "encoder": {}}},
        {"audio": 0},
        {"audio": None},
    ],
)
def test_invalid_manifests(made: Path, change: dict[str, Any]) -> None:
    value = json.loads((made / "manifest.json").read_text()) | change
    (made / "manifest.json").write_text(json.dumps(value))
    with pytest.raises(InputError):
        FeatureStore(made)


def test_wrong_shape_allocates_no_memory(made: Path) -> None:
    """A clip may have one gibibyte, but no shard has this shape."""
    value = json.loads((made / "manifest.json").read_text())
    value["audio"]["shape"] = [1 << 28]
    (made / "manifest.json").write_text(json.dumps(value))
    store = FeatureStore(made)
    with pytest.raises(InputError, match="has no audio features"):
        store.audio(np.zeros(1 << 20, np.int64))


@pytest.mark.parametrize(
    "content", [b'clip_id,path,label,split,reason,tried\n"' + b"x" * 200_000, b"\xff\xfe\n", b""]
)
def test_invalid_failure_lists(made: Path, content: bytes) -> None:
    (made / "failures.csv").write_bytes(content)
    with pytest.raises(InputError, match=r"failures\.csv"):
        verify(made)


@pytest.mark.parametrize(
    "content", ['{"batch_size": true}', '{"batch_size": 1e9}', "[1]", '{"batch_size": "8"}']
)
def test_invalid_batch_size(made: Path, content: str) -> None:
    from avcil.extraction.batch_size import resolve_batch_size

    (made / "batch_size.json").write_text(content)
    with pytest.raises(InputError, match=r"batch_size\.json is damaged"):
        resolve_batch_size("auto", made, lambda: 8)
