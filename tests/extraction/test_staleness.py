"""Files that were changed, deleted or removed from the clip list after they were stored."""

from __future__ import annotations

import os
import wave
from pathlib import Path

import numpy as np
import pytest

from avcil.data.clips import Clip
from avcil.extraction.extract import extract
from avcil.features import FeatureStore
from avcil.features.failures import read_failures
from avcil.features.index import read_index
from avcil.features.show import summarize
from avcil.features.verify import verify


def write_tone(path: Path, pitch: int, seconds: float = 0.25) -> None:
    samples = 9000 * np.sin(np.arange(int(16_000 * seconds)) * pitch / 50)
    with wave.open(str(path), "wb") as file:
        file.setparams((1, 2, 16_000, 0, "NONE", ""))
        file.writeframes(samples.astype("<i2").tobytes())


@pytest.fixture
def clips(tmp_path) -> list[Clip]:
    """Four short audio files."""
    (tmp_path / "clips").mkdir()
    made = []
    for number in range(4):
        path = tmp_path / "clips" / f"{number}.wav"
        write_tone(path, number + 1)
        made.append(Clip(clip_id=f"c{number}", path=path, label="ab"[number % 2], split="train"))
    return made


def run(clips, store, **options):
    return extract(clips, store, visual="none", isolate=False, workers=1, batch_size=2, **options)


def numbers(store: Path) -> dict[str, bytes]:
    held = FeatureStore(store)
    return {clip.clip_id: held.audio([row]).tobytes() for row, clip in enumerate(held.clips)}


def test_replaced_file_is_encoded_again(clips, tmp_path):
    """With another size, or another modification time; the store equals that of a new extraction."""
    store = tmp_path / "store"
    run(clips, store)
    before = numbers(store)
    write_tone(clips[1].path, 30, seconds=0.5)
    write_tone(clips[2].path, 40)
    found = verify(store)
    assert not found.is_intact
    assert [(f.kind, f.where) for f in found.problems] == [("file_changed", ("c1", "c2"))]
    report = run(clips, store)
    assert (report.changed, report.new, report.stored) == (2, 2, 4)
    assert "encoded again, since their file changed: 2" in report.text()
    assert verify(store).is_intact
    run(clips, tmp_path / "anew")
    assert numbers(store) == numbers(tmp_path / "anew")
    assert FeatureStore(store).fingerprint == FeatureStore(tmp_path / "anew").fingerprint
    changed = {key for key, value in numbers(store).items() if value != before[key]}
    assert changed == {"c1", "c2"}
    assert run(clips, store).changed == 0


def test_equal_content_is_not_encoded_again(clips, tmp_path):
    """A file with a new modification time or path but the same content is not encoded again."""
    store = tmp_path / "store"
    run(clips, store)
    os.utime(clips[0].path, (1, 1))
    moved = clips[1].path.with_name("moved.wav")
    moved.write_bytes(clips[1].path.read_bytes())
    clips[1] = Clip(clip_id="c1", path=moved, label="b", split="train")
    report = run(clips, store)
    assert (report.changed, report.new) == (0, 0)
    assert verify(store, clips).is_intact


def test_changed_unreadable_file_is_reported(clips, tmp_path):
    """The features of its old content are removed."""
    store = tmp_path / "store"
    run(clips, store)
    clips[3].path.write_bytes(b"no sound")
    report = run(clips, store)
    assert (report.changed, report.stored) == (1, 3)
    assert list(read_failures(store)) == ["c3"]
    assert [clip.clip_id for clip in FeatureStore(store).clips] == ["c0", "c1", "c2"]


def test_missing_files_are_noted(clips, tmp_path):
    """Features can be used without their files; extraction keeps them."""
    store = tmp_path / "store"
    run(clips, store)
    clips[0].path.unlink()
    found = verify(store)
    assert found.is_intact
    assert [(f.kind, f.where) for f in found.problems] == [("file_missing", ("c0",))]
    assert (found.sources, found.clips) == (3, 4)
    assert run(clips, store).stored == 4


def test_clips_removed_from_the_list_are_hidden(clips, tmp_path):
    """They are hidden, except with --add; if they are listed again, they are not encoded again."""
    store = tmp_path / "store"
    run(clips, store)
    report = run(clips[:3], store)
    assert "stored, but not in this list: 1; training does not use them (--add uses them)" in report.text()
    assert [clip.clip_id for clip in FeatureStore(store).clips] == ["c0", "c1", "c2"]
    assert "not in use, since the last clip list does not contain them: 1" in summarize(store).text()
    found = verify(store, clips[:3])
    assert found.is_intact
    assert [(f.kind, f.where) for f in found.problems] == [("unlisted", ("c3",))]
    report = run(clips[:3], store, add=True)
    assert "in use in addition to this list: 1" in report.text()
    assert len(FeatureStore(store)) == 4
    run(clips[:3], store)
    assert run(clips, store).new == 0
    assert len(FeatureStore(store)) == 4


def test_hidden_clip_keeps_its_label(clips, tmp_path):
    """A store has one label per clip, also for hidden clips."""
    store = tmp_path / "store"
    run(clips, store)
    run(clips[:3], store)
    other = Clip(clip_id="c3", path=clips[3].path, label="a", split="train")
    with pytest.raises(ValueError, match=r"stored in .* with label 'b'"):
        run([*clips[:3], other], store)


def test_failures_of_a_repaired_list(clips, tmp_path):
    """Failures of ids that are no longer listed, or have another file, are removed."""
    store, gone = tmp_path / "store", tmp_path / "gone.wav"
    wrong = [Clip(clip_id=key, path=gone, label="a", split="train") for key in ("c3", "typo")]
    run([*clips[:3], *wrong], store)
    assert list(read_failures(store)) == ["c3", "typo"]
    report = run(clips, store)
    assert (report.stored, report.not_tried, report.failed) == (4, 0, ())
    assert read_failures(store) == {}


def test_shards_without_clips_are_removed(clips, tmp_path):
    """A shard without remaining clips is removed by the next extraction."""
    store = tmp_path / "store"
    run(clips, store)
    first = set(read_index(store)[0])
    for number, clip in enumerate(clips):
        write_tone(clip.path, 60 + number)
    run(clips, store)
    assert not first & set(read_index(store)[0])
    run(clips, store)
    assert not first & {path.name for path in (store / "shards").iterdir()}


def test_failure_list_with_byte_order_mark(clips, tmp_path):
    """A spreadsheet program saves the file with a byte order mark."""
    store, gone = tmp_path / "store", tmp_path / "gone.wav"
    run([*clips, Clip(clip_id="x", path=gone, label="a", split="train")], store)
    path = store / "failures.csv"
    path.write_bytes(b"\xef\xbb\xbf" + path.read_bytes())
    assert list(read_failures(store)) == ["x"]
