"""Import of released features in every form of the release, and reports of invalid ones.  Files have the
format and the shape (1568, 768) of the release, with a few clips each."""

from __future__ import annotations

import json
import pickle
import subprocess
import sys
import tracemalloc
import zipfile

import numpy as np
import pytest
import released_files as files
from hypothesis import given, settings
from hypothesis import strategies as st
from released_stores import FEW, IDS, check_store, npy_files, some

from avcil.datasets.released.feature_files import find_released
from avcil.datasets.released.import_features import import_features
from avcil.datasets.released.token_grid import parse_grid, pool_tokens
from avcil.errors import InputError
from avcil.features import FeatureStore
from avcil.features.failures import read_failures

pytest.importorskip("h5py")

THREE_PARTS = tuple(f"KS_features.zip.a{letter}" for letter in "abc")


def test_unpacked_folder_is_imported(tmp_path, audio, visual):
    """24 clips of the released shape: features, token grid, labels, splits, order and fingerprint."""
    source = files.unpacked(tmp_path / "source", npy_files(audio, visual))
    benchmark = files.benchmark_of(IDS)
    report = import_features(source, tmp_path / "store", benchmark)
    store = check_store(tmp_path / "store", audio, visual, IDS)
    assert store.visual_shape == (8, 196, 768)
    assert {clip.clip_id: (clip.label, clip.split) for clip in store.clips} == {
        clip_id: (where.label, where.split) for clip_id, where in benchmark.clips.items()
    }
    assert store.manifest.visual.encoder["name"] == store.manifest.audio.encoder["name"] == "released:AVE"
    assert (report.stored, report.earlier, dict(report.failures)) == (24, 0, {})
    assert json.loads((tmp_path / "store" / "import.json").read_text())["stored"] == 24


@pytest.mark.parametrize("form", ["zip", "deflated zip", "h5 folder", "h5 zip", "h5 deflated", "h5 parts"])
def test_every_released_form_gives_the_same_store(tmp_path, audio, visual, form):
    """Folder, archive, compressed archive and parts; pickled dict and HDF5."""
    ids = FEW[:2] if "deflated" in form else FEW
    some_audio, some_visual = some(audio, ids), some(visual, ids)
    content = npy_files(some_audio, some_visual)
    if "h5" in form:
        content = {files.AUDIO_PATH: content[files.AUDIO_PATH], files.H5_PATH: files.h5_bytes(some_visual)}
    benchmark = files.benchmark_of(ids)
    if "folder" in form:
        source = files.unpacked(tmp_path / "source", content)
    else:
        method = zipfile.ZIP_DEFLATED if "deflated" in form else zipfile.ZIP_STORED
        source = files.zipped(tmp_path / "in" / "KS_features.zip", content, method)
    if "parts" in form:
        benchmark = files.benchmark_of(ids, THREE_PARTS)
        parts = files.in_parts(source, 3)
        for start in (parts[0], parts[2]):
            assert find_released(start, benchmark.protocol).visual.paths == tuple(parts)
        source = tmp_path / "in"
    import_features(source, tmp_path / "store", benchmark)
    check_store(tmp_path / "store", some_audio, some_visual, ids)
    assert not list((tmp_path / "store").glob(".unpacked-*"))


@pytest.mark.parametrize("protocol", [2, 3, 4, 5])
def test_pickle_protocols_and_plain_pickles(tmp_path, audio, visual, protocol):
    """The release has protocol 3; current numpy writes protocol 4."""
    some_audio, some_visual = some(audio, FEW[:2]), some(visual, FEW[:2])
    content = {
        files.AUDIO_PATH: pickle.dumps(some_audio, protocol),
        files.VISUAL_PATH: pickle.dumps(some_visual, protocol),
    }
    import_features(files.unpacked(tmp_path / "s", content), tmp_path / "store", files.benchmark_of(FEW[:2]))
    check_store(tmp_path / "store", some_audio, some_visual, FEW[:2])


