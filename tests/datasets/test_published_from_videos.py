"""Published benchmarks from raw videos with commands: scan, extract, train, and the list of missing videos."""

from __future__ import annotations

import csv
import json
import re
import shlex
import subprocess
from pathlib import Path

import pytest

from avcil.datasets.split_files import SplitClip

LABELS = ("Cat", "Train horn")
SPLITS = ("train", "train", "train", "val", "test")
CLIPS = {
    f"{'-' if number % 2 else '_'}{letter}{number}-_-_-_-_": SplitClip(label, split)
    for label, letter in zip(LABELS, "ab", strict=True)
    for number, split in enumerate(SPLITS)
}
MISSING, DAMAGED = list(CLIPS)[1], list(CLIPS)[6]
URL = "https://www.youtube.com/watch?v="


@pytest.fixture
def videos(benchmark, place, tmp_path: Path, avcil) -> Path:
    """K-S-CI with ten synthetic clips, its split files in the cache, and a folder with nine of them, one damaged."""
    benchmark("ks-ci", CLIPS)
    assert avcil("benchmark", "fetch", "ks-ci", "--from", tmp_path / "release") == 0
    for clip_id, clip in CLIPS.items():
        if clip_id not in (MISSING, DAMAGED):
            place("clip.mp4", f"{clip.split}/{clip.label.replace(' ', '_')}/{clip_id}_000030_000040.mp4")
    return place("damaged.mp4", f"train/{DAMAGED}_000030_000040.mp4")


def urls(text: str) -> list[str]:
    """What yt-dlp reads from a batch file: nonempty lines that are not comments."""
    return [line.strip() for line in text.splitlines() if line.strip() and line.strip()[0] not in "#;]"]


def test_scan_extract_and_train(videos: Path, tmp_path: Path, avcil, capsys) -> None:
    """Training finds labels, splits and steps of the benchmark by the ids in the clip list."""
    listed, store, run = tmp_path / "clips.csv", tmp_path / "store", tmp_path / "run"
    assert avcil("scan", videos, "--benchmark", "ks-ci", "--out", listed) == 0
    out = capsys.readouterr().out
    assert "8 of 10 clips of ks-ci found" in out
    assert re.search(r"^  Train horn +2/3 +1/1 +1/1$", out, re.MULTILINE)
    with open(tmp_path / "clips.missing.csv", newline="", encoding="utf-8") as file:
        missing = {
            row["clip_id"]: (row["label"], row["split"], row["reason"]) for row in csv.DictReader(file)
        }
    assert missing.keys() == {MISSING, DAMAGED}
    assert missing[MISSING] == ("Cat", "train", "no file")
    assert f"{DAMAGED}_000030_000040.mp4" in (tmp_path / "clips.problems.csv").read_text()
    assert not (tmp_path / "clips.remarks.csv").exists()
    encoders = ["--visual", "patch-motion", "--audio", "log-mel"]
    assert avcil("extract", listed, "--out", store, *encoders) == 0
    train = ["train", store, "--benchmark", "ks-ci", "--classes-per-step", 1, "--method", "ncm", "--out", run]
    assert avcil(*train) == 0
    assert "lacks 2 of the clips of ks-ci" in capsys.readouterr().out
    config = json.loads((run / "config.json").read_text())
    assert config["benchmark"]["name"] == "ks-ci"
    assert config["benchmark"]["steps"] == [["Cat"], ["Train horn"]]
    rows = (run / "predictions" / "step_1.csv").read_text().splitlines()[1:]
    assert {row.split(",")[0] for row in rows} == {i for i, clip in CLIPS.items() if clip.split == "test"}


def test_list_of_missing_videos(videos: Path, tmp_path: Path, avcil, capsys) -> None:
    """It is made from the folder or from the clip list; in URLs, ids that begin with - are not options."""
    avcil("scan", videos, "--benchmark", "ks-ci", "--out", tmp_path / "clips.csv")
    capsys.readouterr()
    for result in (videos, tmp_path / "clips.csv"):
        assert avcil("benchmark", "list", "ks-ci", "--missing", result) == 0
        out = capsys.readouterr().out
        assert urls(out) == [URL + MISSING, URL + DAMAGED]
        assert out.startswith(f"# 2 of 10 clips of ks-ci have no usable file in {result}\n")
    assert avcil("benchmark", "list", "ks-ci") == 0
    assert sorted(capsys.readouterr().out.splitlines()) == sorted(CLIPS)
    (tmp_path / "new").mkdir()
    assert avcil("benchmark", "list", "ks-ci", "--missing", tmp_path / "new") == 0
    assert len(urls(capsys.readouterr().out)) == len(CLIPS)


