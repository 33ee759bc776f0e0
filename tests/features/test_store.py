"""The feature store: clips are read as they were added, in one order, and damage is reported.  Shapes: visual
(2, 3, 4), audio (5,)."""

import dataclasses
import json
import os
import pickle
import subprocess
import sys
import tempfile
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from multiprocessing import get_context
from pathlib import Path

import numpy as np
import pytest
import safetensors.numpy
from hypothesis import given, settings
from hypothesis import strategies as st

from avcil.data.clips import Clip
from avcil.errors import InputError
from avcil.features import FeatureSpec, FeatureStore, FeatureWriter, Manifest, shard_reader
from avcil.features.verify import verify

BOTH = Manifest(
    visual=FeatureSpec(shape=(2, 3, 4), encoder={"name": "v", "version": 1}),
    audio=FeatureSpec(shape=(5,), encoder={"name": "a", "version": 1}),
)


def clip(n, **changes):
    return dataclasses.replace(
        Clip(clip_id=f"c{n:03}", path=Path(f"/clips/{n}.mp4"), label="ab"[n % 2], split="train"), **changes
    )


def numbers(n):
    rng = np.random.default_rng(n)
    return {
        "visual": rng.standard_normal((2, 3, 4), dtype=np.float32),
        "audio": rng.standard_normal(5, dtype=np.float32),
    }


def fill(path, ids, *, shard_size=4, manifest=BOTH):
    with FeatureWriter(path, manifest, shard_size=shard_size) as writer:
        for n in ids:
            writer.add(clip(n), **numbers(n))
    return path


@settings(deadline=None, max_examples=25)
@given(
    st.lists(st.integers(0, 30), min_size=1, max_size=20, unique=True),
    st.integers(1, 7),
    st.sampled_from(["float16", "float32"]),
    st.data(),
)
def test_added_clips_are_read(ids, shard_size, dtype, data):
    """Any rows in any order, with repetitions, have the added values, rounded to the store's dtype."""
    with tempfile.TemporaryDirectory() as folder:
        fill(folder, ids, shard_size=shard_size, manifest=dataclasses.replace(BOTH, dtype=dtype))
        held = FeatureStore(folder)
        assert [c.clip_id for c in held.clips] == [f"c{n:03}" for n in sorted(ids)]
        rows = data.draw(st.lists(st.integers(0, len(ids) - 1), max_size=12))
        expected = [numbers(sorted(ids)[row]) for row in rows]
        for name, read in (("visual", held.visual(rows)), ("audio", held.audio(rows))):
            assert read.dtype == dtype
            assert read.shape == (len(rows), *BOTH.arrays()[name])
            assert all(
                (got == want[name].astype(dtype)).all() for got, want in zip(read, expected, strict=True)
            )
        assert verify(folder).is_intact


def test_order_and_fingerprint_do_not_depend_on_history(tmp_path):
    """Clips added in one or three sessions, in any order and shards, give the same store."""
    one = FeatureStore(fill(tmp_path / "one", range(20), shard_size=20))
    fill(tmp_path / "two", range(19, 9, -1), shard_size=3)
    fill(tmp_path / "two", [3, 1, 0], shard_size=1)
    two = FeatureStore(fill(tmp_path / "two", [2, *range(4, 10)], shard_size=5))
    assert one.fingerprint == two.fingerprint
    assert one.clips == two.clips
    assert (one.visual(range(20)) == two.visual(range(20))).all()
    assert one.fingerprint != FeatureStore(fill(tmp_path / "three", range(19))).fingerprint


@pytest.mark.parametrize("change", [{"label": "other"}, {"split": "test"}])
def test_fingerprint_depends_on_labels_and_splits(tmp_path, change):
    """Stores with other labels or splits must have other fingerprints."""
    marks = set()
    for name, changes in (("a", {}), ("b", change)):
        with FeatureWriter(tmp_path / name, BOTH) as writer:
            writer.add(clip(0, **changes), **numbers(0))
        marks.add(FeatureStore(tmp_path / name).fingerprint)
    assert len(marks) == 2


def test_shards_are_plain_safetensors(tmp_path):
    """Another reader of the format reads the same tensors."""
    shard = next((fill(tmp_path, range(3)) / "shards").glob("*.safetensors"))
    tensors = safetensors.numpy.load_file(shard)
    assert (tensors["audio"] == FeatureStore(tmp_path).audio([0, 1, 2])).all()
    assert tensors["visual"].shape == (3, 2, 3, 4)


def _sum_of(held, rows):
    return float(held.visual(rows).astype(np.float64).sum())


def test_store_in_other_processes_and_threads(tmp_path, monkeypatch):
    """It can be pickled before or after reading, and read in parallel, with more shards than are kept open."""
    monkeypatch.setattr(shard_reader, "OPEN_SHARDS", 2)
    held = FeatureStore(fill(tmp_path, range(24)))
    expected = _sum_of(held, range(24))
    again = pickle.loads(pickle.dumps(held))
    assert (again.clips, again.fingerprint) == (held.clips, held.fingerprint)
    with ThreadPoolExecutor(4) as pool:
        assert set(pool.map(_sum_of, [again] * 16, [range(24)] * 16)) == {expected}
    with ProcessPoolExecutor(2, mp_context=get_context("spawn")) as pool:
        assert set(pool.map(_sum_of, [again] * 2, [range(24)] * 2)) == {expected}


