"""Extraction: every clip is stored or reported, and an interruption does not change the result.  Media and
encoders are replaced: features of a clip depend on its file name, and a name that contains a word such as
"silent" selects a behavior. Shapes: frames (2, 4, 4, 3), audio (8,), tokens (2, 1, 3), vector (4,)."""

import subprocess
import sys
import textwrap
import types
from pathlib import Path

import numpy as np
import pytest

from avcil.data.clips import Clip
from avcil.encoders.base import AudioEncoder, VisualEncoder
from avcil.errors import InputError
from avcil.extraction.extract import extract as run
from avcil.features import FeatureStore
from avcil.features.failures import read_failures
from avcil.features.verify import verify


def fake_read_clip(
    path, *, frames, short_side, sample_rate, start, end, frame_choice, extra_samplings, timeout
):
    name = Path(path).stem
    number = int("".join(filter(str.isdigit, name)))
    if "gone" in name:
        raise InputError(f"there is no file {path}")
    if "odd" in name:
        raise RuntimeError("unforeseen")
    pictures = None if "blind" in name or frames is None else np.full((2, 4, 4, 3), number % 256, np.uint8)
    waveform = None if "silent" in name or sample_rate is None else np.full(8, number / 100, np.float32)
    problems = {"silent": ("no audio track",), "blind": ("no video track",), "short": ("track ends at 2 s",)}
    message = next((text for word, text in problems.items() if word in name), ())
    return types.SimpleNamespace(
        frames=pictures, extra_frames=(), waveform=waveform, problems=message, duration=1.0
    )


class Tokens(VisualEncoder):
    name = "tokens"
    frames, short_side, token_grid, width = 2, 4, (2, 1), 3

    def encode(self, clips):
        if any(clip[0, 0, 0, 0] == 13 for clip in clips):
            raise ValueError("unlucky")
        return np.stack([np.full((2, 1, 3), clip.mean(), np.float32) for clip in clips])

    def fingerprint(self):
        return {"name": "tokens", "version": 1, "options": {}, "weights": None}


class Vector(AudioEncoder):
    name = "vector"
    sample_rate, width = 100, 4

    def encode(self, clips):
        scale = np.float32(1e9 if any(clip[0] == np.float32(0.17) for clip in clips) else 1)
        return np.stack([np.full(4, clip[0], np.float32) for clip in clips]) * scale

    def fingerprint(self):
        return {"name": "vector", "version": 1, "options": {}, "weights": None}


def clips_of(*names):
    return [
        Clip(clip_id=name, path=Path(f"/clips/{name}.mp4"), label="ab"[n % 2], split="train")
        for n, name in enumerate(names)
    ]


@pytest.fixture(autouse=True)
def media(monkeypatch):
    monkeypatch.setattr("avcil.media.read_clip", fake_read_clip)


def go(out, clips, **options):
    return run(clips, out, visual=Tokens(), audio=Vector(), isolate=False, **options)


def test_each_clip_is_stored_or_reported(tmp_path):
    """For damaged files, missing tracks and a failing encoder, other clips are stored, and the report has the
    reasons."""
    names = ["1", "2silent", "3blind", "4gone", "5odd", "13", "6short", "7"]
    report = go(tmp_path / "f", clips_of(*names))
    held = FeatureStore(tmp_path / "f")
    assert [c.clip_id for c in held.clips] == ["1", "6short", "7"]
    assert held.visual([0, 2])[:, 0, 0, 0].tolist() == [1, 7]
    assert held.audio([2])[0, 0] == np.float16(0.07)
    listed = {f.clip_id: f.reason for f in read_failures(tmp_path / "f").values()}
    assert listed == {
        "2silent": "no audio track",
        "3blind": "no video track",
        "4gone": "there is no file",
        "5odd": "RuntimeError: unforeseen",
        "13": "it cannot be encoded: ValueError: unlucky",
    }
    assert read_failures(tmp_path / "f")["13"].tried == "2 frames of short side 4, audio at 100 Hz"
    assert (report.listed, report.stored, report.new, len(report.failed)) == (8, 3, 3, 5)
    assert report.remarks == (("6short", "track ends at 2 s"),)
    assert [c.remark for c in held.clips] == ["", "track ends at 2 s", ""]
    for message in (
        "3 of 8 clips",
        "could not be stored: 5",
        "no audio track (such as '2silent')",
        "learn from the 2 clips that lack audio or frames as well",
        "track ends at 2 s",
    ):
        assert message in report.text()