def test_script_downloads_only_the_clips(videos: Path, tmp_path: Path, avcil, capsys) -> None:
    """A shell runs it with a replacement of yt-dlp; afterwards no clip is missing."""
    times = tmp_path / "k400.csv"
    lines = [f"x,{clip_id},30,40,train" for clip_id in CLIPS]
    times.write_text("\n".join(["label,youtube_id,time_start,time_end,split", *lines]) + "\n")
    command = ["benchmark", "list", "ks-ci", "--missing", videos, "--script"]
    assert avcil(*command) == 2
    assert "--script needs the times of the clips, but those of 2 of 2" in capsys.readouterr().err
    assert avcil(*command, "--times", times) == 0
    script = capsys.readouterr().out
    stand_in = tmp_path / "bin" / "yt-dlp"
    stand_in.parent.mkdir()
    source = next(videos.rglob("test/*/*.mp4"))
    stand_in.write_text(
        "#!/bin/sh\n"
        'for word; do case "$word" in --output=*) name="${word#--output=}";; esac; done\n'
        f'cp {shlex.quote(str(source))} "./${{name%.*}}.mp4"\necho "$@" >> calls\n'
    )
    stand_in.chmod(0o755)
    (tmp_path / "missing.sh").write_text(script)
    folder = videos / "new"
    folder.mkdir()
    subprocess.run(
        ["sh", tmp_path / "missing.sh", "--quiet"],
        cwd=folder,
        env={"PATH": f"{stand_in.parent}:/usr/bin:/bin"},
        check=True,
    )
    first = (folder / "calls").read_text().splitlines()[0].split()
    assert "--download-sections=*30-40" in first
    assert first[-2:] == ["--quiet", URL + MISSING]
    assert sorted(path.name for path in folder.glob("*.mp4")) == [
        f"{MISSING}_000030.mp4",
        f"{DAMAGED}_000030.mp4",
    ]
    assert avcil("benchmark", "list", "ks-ci", "--missing", videos) == 0
    assert urls(capsys.readouterr().out) == []


def test_clips_of_one_video_have_one_url(benchmark, avcil, tmp_path: Path, capsys) -> None:
    """VGGSound: the seconds of each clip are in comments."""
    benchmark("vs100-ci", {f"-ab_cd-ef_g_0000{second}": SplitClip("Cat", "train") for second in (10, 50)})
    release = ["--from", tmp_path / "release"]
    (tmp_path / "videos").mkdir()
    assert avcil("benchmark", "list", "vs100-ci", "--missing", tmp_path / "videos", *release) == 0
    assert capsys.readouterr().out.splitlines()[1:] == [
        "# clip -ab_cd-ef_g_000010: seconds 10 to 20",
        "# clip -ab_cd-ef_g_000050: seconds 50 to 60",
        f"{URL}-ab_cd-ef_g",
    ]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["scan", "videos", "--times", "a.csv"], "--splits and --times can be given only with --benchmark"),
        (
            ["scan", "videos", "--benchmark", "ks-ci", "--seed", "1"],
            "has its own classes and splits: leave out --seed",
        ),
        (["scan", "videos", "--benchmark", "ks-ci", "--times", "a.csv"], "there is no file a.csv"),
        (["benchmark", "list", "--missing", "videos"], "need the name of a benchmark"),
        (
            ["benchmark", "list", "ks-ci", "--missing", "nowhere"],
            "there is no nowhere (--missing). Give the folder",
        ),
    ],
)
def test_incompatible_options(videos, avcil, capsys, tmp_path, arguments, message, monkeypatch) -> None:
    """An option without effect is an error."""
    monkeypatch.chdir(tmp_path)
    out = ["--out", "clips.csv"] if arguments[0] == "scan" else []
    assert avcil(*arguments, *out) == 2
    assert message in capsys.readouterr().err


def test_clip_list_of_another_benchmark_is_rejected(videos: Path, avcil, capsys, tmp_path: Path) -> None:
    """Without the ids of the benchmark, all of its clips would be reported as missing."""
    (tmp_path / "other.csv").write_text("path,label,split\na.mp4,cat,train\n")
    assert avcil("benchmark", "list", "ks-ci", "--missing", tmp_path / "other.csv") == 2
    assert "has no clip of ks-ci" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("label,youtube_id,start\nx,a,1\n", "has no column time_start and time_end"),
        ("a,b\n", "the line 'a,b' does not give a video id with its times"),
        ("abcdefghijk,20,10\n", "does not give a video id"),
        ("abcdefghijk,10,20\n", "lists no video whose time is needed"),
        (b"\xff\xfe", "is not UTF-8 text"),
    ],
)
def test_files_without_times(
    videos: Path, avcil, capsys, tmp_path: Path, text: str | bytes, message: str
) -> None:
    """The message lists the expected files."""
    (tmp_path / "times.csv").write_bytes(text if isinstance(text, bytes) else text.encode())
    arguments = [
        "scan",
        videos,
        "--benchmark",
        "ks-ci",
        "--times",
        tmp_path / "times.csv",
        "--out",
        tmp_path / "clips.csv",
    ]
    assert avcil(*arguments) == 2
    error = capsys.readouterr().err
    assert message in error
    assert "the CSV of Kinetics" in error
