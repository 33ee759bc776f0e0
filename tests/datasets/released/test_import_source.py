"""Finding released files, and errors for missing, ambiguous, damaged and malicious archives."""

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


def test_missing_and_ambiguous_sources(tmp_path):
    """A missing folder, an empty folder, two copies, and a folder without the visual file."""
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


def test_missing_parts(tmp_path):
    """A missing middle or last part is an error, also for an archive of an unknown benchmark."""
    for name in ("KS_features.zip.aa", "KS_features.zip.ac", "own.zip.aa", "own.zip.ac"):
        (tmp_path / name).write_bytes(b"x")
    protocol = files.benchmark_of(FEW, THREE_PARTS).protocol
    for source in (tmp_path / "KS_features.zip.ac", tmp_path / "own.zip.aa"):
        with pytest.raises(InputError, match=r"\.zip\.ab"):
            find_released(source, protocol)


def test_malicious_zip_files_are_rejected(tmp_path):
    """Paths outside the folder, duplicate entries, encryption, unknown compression, and no zip file."""
    protocol = files.benchmark_of(FEW).protocol
    good = {files.AUDIO_PATH: b"x" * 99, files.VISUAL_PATH: b"y" * 99}
    base = files.AUDIO_PATH.rsplit("/", 1)[1]

    def zipped(name, content, method=zipfile.ZIP_STORED):
        return files.zipped(tmp_path / name / "AVE_features.zip", content, method)

    encrypted = zipped("encrypted", good)
    data = encrypted.read_bytes().replace(
        b"PK\x01\x02\x14\x03\x14\x00\x00", b"PK\x01\x02\x14\x03\x14\x00\x01"
    )
    encrypted.write_bytes(data)
    junk = tmp_path / "junk.zip"
    junk.write_bytes(b"no archive" * 100)
    for source, message in [
        (zipped("up", {f"../../{base}": b"x", files.VISUAL_PATH: b"y"}), "outside of its folder"),
        (zipped("root", {f"/{base}": b"x", files.VISUAL_PATH: b"y"}), "outside of its folder"),
        (zipped("twice", good | {f"more/{base}": b"x"}), "several times"),
        (zipped("lacks", {files.AUDIO_PATH: b"x"}), "there is no visual_pretrained"),
        (zipped("packed", good, zipfile.ZIP_BZIP2), "method 12"),
        (encrypted, "encrypted"),
        (junk, "damaged"),
    ]:
        with pytest.raises(InputError, match=message):
            find_released(source, protocol)
    noise = zipped("noise", good | {f"__MACOSX/a/{base}": b"x"})
    assert find_released(noise, protocol).audio.size == 99


def damaged(content, seed, places):
    """The content with a few changed bytes at `places`, or truncated."""
    chance = random.Random(seed)
    data = bytearray(content)
    if chance.random() < 0.15:
        del data[chance.randrange(len(data)) :]
        return bytes(data)
    for _ in range(chance.randint(1, 4)):
        data[chance.choice(places)] = chance.randrange(256)
    return bytes(data)


@pytest.mark.parametrize("form", ["npy", "h5"])
def test_damaged_feature_files_raise_only_input_errors(tmp_path, form):
    """Changed bytes around the numbers give an InputError or an array of the expected form."""
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


def test_damaged_archives_raise_only_input_errors(tmp_path):
    """Changed bytes in the directory, headers or data give an InputError or the original content."""
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
def test_joined_parts_equal_the_whole_file(tmp_path, data):
    """For any split, seek and read, the parts behave like the original file, and a window like its range."""
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