def test_too_large_values_are_reported(tmp_path):
    """A value beyond float16 fails this clip of the batch and not the others."""
    report = go(tmp_path, clips_of("1", "17"), batch_size=1)
    assert [(f.clip_id, "more than the maximum of float16" in f.reason) for f in report.failed] == [
        ("17", True)
    ]
    assert not go(tmp_path / "wide", clips_of("1", "17"), batch_size=1, dtype="float32").failed


def test_missing_modality_keep_and_fail(tmp_path):
    """keep stores clips that lack a modality, with a mark; fail stops and keeps the stored clips."""
    names = ["1", "2silent", "3blind", "4gone", "5"]
    report = go(tmp_path / "keep", clips_of(*names), missing="keep")
    held = FeatureStore(tmp_path / "keep")
    assert [(c.clip_id, c.visual, c.audio) for c in held.clips] == [
        ("1", True, True),
        ("2silent", True, False),
        ("3blind", False, True),
        ("5", True, True),
    ]
    presence = held.presence([2, 0, 1])
    assert presence.visual.tolist() == [False, True, True]
    assert presence.audio.tolist() == [True, True, False]
    assert [f.clip_id for f in report.failed] == ["4gone"]
    for _ in range(2):  # the same command stops again and does not skip the clip
        with pytest.raises(InputError, match=r"'2silent'.*no audio track.*--missing skip or keep"):
            go(tmp_path / "fail", clips_of(*names), missing="fail", batch_size=1)
    assert [c.clip_id for c in FeatureStore(tmp_path / "fail").clips] == ["1"]


def test_repeated_command(tmp_path):
    """Stored clips are not read again, failed ones only if requested."""
    names = ["1", "2silent", "3"]
    go(tmp_path, clips_of(*names))
    mark = FeatureStore(tmp_path).fingerprint
    again = go(tmp_path, clips_of(*names))
    assert (again.new, again.stored, again.not_tried, len(again.failed)) == (0, 2, 1, 1)
    assert "not retried: 1; --retry-failed" in again.text()
    assert FeatureStore(tmp_path).fingerprint == mark
    tried = go(tmp_path, clips_of(*names), retry_failed=True)
    assert (tried.not_tried, len(tried.failed)) == (0, 1)


def test_repaired_file_is_stored_on_retry(tmp_path, monkeypatch):
    """It is removed from the list of failures."""
    clips = clips_of("1", "2silent")
    go(tmp_path, clips)
    monkeypatch.setattr("avcil.media.read_clip", lambda path, **o: fake_read_clip("2", **o))
    report = go(tmp_path, clips, retry_failed=True)
    assert (report.stored, report.new, report.failed) == (2, 1, ())
    assert not (tmp_path / "failures.csv").exists()


def test_batches_do_not_depend_on_interruptions(tmp_path, monkeypatch):
    """An encoder that depends on the batch gives the same features after Ctrl-C."""

    class Mean(Vector):
        def encode(self, clips):
            return np.stack([np.full(4, np.mean([c[0] for c in clips]), np.float32)] * len(clips))

    clips = clips_of(*map(str, range(20, 50)))
    options = {"visual": "none", "audio": Mean(), "batch_size": 4, "shard_size": 6, "workers": 2}
    run(clips, tmp_path / "whole", isolate=False, **options)

    def interrupt(path, **o):
        if Path(path).stem == "37":
            raise KeyboardInterrupt
        return fake_read_clip(path, **o)

    monkeypatch.setattr("avcil.media.read_clip", interrupt)
    with pytest.raises(KeyboardInterrupt):
        run(clips, tmp_path / "parts", isolate=False, **options)
    monkeypatch.setattr("avcil.media.read_clip", fake_read_clip)
    assert len(FeatureStore(tmp_path / "parts")) == 16
    run(clips, tmp_path / "parts", isolate=False, **options)
    assert FeatureStore(tmp_path / "parts").fingerprint == FeatureStore(tmp_path / "whole").fingerprint


def test_no_usable_clip_is_an_error(tmp_path):
    """The error has the reasons; an empty store would fail later."""
    with pytest.raises(
        InputError, match=r"no clip could be stored(.|\n)*2  no audio track(.|\n)*--retry-failed"
    ):
        go(tmp_path, clips_of("1silent", "2silent"))


def test_changed_label_of_a_stored_clip(tmp_path):
    """A clip list with another label than the store is an error."""
    go(tmp_path, clips_of("1", "2"))
    with pytest.raises(
        InputError, match=r"clip '2' is stored in .* with label 'b', but the clip list has 'a'"
    ):
        go(tmp_path, clips_of("2"))


