"""From downloaded videos to the clip list of a published benchmark and the list of missing clips."""

from __future__ import annotations

import pytest
from synthetic_release import write_release

from avcil.datasets import protocols
from avcil.datasets.coverage import coverage, summary
from avcil.datasets.raw_videos import scan_benchmark
from avcil.datasets.split_files import SplitClip
from avcil.errors import InputError

LABELS = ("Cat", "Train horn")
SPLITS = ("train", "train", "val", "test")
VIDEOS = {
    label: [f"{'-' if number % 2 else 'v'}{letter}_-{number:07d}" for number in range(len(SPLITS))]
    for label, letter in zip(LABELS, "ab", strict=True)
}
AVE_CLIPS = {
    video: SplitClip(label, split)
    for label in LABELS
    for video, split in zip(VIDEOS[label], SPLITS, strict=True)
}
FIRST, DASHED, *_ = AVE_CLIPS


def reasons(problems: tuple) -> dict[str, str]:
    return {problem.path.name: problem.reason for problem in problems}


def test_clip_list_has_labels_of_the_release(benchmark, place) -> None:
    """Labels and splits are found by id; folder names are ignored."""
    ave = benchmark("ave-ci", AVE_CLIPS)
    folder = place("clip.mp4", *(f"AVE_Dataset/AVE/{video}.mp4" for video in AVE_CLIPS))
    result = scan_benchmark(folder, ave)
    assert {clip.clip_id: SplitClip(clip.label, clip.split) for clip in result.clips} == AVE_CLIPS
    assert all(clip.path.stem == clip.clip_id and clip.start is clip.end is None for clip in result.clips)
    assert (result.missing, result.left_out, result.remarks) == ({}, (), ())
    assert "8 of 8 clips of ave-ci found" in summary(result)


def test_damaged_duplicate_and_unknown_files(benchmark, place) -> None:
    """Empty files and files truncated at two places are listed; of two files the readable one is used."""
    ave = benchmark("ave-ci", AVE_CLIPS)
    ids = list(AVE_CLIPS)
    folder = place(
        "clip.mp4", f"{ids[0]}.mp4", f"again/{ids[0]}.mp4", f"Cat/{ids[1]}.mp4", "me.mp4", "x" * 11 + ".mp4"
    )
    place("damaged.mp4", f"{ids[1]}.mp4", f"{ids[2]}.mp4")
    place("empty.mp4", f"{ids[3]}.mp4")
    place("truncated.mkv", f"{ids[4]}.mkv")
    place("silent.mp4", f"v_{ids[5]}.mp4")
    (folder / "Annotations.txt").write_text("Category&VideoID&Quality&StartTime&EndTime\n")
    result = scan_benchmark(folder, ave)
    paths = {clip.clip_id: clip.path.relative_to(folder).as_posix() for clip in result.clips}
    assert paths == {ids[0]: f"{ids[0]}.mp4", ids[1]: f"Cat/{ids[1]}.mp4", ids[5]: f"v_{ids[5]}.mp4"}
    unusable = reasons(result.unusable)
    assert set(unusable) == {f"{ids[1]}.mp4", f"{ids[2]}.mp4", f"{ids[3]}.mp4", f"{ids[4]}.mkv"}
    assert unusable[f"{ids[3]}.mp4"] == "is empty (0 bytes)"
    assert unusable[f"{ids[4]}.mkv"].startswith("truncated: the file lasts")
    assert reasons(result.duplicates) == {f"{ids[0]}.mp4": f"clip {ids[0]} is taken from {ids[0]}.mp4"}
    assert reasons(result.without_id) == {"me.mp4": "its name contains no YouTube id"}
    assert reasons(result.other_videos) == {"x" * 11 + ".mp4": "not in ave-ci"}
    assert (result.missing_tracks, result.ignored) == ({"video": 0, "audio": 1}, {".txt": 1})
    without_file = {clip_id for clip_id, reason in result.missing.items() if reason == "no file"}
    assert without_file == {ids[6], ids[7]}
    assert result.missing.keys() - without_file == {ids[2], ids[3], ids[4]}
    assert len(result.left_out) == 7
    assert coverage(result)["Cat"] == {"train": (2, 2), "val": (0, 1), "test": (0, 1)}
    text = summary(result)
    assert "no test clip of 2 classes ('Cat', 'Train horn')" in text
    assert "missing clips: 2 without a file, 3 without a usable file" in text


def test_file_with_both_modalities_is_preferred(benchmark, place) -> None:
    """Data sets often have separate audio files or copies without audio."""
    ave = benchmark("ave-ci", AVE_CLIPS)
    place("silent.mp4", f"a/{FIRST}.mp4")
    result = scan_benchmark(place("clip.mp4", f"b/{FIRST}.mp4"), ave)
    assert result.clips[0].path.parent.name == "b"
    assert result.duplicates[0].path.parent.name == "a"


VIDEO = "-ab_cd-ef_g"
VGGSOUND = {
    f"{VIDEO}_000005": SplitClip("Cat", "train"),
    f"{VIDEO}_000030": SplitClip("Cat", "test"),
    f"{VIDEO}_000300": SplitClip("Cat", "val"),
    "a0000000000_000010": SplitClip("Cat", "train"),
}


