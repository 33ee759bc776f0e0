"""Where released files are found, and what becomes of archives and files that are not as they should be."""

from __future__ import annotations

import io
import itertools
import random
import zipfile

import numpy as np
import pytest
import released_files as files
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from avcil.datasets.released.archive_parts import FileSlice, JoinedFile
from avcil.datasets.released.arrays import check_archive, read_arrays
from avcil.datasets.released.feature_files import Member, find_released
from avcil.errors import InputError

pytest.importorskip("h5py")

FEW = files.clip_ids(3)
THREE_PARTS = tuple(f"KS_features.zip.a{letter}" for letter in "abc")


def npy_files(audio, visual):
    return {files.AUDIO_PATH: files.npy_bytes(audio), files.VISUAL_PATH: files.npy_bytes(visual)}


def test_sources_that_are_not_there_or_ambiguous_are_named(tmp_path):
    """Nothing, an empty folder, two copies, a folder without the visual file."""
    protocol = files.benchmark_of(FEW).protocol
    content = {files.AUDIO_PATH: b"x", files.VISUAL_PATH: b"x"}
    (tmp_path / "empty").mkdir()
    for source, message in [
        (tmp_path / "nowhere", "does not exist"),
        (tmp_path / "empty", "there is no audio_pretrained"),
        (files.unpacked(tmp_path / "deaf", {files.AUDIO_PATH: b"x"}), "there is no visual_pretrained"),
        (files.unpacked(tmp_path / "two", content | {"copy/" + files.AUDIO_PATH: b"x"}), "several times"),
        (files.unpacked(tmp_path / "both", content | {files.H5_PATH: b"x"}), "several times"),
    ]:
        with pytest.raises(InputError, match=message):
            find_released(source, protocol)


def test_missing_parts_are_named(tmp_path):
    """A gap and a missing end; also of an archive that no benchmark knows."""
    for name in ("KS_features.zip.aa", "KS_features.zip.ac", "own.zip.aa", "own.zip.ac"):
        (tmp_path / name).write_bytes(b"x")
    protocol = files.benchmark_of(FEW, THREE_PARTS).protocol
    for source in (tmp_path / "KS_features.zip.ac", tmp_path / "own.zip.aa"):
        with pytest.raises(InputError, match=r"\.zip\.ab"):
            find_released(source, protocol)


def test_zip_traps_are_refused(tmp_path):
    """Paths that lead out, entries twice, encryption, exotic packing, no archive at all."""
    protocol = files.benchmark_of(FEW).protocol
    good = {files.AUDIO_PATH: b"x" * 99, files.VISUAL_PATH: b"y" * 99}
    base = files.AUDIO_PATH.rsplit("/", 1)[1]

    def trap(name, content, method=zipfile.ZIP_STORED):
        return files.zipped(tmp_path / name / "AVE_features.zip", content, method)

    encrypted = trap("encrypted", good)
    data = encrypted.read_bytes().replace(
        b"PK\x01\x02\x14\x03\x14\x00\x00", b"PK\x01\x02\x14\x03\x14\x00\x01"
    )
    encrypted.write_bytes(data)
    junk = tmp_path / "junk.zip"
    junk.write_bytes(b"no archive" * 100)
    for source, message in [
        (trap("up", {f"../../{base}": b"x", files.VISUAL_PATH: b"y"}), "outside of its folder"),
        (trap("root", {f"/{base}": b"x", files.VISUAL_PATH: b"y"}), "outside of its folder"),
        (trap("twice", good | {f"more/{base}": b"x"}), "several times"),
        (trap("lacks", {files.AUDIO_PATH: b"x"}), "there is no visual_pretrained"),
        (trap("packed", good, zipfile.ZIP_BZIP2), "method 12"),
        (encrypted, "encrypted"),
        (junk, "damaged"),
    ]:
        with pytest.raises(InputError, match=message):
            find_released(source, protocol)
    noise = trap("noise", good | {f"__MACOSX/a/{base}": b"x"})
    assert find_released(noise, protocol).audio.size == 99


def damaged(content, seed, places):
    """The content with a few bytes changed at `places`, or cut short."""
    chance = random.Random(seed)
    data = bytearray(content)
    if chance.random() < 0.15:
        del data[chance.randrange(len(data)) :]
        return bytes(data)
    for _ in range(chance.randint(1, 4)):
        data[chance.choice(places)] = chance.randrange(256)
    return bytes(data)


@pytest.mark.parametrize("form", ["npy", "h5"])
def test_damaged_feature_files_end_in_arrays_or_a_clear_error(tmp_path, form):
    """Bytes changed in the structure around the numbers: never a crash or an array of another form."""
    visual = files.visual_of(FEW[:1])
    content = files.npy_bytes(visual) if form == "npy" else files.h5_bytes(visual)
    places = [*range(700 if form == "npy" else 2500), *range(len(content) - 60, len(content))]
    path = tmp_path / ("visual_pretrained_feature_dict.npy" if form == "npy" else "visual_features.h5")
    errors = 0
    for seed in range(60):
        path.write_bytes(damaged(content, seed, places))
        member = Member(name=str(path), paths=(path,))
        try:
            for clip_id, values in read_arrays(member, (1568, 768), lambda _: True, tmp_path):
                assert isinstance(clip_id, str)
                assert (values.shape, values.dtype) == ((1568, 768), np.float32)
        except InputError:
            errors += 1
    assert errors > 10


def test_damaged_archives_end_in_their_content_or_a_clear_error(tmp_path):
    """Bytes changed anywhere in an archive: its lists, its headers, its data."""
    small = {"x": np.arange(9, dtype=np.float32)}
    for method in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
        path = files.zipped(tmp_path / "AVE_features.zip", npy_files(small, small), method)
        content, errors = path.read_bytes(), 0
        for seed in range(300):
            path.write_bytes(damaged(content, seed, range(len(content))))
            try:
                member = find_released(path, files.benchmark_of(FEW).protocol).visual
                check_archive(member)
                assert [name for name, _ in read_arrays(member, (9,), lambda _: True, tmp_path)] == ["x"]
            except InputError:
                errors += 1
        assert errors > 100


@settings(deadline=None, max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.data())
def test_joined_parts_read_like_the_whole(tmp_path, data):
    """Any cut, any seek, any read: parts behave as the file they were, and a window as its stretch."""
    content = data.draw(st.binary(min_size=1, max_size=60))
    cuts = sorted(data.draw(st.lists(st.integers(0, len(content)), max_size=3)))
    edges = [0, *cuts, len(content)]
    paths = []
    for number, (start, end) in enumerate(itertools.pairwise(edges)):
        paths.append(tmp_path / f"part{number}")
        paths[-1].write_bytes(content[start:end])
    start = data.draw(st.integers(0, len(content)))
    size = data.draw(st.integers(0, len(content) - start))
    with io.BufferedReader(JoinedFile(paths), 7) as joined, JoinedFile(paths) as inner:
        window = io.BufferedReader(FileSlice(io.BufferedReader(inner), start, size), 5)
        for file, whole in (
            (joined, io.BytesIO(content)),
            (window, io.BytesIO(content[start : start + size])),
        ):
            for _ in range(4):
                place, count = data.draw(st.integers(0, 70)), data.draw(st.integers(0, 70))
                assert file.seek(place) == whole.seek(place)
                assert file.read(count) == whole.read(count)
                assert file.tell() == whole.tell()
            assert file.seek(-1, io.SEEK_END) == whole.seek(-1, io.SEEK_END) if whole.getvalue() else True