@pytest.mark.parametrize("modality", ["visual", "audio"])
def test_unused_modality_is_not_read(tmp_path, modality):
    """With one modality set to none, clips without it are stored."""
    encoders = {"visual": "none", "audio": "none"} | {
        modality: {"visual": Tokens(), "audio": Vector()}[modality]
    }
    report = run(
        clips_of("1", "2silent" if modality == "visual" else "2blind"), tmp_path, isolate=False, **encoders
    )
    assert report.stored == 2
    assert list(FeatureStore(tmp_path).manifest.arrays()) == [modality]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"visual": "patch-motoin"}, "did you mean patch-motion"),
        ({"audio": "logmel"}, "did you mean log-mel"),
        ({"visual": "none", "audio": "none"}, "needs visual features, audio features or both"),
        ({"missing": "drop"}, "skip, keep, fail; not 'drop'"),
        ({"missing": "zero"}, "Use keep"),
        ({"dtype": "int8"}, "float16 or float32, not 'int8'"),
        ({"workers": 0}, "workers must be 1 or more"),
        ({"shard_size": 0}, "shard_size must be 1 or more"),
    ],
)
def test_invalid_arguments(tmp_path, options, message):
    """They are checked before anything is written."""
    with pytest.raises(InputError, match=message):
        run(clips_of("1"), tmp_path / "f", **({"visual": Tokens(), "audio": Vector()} | options))
    assert not (tmp_path / "f").exists()


def test_memory_is_limited(tmp_path, monkeypatch):
    """The number of clips that are read before encoding is limited."""
    read, ahead = [], []
    monkeypatch.setattr(
        "avcil.media.read_clip", lambda path, **o: read.append(path) or fake_read_clip(path, **o)
    )

    class Slow(Vector):
        done = 0

        def encode(self, clips):
            self.done += len(clips)
            ahead.append(len(read) - self.done)
            return super().encode(clips)

    run(
        clips_of(*map(str, range(20, 150))),
        tmp_path,
        visual="none",
        audio=Slow(),
        batch_size=4,
        workers=3,
        isolate=False,
    )
    assert max(ahead) <= 4 + 3 + 1


def test_no_lock_file_remains(tmp_path):
    """Only the store remains on the disk."""
    go(tmp_path, clips_of("1", "2"))
    names = {path.name for path in tmp_path.rglob("*") if path.is_file()}
    assert {name for name in names if not name.endswith(".safetensors")} == {"manifest.json", "index.jsonl"}


KILLED = """
    import importlib.util, os, signal, sys
    spec = importlib.util.spec_from_file_location("stand_ins", sys.argv[1])
    stand_ins = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(stand_ins)
    import avcil.media
    from avcil.features import writer
    avcil.media.read_clip = stand_ins.fake_read_clip
    writer.SECONDS_BETWEEN_LISTS = 0.0
    left = [int(sys.argv[3])]

    def counted(real):
        def call(*arguments, **options):
            left[0] -= 1
            if left[0] == 0:
                os.kill(os.getpid(), signal.SIGKILL)
            return real(*arguments, **options)
        return call

    for name in ("fsync", "replace", "write", "open", "unlink", "close"):
        setattr(os, name, counted(getattr(os, name)))
    clips = stand_ins.clips_of(*stand_ins.KILL_NAMES)
    stand_ins.go(sys.argv[2], clips, batch_size=2, shard_size=4, workers=2)
    print(int(sys.argv[3]) - left[0])
"""
KILL_NAMES = ["21", "22silent", *map(str, range(23, 35)), "35gone", "36"]


def extract_and_die(out, point):
    """Extract in another process that kills itself before the change number `point` on the disk (0 is never)."""
    command = [sys.executable, "-c", textwrap.dedent(KILLED), __file__, str(out), str(point)]
    return subprocess.run(command, capture_output=True, text=True, check=False)


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """The store of an uninterrupted extraction, and its number of changes on the disk."""
    out = tmp_path_factory.mktemp("whole") / "f"
    return out, int(extract_and_die(out, 0).stdout)


@pytest.mark.parametrize("part", [0.03, 0.2, 0.45, 0.7, 0.97])
def test_kill_at_any_change_and_resume(tmp_path, whole, part):
    """After SIGKILL between any two changes on the disk, twice, the same command gives the same store."""
    undisturbed, changes = whole
    for point in (max(1, round(part * changes)), 5):
        assert extract_and_die(tmp_path, point).returncode == -9
    assert extract_and_die(tmp_path, 0).returncode == 0
    assert verify(tmp_path).is_intact
    assert FeatureStore(tmp_path).fingerprint == FeatureStore(undisturbed).fingerprint
    assert (tmp_path / "failures.csv").read_text() == (undisturbed / "failures.csv").read_text()
    assert len(list((tmp_path / "shards").iterdir())) == len(
        (tmp_path / "index.jsonl").read_text().splitlines()
    )
