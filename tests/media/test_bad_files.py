"""Files that are not clips give a clear error for any content; no call blocks or raises an error of a library."""

from __future__ import annotations

import contextlib
import os
import random
import struct
import subprocess
import sys
import zlib

import av
import numpy as np
import pytest

import avcil.media.clip as clip_module
from avcil.errors import AvcilError, InputError
from avcil.media import ClipMedia, MediaError, probe, read_clip, write_video
from avcil.media.container import check_pyav, open_media
from avcil.media.frames import CONCEALED_DAMAGE
from avcil.media.timeline import timeline_of


@pytest.fixture(scope="module")
def small(tmp_path_factory, make):
    """A small clip with video and audio."""
    path = tmp_path_factory.mktemp("small") / "small.mp4"
    waveform = 0.3 * np.sin(np.arange(8000) / 5).astype(np.float32)
    write_video(path, (make.frame(i) for i in range(12)), 12, waveform=waveform, sample_rate=8000)
    return path


def assert_rejected(path, words):
    """Assert that both readers reject the file with its name and `words`."""
    for read in (lambda: read_clip(path, frames=2, sample_rate=8000), lambda: probe(path)):
        with pytest.raises(MediaError, match=words) as caught:
            read()
        assert str(path) in str(caught.value)
        assert caught.value.exit_code == 2


def test_missing_file_folder_and_empty_file(tmp_path):
    """Each has a message of its own."""
    assert_rejected(tmp_path / "nothing.mp4", "there is no file")
    (tmp_path / "link.mp4").symlink_to(tmp_path / "nothing.mp4")
    assert_rejected(tmp_path / "link.mp4", "is a link to a file that does not exist")
    assert_rejected(tmp_path, "is a folder")
    (tmp_path / "empty.mp4").touch()
    assert_rejected(tmp_path / "empty.mp4", "is empty")
    os.mkfifo(tmp_path / "pipe.mp4")
    assert_rejected(tmp_path / "pipe.mp4", "not a regular file")
    assert_rejected(tmp_path / ("a" * 400), "cannot be read|no file")


@pytest.mark.parametrize("seed", range(6))
def test_random_bytes(tmp_path, seed):
    """Random bytes are not a media file."""
    (tmp_path / "junk.mp4").write_bytes(random.Random(seed).randbytes(20_000))
    assert_rejected(tmp_path / "junk.mp4", "not a media file")


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("letter.mp4", "Dear reader,\nthis is no video.\n" * 50),
        ("letter.txt", "Dear reader,\nthis is no video.\n" * 50),
        ("art.ans", "\x1b[31mred\x1b[0m\n" * 50),
        ("list.csv", "path,label,split\na.mp4,dog,train\n"),
        ("live.mp4", "#EXTM3U\n#EXT-X-TARGETDURATION:10\n#EXTINF:10,\nhttp://127.0.0.1:9/a.ts\n"),
        ("live.m3u8", "#EXTM3U\n#EXT-X-TARGETDURATION:10\n#EXTINF:10,\nhttp://127.0.0.1:9/a.ts\n"),
        ("join.mp4", "ffconcat version 1.0\nfile small.mp4\n"),
        ("page.html", "<html><body>404 not found</body></html>"),
    ],
)
def test_text_files(tmp_path, name, text):
    """Text is not decoded as an image, and a playlist is not followed."""
    (tmp_path / name).write_text(text)
    assert_rejected(tmp_path / name, "not a media file|not a recording")


def test_file_names_are_not_interpreted(tmp_path, small):
    """A file name is never interpreted as a URL, a pattern or an option."""
    for name in ("http:", "concat:a|b.mp4", "%03d.mp4", "-i.mp4", "a b'\"🎺.mp4", "x?y#z.mp4"):
        path = tmp_path / name
        path.write_bytes(small.read_bytes())
        assert read_clip(path, frames=2).frames.shape[0] == 2


def test_huge_frame_size(tmp_path):
    """A small file that declares frames of 60000 x 60000 is rejected without allocating them."""

    def chunk(kind, data):
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = struct.pack(">IIBBBBB", 60000, 60000, 8, 2, 0, 0, 0)
    data = b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(bytes(1000)))
    (tmp_path / "bomb.png").write_bytes(data + chunk(b"IEND", b""))
    with pytest.raises(MediaError):
        read_clip(tmp_path / "bomb.png", frames=1)