def test_store_of_one_modality(tmp_path):
    """Reading visual features of a store with audio only is an error."""
    with FeatureWriter(tmp_path, dataclasses.replace(BOTH, visual=None)) as writer:
        writer.add(clip(0), audio=np.ones(5))
    held = FeatureStore(tmp_path)
    assert (held.visual_shape, held.audio_width) == (None, 5)
    assert (held.clips[0].visual, held.clips[0].audio) == (False, True)
    with pytest.raises(InputError, match="has no visual features, only audio; use --modality audio"):
        held.visual([0])


def test_rows_out_of_range(tmp_path):
    """A wrong row is a programming error, and never returns another clip."""
    held = FeatureStore(fill(tmp_path, range(3)))
    for rows in ([3], [-1], [0, 99]):
        with pytest.raises(IndexError):
            held.audio(rows)
    assert held.audio([]).shape == (0, 5)


def _truncate(path):
    os.truncate(path, path.stat().st_size - 7)


def _edit_manifest(**changes):
    def edit(folder):
        path = folder / "manifest.json"
        path.write_text(json.dumps(json.loads(path.read_text()) | changes))

    return edit


def _shard(folder):
    return sorted((folder / "shards").glob("*.safetensors"))[0]


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda f: _shard(f).unlink(), "damaged: .*(missing).*avcil extract"),
        (lambda f: _truncate(_shard(f)), "bytes instead of .*avcil extract"),
        (lambda f: (f / "index.jsonl").unlink(), "has no clips yet.*avcil extract"),
        (lambda f: (f / "index.jsonl").write_text('{"shard": "x", "by'), "has no clips yet"),
        (lambda f: (f / "index.jsonl").write_text("{}\n"), "index.jsonl, line 1 is damaged"),
        (lambda f: (f / "manifest.json").unlink(), "is not a feature store"),
        (lambda f: (f / "manifest.json").write_text("{"), "not valid JSON"),
        (_edit_manifest(format="other"), "not describe a feature store"),
        (_edit_manifest(version=2), "format version 2; this avcil reads version 1"),
        (_edit_manifest(visual=3), "manifest.json is damaged"),
    ],
)
def test_damage_is_reported_on_opening(tmp_path, damage, message):
    """Each error names the problem and what to do."""
    damage(fill(tmp_path, range(6)))
    with pytest.raises(InputError, match=message):
        FeatureStore(tmp_path)


def test_missing_store(tmp_path):
    """The error names the command that creates a store."""
    with pytest.raises(InputError, match=r"does not exist; make one with: avcil extract"):
        FeatureStore(tmp_path / "none")
    (tmp_path / "file").touch()
    with pytest.raises(InputError, match="is not a folder"):
        FeatureStore(tmp_path / "file")


def test_shard_truncated_while_open_is_an_error(tmp_path, monkeypatch):
    """Reading by position detects it, and returns no invalid values."""
    monkeypatch.setattr(shard_reader, "LARGE_ROW_BYTES", 1)
    held = FeatureStore(fill(tmp_path, range(4)))
    held.audio([0])
    os.truncate(_shard(tmp_path), 200)
    with pytest.raises(InputError, match="became shorter"):
        held.audio([3])


@pytest.mark.parametrize("large", [1, 1 << 20])
def test_small_and_large_rows_are_equal(tmp_path, monkeypatch, large):
    """Memory mapping and reading by position give the same values, also for ranges and repetitions."""
    monkeypatch.setattr(shard_reader, "LARGE_ROW_BYTES", large)
    monkeypatch.setattr(shard_reader, "OPEN_SHARDS", 4)
    held = FeatureStore(fill(tmp_path, range(11)))
    rows = [3, 4, 5, 6, 7, 7, 0, 10, 9, 8]
    assert (held.visual(rows) == np.stack([numbers(n)["visual"] for n in rows]).astype(np.float16)).all()


def test_verify_names_changed_clips(tmp_path):
    """A changed bit on the disk is reported with its clip."""
    fill(tmp_path, range(4))
    assert verify(tmp_path).is_intact
    with open(_shard(tmp_path), "r+b") as file:
        file.seek(-3, os.SEEK_END)  # the last clip's audio
        byte = file.read(1)
        file.seek(-1, os.SEEK_CUR)
        file.write(bytes([byte[0] ^ 1]))
    changed = {problem.what: problem.where for problem in verify(tmp_path).problems}
    assert changed["clips whose numbers changed after they were written"] == ("c003",)


def test_wrong_shard_header_is_rejected(tmp_path):
    """Offsets beyond the file, or another shape, must not be read as values."""
    path = _shard(fill(tmp_path, range(4)))
    data = path.read_bytes()
    path.write_bytes(data.replace(b'"shape":[4,5]', b'"shape":[4,6]'))
    with pytest.raises(InputError, match="cannot be read"):
        FeatureStore(tmp_path).audio([0])


def test_reading_imports_no_heavy_library(tmp_path):
    """Opening a store must be fast: neither torch nor av is imported."""
    fill(tmp_path, range(2))
    code = (
        "import sys; from avcil.features import FeatureStore; FeatureStore(sys.argv[1]).audio([0])\n"
        "assert not {'torch', 'av'} & set(sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code, str(tmp_path)], check=False).returncode == 0