def test_interrupted_import_is_resumed(tmp_path, audio, visual, monkeypatch):
    """Committed clips are not imported again, and the store equals that of one import exactly."""
    source = files.unpacked(tmp_path / "source", npy_files(some(audio), some(visual)))
    benchmark, out = files.benchmark_of(FEW), tmp_path / "store"
    import avcil.datasets.released.import_features as module

    def stop(tokens, grid):
        if np.array_equal(tokens, visual[FEW[3]]):
            raise KeyboardInterrupt
        return pool_tokens(tokens, grid)

    monkeypatch.setattr(module, "pool_tokens", stop)
    with pytest.raises(KeyboardInterrupt):
        import_features(source, out, benchmark, dtype="float32", shard_size=2)
    monkeypatch.undo()
    assert len(FeatureStore(out).clips) == 2
    report = import_features(source, out, benchmark, dtype="float32", shard_size=2)
    assert (report.stored, report.earlier) == (5, 2)
    check_store(out, audio, visual, FEW, np.float32)
    again = import_features(source, out, benchmark, dtype="float32", shard_size=2)
    assert (again.stored, again.earlier) == (5, 5)


def test_missing_extra_and_invalid_clips_are_reported(tmp_path, audio, visual):
    """Each clip that is not stored has its reason in failures.csv; extra clips are counted."""
    ids = IDS[:7]
    no_audio, no_visual, neither, broken, deaf, extra, good = ids
    some_audio, some_visual = some(audio, ids), some(visual, ids)
    del some_audio[no_audio], some_audio[neither], some_visual[no_visual], some_visual[neither]
    some_visual[broken] = np.full((1568, 768), np.nan, np.float32)
    some_audio[deaf] = np.full(768, np.inf, np.float32)
    source = files.unpacked(tmp_path / "source", npy_files(some_audio, some_visual))
    benchmark = files.benchmark_of([clip_id for clip_id in ids if clip_id != extra])
    report = import_features(source, tmp_path / "store", benchmark)
    check_store(tmp_path / "store", audio, visual, [good])
    reasons = {clip_id: failure.reason for clip_id, failure in read_failures(tmp_path / "store").items()}
    assert reasons == {
        no_audio: "not among the released audio features",
        no_visual: "not among the released visual features",
        neither: "neither among the released audio nor among the visual features",
        broken: "its released features contain NaN or infinity",
        deaf: "its released features contain NaN or infinity",
    }
    assert sum(report.failures.values()) == 5
    assert (report.extra_audio, report.extra_visual) == ((extra,), (extra,))
    assert "1 clips with audio features are not in the benchmark" in report.text()


@pytest.mark.parametrize(
    ("text", "shape"), [("8x7x7", (8, 49, 768)), ("4x14x2", (4, 28, 768)), ("8X1x1", (8, 1, 768))]
)
def test_tokens_are_pooled_by_area(tmp_path, audio, visual, text, shape):
    """Each stored token is the mean of the released tokens in its area."""
    ids, grid = FEW[:2], parse_grid(text)
    source = files.unpacked(tmp_path / "source", npy_files(some(audio, ids), some(visual, ids)))
    import_features(source, tmp_path / "store", files.benchmark_of(ids), grid=grid, dtype="float32")
    store = FeatureStore(tmp_path / "store")
    assert store.visual_shape == shape
    whole = visual[store.clips[0].clip_id].reshape(8, 14, 14, 768).astype(float)
    t, h, w = 8 // grid[0], 14 // grid[1], 14 // grid[2]
    last = whole[-t:, -h:, -w:].mean(axis=(0, 1, 2))
    assert np.allclose(store.visual([0])[0][-1, -1], last, atol=1e-5)
    with pytest.raises(InputError, match="another visual encoder"):
        import_features(source, tmp_path / "store", files.benchmark_of(ids), dtype="float32")