def test_invalid_arguments(small):
    """Errors of arguments differ from errors of files."""
    for wrong in (
        {},
        {"frames": 0},
        {"frames": 2.5},
        {"frames": 2, "short_side": 0},
        {"sample_rate": -1},
        {"frames": 2, "start": -1.0},
        {"frames": 2, "start": 0.5, "end": 0.5},
        {"frames": 2, "start": float("nan")},
        {"frames": 2, "timeout": 0},
    ):
        with pytest.raises(InputError):
            read_clip(small, **wrong)


def test_time_range_outside_the_file(small):
    """A start after the end is an error; an end after the file's end gives a note."""
    with pytest.raises(MediaError, match="is after the end"):
        read_clip(small, frames=2, start=5.0)
    clip = read_clip(small, frames=2, sample_rate=8000, end=9.0)
    assert any("segment ends at 9 s" in problem for problem in clip.problems)


def test_only_requested_modalities(tmp_path, small, make):
    """Only requested modalities can be missing."""
    assert read_clip(small, frames=2).problems == ()
    assert read_clip(small, frames=2).waveform is None
    assert read_clip(small, sample_rate=8000).frames is None
    write_video(tmp_path / "mute.mp4", (make.frame(i) for i in range(5)), 25)
    assert read_clip(tmp_path / "mute.mp4", frames=2, sample_rate=8000).problems == ("no audio track",)
    with pytest.raises(MediaError, match="nothing usable: no audio track"):
        read_clip(tmp_path / "mute.mp4", sample_rate=8000)


def test_timeout(small):
    """Reading stops with an error when the time limit is reached."""
    with pytest.raises(MediaError, match="reading was stopped after"):
        read_clip(small, frames=2, timeout=1e-9)