def test_clips_as_parts_of_whole_videos(benchmark, place) -> None:
    """The length of a file without a start in its name tells a whole video from a single clip."""
    vggsound = benchmark("vs100-ci", VGGSOUND)
    place("whole.mp4", f"{VIDEO}.mp4")
    result = scan_benchmark(place("clip.mp4", "a0000000000.mp4"), vggsound)
    assert {clip.clip_id: (clip.start, clip.end) for clip in result.clips} == {
        f"{VIDEO}_000005": (5.0, 15.0),
        f"{VIDEO}_000030": (30.0, 40.0),
        "a0000000000_000010": (None, None),
    }
    assert "lasts 45.0 s, but the clip begins at 300 s" in result.missing[f"{VIDEO}_000300"]
    assert result.unusable == (), "the file is used for other clips"
    assert "clips that are a part of a whole video, by their times: 2" in summary(result)
    place("clip.mp4", f"{VIDEO}.mp4")
    unclear = scan_benchmark(place("clip.mp4", f"{VIDEO}_000030.mp4"), vggsound)
    assert {clip.clip_id for clip in unclear.clips} == {f"{VIDEO}_000030", "a0000000000_000010"}
    assert "3 clips of the benchmark are parts of its video" in unclear.missing[f"{VIDEO}_000005"]


def test_truncated_files_with_most_of_the_clip_are_used(benchmark, place) -> None:
    """Most of the clip, or a whole video truncated after the clip, is used with a note."""
    ave = benchmark("ave-ci", AVE_CLIPS)
    result = scan_benchmark(place("nearly.mkv", f"{FIRST}.mkv"), ave)
    assert [clip.clip_id for clip in result.clips] == [FIRST]
    assert "the file lasts 8.13 s, but its header declares 10.13 s" in result.remarks[0].reason


def test_truncated_videos(benchmark, place) -> None:
    """22 of 45 s: the clip at 5 s is complete, the clip at 30 s is missing."""
    vggsound = benchmark("vs100-ci", VGGSOUND)
    result = scan_benchmark(place("half.mkv", f"{VIDEO}.mkv"), vggsound)
    assert [(clip.clip_id, clip.start, clip.end) for clip in result.clips] == [(f"{VIDEO}_000005", 5.0, 15.0)]
    assert "truncated: it lasts 2" in result.missing[f"{VIDEO}_000030"]


def test_unexpected_lengths_are_noted(benchmark, place, tmp_path) -> None:
    """A whole video of AVE or Kinetics cannot be cut without the times of the annotations."""
    ave = benchmark("ave-ci", AVE_CLIPS)
    folder = place("whole.mp4", f"{DASHED}.mp4")
    result = scan_benchmark(folder, ave)
    assert "it lasts 45.0 s" in result.remarks[0].reason
    assert "--times" in result.remarks[0].reason
    (tmp_path / "times.csv").write_text(f"{DASHED}, 20.000, 30.000, x\n")
    clip = scan_benchmark(folder, ave, times=tmp_path / "times.csv").clips[0]
    assert (clip.start, clip.end) == (20.0, 30.0)


def test_folders_of_other_data_sets(benchmark, place, tmp_path) -> None:
    """The error has the recognized name patterns, example names, or the benchmark that fits."""
    ave = benchmark("ave-ci", AVE_CLIPS)
    with pytest.raises(InputError, match="does not exist; give the folder with the videos"):
        scan_benchmark(tmp_path / "videos", ave)
    (tmp_path / "videos").mkdir()
    with pytest.raises(InputError, match="is empty; give the folder with the videos"):
        scan_benchmark(tmp_path / "videos", ave)
    folder = place("clip.mp4", "holiday.mp4", "xxxxxxxxxxx_000010.mp4")
    with pytest.raises(InputError) as error:
        scan_benchmark(folder, ave)
    assert "found: 1 with YouTube ids or start seconds that it does not contain (such as xxxxx" in str(
        error.value
    )
    assert "and 1 without a YouTube id in the name (such as holiday.mp4)" in str(error.value)
    assert "Recognized names: ID.mp4 (AVE), ID_START.mp4 (VGGSound)" in str(error.value)


def test_wrong_benchmark_option(benchmark, place, tmp_path, avcil, monkeypatch, capsys) -> None:
    """The error names the right benchmark if its split files are in the cache."""
    benchmark("ave-ci", AVE_CLIPS)
    plans = dict(protocols.PROTOCOLS)
    other = {f"other{number:06d}": SplitClip("Cat", "train") for number in range(2)}
    plans["ks-ci"] = write_release(tmp_path / "release", "ks-ci", other)
    monkeypatch.setattr(protocols, "PROTOCOLS", plans)
    for name in plans:
        assert avcil("benchmark", "fetch", name, "--from", tmp_path / "release") == 0
    folder = place("clip.mp4", f"{FIRST}.mp4")
    assert avcil("scan", folder, "--benchmark", "ks-ci", "--out", tmp_path / "clips.csv") == 2
    assert "The folder has 1 clips of ave-ci: use --benchmark ave-ci" in capsys.readouterr().err
    assert not (tmp_path / "clips.csv").exists()