@settings(deadline=None, max_examples=20)
@given(st.sampled_from(["8", "4", "2", "1"]), st.sampled_from(["14", "7", "2", "1"]), st.integers(0, 9))
def test_pooling_keeps_the_mean(t, s, seed):
    """Averages over equal areas have the mean of all tokens."""
    tokens = np.random.default_rng(seed).standard_normal((1568, 3))
    assert np.allclose(pool_tokens(tokens, parse_grid(f"{t}x{s}x{s}")).mean(axis=(0, 1)), tokens.mean(axis=0))


@pytest.mark.parametrize(
    "text", ["", "8x14", "3x14x14", "8x14x5", "16x14x14", "0x7x7", "8x7x7x7", "8,7,7", "-8x7x7"]
)
def test_grids_that_do_not_divide_are_rejected(text):
    """The message lists the possible sizes."""
    with pytest.raises(InputError, match=r"T one of 1/2/4/8"):
        parse_grid(text)


def test_wrong_shape_dtype_or_benchmark_is_an_error(tmp_path, audio, visual):
    """Arrays of another shape or dtype, and files without clips of the benchmark, are not imported."""
    ids = FEW[:2]
    good_audio, good_visual = some(audio, ids), some(visual, ids)
    cases = [
        (good_audio, {ids[0]: np.zeros((1568, 767), np.float32)}, "shape"),
        (good_audio, {ids[0]: np.zeros((1568, 768), np.float64)}, "float64"),
        ({ids[0]: np.zeros((1, 768), np.float32)}, good_visual, "shape"),
        (some(audio, IDS[9:]), good_visual, "of this benchmark"),
        ({}, good_visual, "of this benchmark"),
    ]
    for number, (an_audio, a_visual, message) in enumerate(cases):
        source = files.unpacked(tmp_path / f"source{number}", npy_files(an_audio, a_visual))
        with pytest.raises(InputError, match=message):
            import_features(source, tmp_path / f"store{number}", files.benchmark_of(ids))


def test_memory_is_independent_of_the_number_of_clips(tmp_path, audio, visual):
    """For 20 clips of 4.8 MB (96 MB), the import holds a shard of 2 clips and a few arrays in memory."""
    ids = files.clip_ids(20)
    many = {clip_id: np.full((1568, 768), i, np.float32) for i, clip_id in enumerate(ids)}
    source = files.unpacked(tmp_path / "source", npy_files(files.audio_of(ids), many))
    del many
    tracemalloc.start()
    import_features(source, tmp_path / "store", files.benchmark_of(ids), shard_size=2)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert len(FeatureStore(tmp_path / "store").clips) == 20
    assert peak < 40 * 2**20


def test_import_without_complete_clips_is_an_error(tmp_path, audio):
    """If all clips lack visual features, the message counts the reasons."""
    source = files.unpacked(tmp_path / "source", npy_files(some(audio), {}))
    with pytest.raises(InputError, match="5 not among the released visual features"):
        import_features(source, tmp_path / "store", files.benchmark_of(FEW))


def test_import_features_command(tmp_path, capsys):
    """`avcil import-features` requires a source or --download, and rejects contradictory options."""
    from avcil.cli import import_features as verb

    for options, message in [
        ({}, "SOURCE"),
        ({"source": tmp_path, "download": True}, "SOURCE"),
        ({"source": tmp_path, "base_url": "http://x"}, "need --download"),
        ({"source": tmp_path, "grid": "3x3x3"}, "does not divide"),
    ]:
        with pytest.raises(InputError, match=message):
            verb.run(verb.Args(benchmark="ave-ci", out=tmp_path / "store", **options))


def test_commands_import_no_heavy_packages():
    """Help must be fast: the modules of the commands import neither torch nor numpy nor h5py."""
    code = (
        "import sys, avcil.cli.benchmark, avcil.cli.import_features;"
        "sys.exit(bool({'torch', 'numpy', 'h5py'} & set(sys.modules)))"
    )
    assert subprocess.run([sys.executable, "-c", code]).returncode == 0