def test_truncated_file(tmp_path, make):
    """A truncated file with the full duration in its header is sampled over the existing part, with a note."""
    path = tmp_path / "whole.mp4"
    frames = [np.random.default_rng(i).integers(0, 255, (32, 48, 3), dtype=np.uint8) for i in range(100)]
    make.track(path, frames, list(range(0, 4000, 40)), options={"movflags": "faststart"})
    data = path.read_bytes()
    half = tmp_path / "half.mp4"
    half.write_bytes(data[: len(data) // 2])
    clip = read_clip(half, frames=8)
    assert 1.5 < clip.duration < 2.5
    assert clip.frame_times[-1] < clip.duration
    assert len({frame.tobytes() for frame in clip.frames}) == 8
    assert any("track ends at" in problem and "of 4.00 s" in problem for problem in clip.problems)
    fixed = read_clip(half, frames=8, end=4.0)
    assert fixed.frame_times[-1] == 3.75
    assert any("track ends at" in problem for problem in fixed.problems)


def test_damaged_middle(tmp_path, make):
    """Packets that cannot be decoded are counted; the others are used."""
    path = tmp_path / "a.mkv"
    make.track(path, [make.frame(i) for i in range(60)], list(range(0, 2400, 40)), gop=5)
    data = bytearray(path.read_bytes())
    for position in range(len(data) // 3, 2 * len(data) // 3):
        data[position] = 0xFF
    path.write_bytes(data)
    clip = read_clip(path, frames=60)
    assert clip.problems
    assert make.number(clip.frames[0]) == 0


def test_mutated_bytes(tmp_path, small):
    """Each of 200 damaged copies gives a clip or a `MediaError` before the time limit, and no file stays open."""
    data, random_ = small.read_bytes(), random.Random(0)
    path, outcomes, timeouts = tmp_path / "mutant.mp4", {"clip": 0, "rejected": 0}, 0
    before = len(os.listdir("/proc/self/fd"))
    for _ in range(200):
        mutant = bytearray(data)
        for _ in range(random_.choice((1, 3, 10, 50))):
            mutant[random_.randrange(len(mutant))] = random_.randrange(256)
        if random_.random() < 0.3:
            del mutant[random_.randrange(len(mutant)) :]
        path.write_bytes(mutant)
        with contextlib.suppress(MediaError):
            assert probe(path).duration >= 0
        try:
            clip = read_clip(path, frames=4, sample_rate=8000, timeout=10)
        except MediaError as error:
            outcomes["rejected"] += 1
            timeouts += "reading was stopped after" in str(error)
            continue
        outcomes["clip"] += 1
        assert isinstance(clip, ClipMedia)
        assert clip.frames is not None or clip.waveform is not None
        assert (clip.frames is not None and clip.waveform is not None) or clip.problems
        if clip.waveform is not None:
            assert np.isfinite(clip.waveform).all()
    assert min(outcomes.values()) > 10, outcomes
    assert timeouts == 0
    assert len(os.listdir("/proc/self/fd")) == before


def readings(path, monkeypatch, error):
    """Ways to read a file in which `error` is raised after it was opened."""

    def broken(*_):
        raise error(1, "broken") if error is av.error.InvalidDataError else error("broken")

    monkeypatch.setattr(clip_module, "stream_info", broken)
    # the package exports a function under the same name as the module
    monkeypatch.setattr(sys.modules["avcil.media.probe"], "stream_info", broken)
    return lambda: read_clip(path, frames=2), lambda: probe(path)


@pytest.mark.parametrize("error", [av.error.InvalidDataError, OSError, MemoryError])
def test_library_and_system_errors_name_the_file(small, monkeypatch, error):
    """Every error of FFmpeg or the system becomes a `MediaError` with the name of the file."""
    for read in readings(small, monkeypatch, error):
        with pytest.raises(MediaError, match=small.name):
            read()


@pytest.mark.parametrize("error", [TypeError, AttributeError, IndexError, AssertionError])
def test_program_errors_are_raised_unchanged(small, monkeypatch, error):
    """An error in this program never becomes "not a media file"."""
    for read in readings(small, monkeypatch, error):
        with pytest.raises(error, match="broken"):
            read()


def test_removed_pyav_argument_is_a_program_error(small, monkeypatch):
    """With another version of PyAV that lacks an argument, every file was "not a media file"."""
    opened = av.open
    monkeypatch.setattr(av, "open", lambda file, *, options, timeout: opened(file, options=options))
    with pytest.raises(TypeError, match="metadata_errors"):
        probe(small)


@pytest.mark.parametrize("version", ["17.0.1", "18.0.0", "19.0.0", "20.1"])
def test_other_versions_of_pyav_are_rejected(version):
    """The message gives the installed version and the one to install."""
    with pytest.raises(AvcilError, match=rf"PyAV {version} is installed.*pip install 'av>="):
        check_pyav(version)
    check_pyav("18.1.0")
    check_pyav("18.2.0rc1")


def test_ffmpeg_writes_no_messages(tmp_path, small):
    """Reading a damaged file writes nothing to the terminal."""
    data = bytearray(small.read_bytes())
    for position in range(200, 3000, 7):
        data[position] = 0xFF
    (tmp_path / "bad.mp4").write_bytes(data)
    code = (
        "import sys; from avcil.media import read_clip, MediaError\n"
        "try: read_clip(sys.argv[1], frames=4, sample_rate=8000)\n"
        "except MediaError: pass\n"
    )
    done = subprocess.run([sys.executable, "-c", code, tmp_path / "bad.mp4"], capture_output=True, timeout=60)
    assert (done.returncode, done.stdout, done.stderr) == (0, b"", b"")


@pytest.mark.clips
def test_damaged_files_are_read_deterministically(tmp_path, real):
    """With changed bits that a decoder does not report, every reading gives the same frames, and a note."""
    path, data = tmp_path / "a.mp4", bytearray((real / "h265_10bits.mp4").read_bytes())
    for position, bit in ((13866, 64), (16537, 64), (20275, 128), (23916, 128), (27145, 32), (34815, 32)):
        data[position] ^= bit
    path.write_bytes(data)
    clips = [read_clip(path, frames=8, short_side=64) for _ in range(5)]
    assert len({clip.frames.tobytes() for clip in clips}) == 1
    assert {clip.problems for clip in clips} == {(CONCEALED_DAMAGE,)}


def test_tracks_are_read_while_the_file_is_open(small, monkeypatch):
    """Accessing the track of a closed file reads freed memory, with changing results."""
    opened = []

    @contextlib.contextmanager
    def watched(*arguments):
        with open_media(*arguments) as container:
            opened.append(container)
            yield container
            opened.remove(container)

    def asked(*arguments):
        assert opened
        return timeline_of(*arguments)

    monkeypatch.setattr(clip_module, "open_media", watched)
    monkeypatch.setattr(clip_module, "timeline_of", asked)
    assert read_clip(small, frames=2, sample_rate=8000).problems == ()
