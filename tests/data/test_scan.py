"""Scanning: layouts, seeded splits, and every file that is left out is named.

The probe here is a stand-in: a file's content says what it is ("av", "video", "audio"; all else is broken).
"""

import os
import subprocess
import sys
import tempfile
import types
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from avcil.cli import scan as verb
from avcil.data.clips import read_clips
from avcil.data.scan import ClipProblem, listed, scan
from avcil.data.splits import draw_counts
from avcil.errors import AvcilError, InputError


def fake_probe(path):
    kind = path.read_text().split()[0]
    if kind not in ("av", "video", "audio"):
        raise InputError(f"{path} is not a media file that can be read: invalid data")
    problems = ("the time stamps jump once",) if "odd" in path.name else ()
    return types.SimpleNamespace(
        duration=1.5, has_video=kind != "audio", has_audio=kind != "video", problems=problems
    )


@pytest.fixture(autouse=True)
def media(monkeypatch):
    monkeypatch.setattr("avcil.media.probe", fake_probe)


def make(root, *names, kind="av"):
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(
            f"{kind} {name}".encode(errors="surrogateescape")
        )  # no two files are copies of each other
    return root


def numbered(folder, n):
    return [f"{folder}/{k}.mp4" for k in range(n)]


def by_split(result, label):
    return {s: sum(c.split == s and c.label == label for c in result.clips) for s in ("train", "val", "test")}


def test_split_folders(tmp_path):
    """split/class/clip, with the usual other names of a split; nested folders belong to their class."""
    make(tmp_path, "train/dog/a.mp4", "Valid/dog/b.MOV", "test/dog/deep/er/c.mkv")
    result = scan(tmp_path)
    assert {(c.clip_id, c.label, c.split) for c in result.clips} == {
        ("train/dog/a.mp4", "dog", "train"),
        ("Valid/dog/b.MOV", "dog", "val"),
        ("test/dog/deep/er/c.mkv", "dog", "test"),
    }
    assert result.notes == ()


def test_class_folders_get_a_seeded_split(tmp_path):
    """Each class is divided by the fractions; the split depends on the seed, and the summary states it."""
    make(tmp_path, *numbered("dog", 20), *numbered("cat", 3), *numbered("test", 10))
    result = scan(tmp_path)
    assert by_split(result, "dog") == {"train": 13, "val": 3, "test": 4}
    assert by_split(result, "cat") == {"train": 1, "val": 1, "test": 1}
    assert by_split(result, "test") == {"train": 6, "val": 2, "test": 2}
    assert scan(tmp_path) == result
    assert scan(tmp_path, seed=1).clips != result.clips
    assert "seed 0: 20% for test and 15% for val" in result.summary


def test_a_class_more_changes_no_other_class(tmp_path):
    """Adding a class does not change the splits of other classes."""
    make(tmp_path, *numbered("dog", 20))
    before = scan(tmp_path).clips
    make(tmp_path, *numbered("cat", 9))
    assert tuple(c for c in scan(tmp_path).clips if c.label == "dog") == before


@settings(deadline=None, max_examples=60)
@given(st.integers(3, 200), st.floats(0.01, 0.49), st.floats(0.01, 0.49))
def test_each_split_gets_a_clip(n, val, test):
    """Each split has at least one clip, for all fractions."""
    counts = draw_counts(n, {"test": test, "val": val})
    assert min(counts.values()) >= 1
    assert sum(counts.values()) < n


def test_lacking_splits_are_drawn_from_train(tmp_path):
    """Train and test alone: val is drawn from train, test stays as it is."""
    make(tmp_path, *numbered("train/dog", 10), *numbered("test/dog", 3))
    result = scan(tmp_path)
    assert by_split(result, "dog") == {"train": 8, "val": 2, "test": 3}
    assert "drawn from train" in result.summary
    assert by_split(scan(tmp_path, val_fraction=0), "dog") == {"train": 10, "val": 0, "test": 3}


def test_left_out_files_are_named(tmp_path):
    """Broken media with the reason, stray media, other files by suffix; hidden ones do not count."""
    make(tmp_path, *numbered("dog", 4))
    make(tmp_path, "dog/5.mp4", kind="video")
    make(tmp_path, "dog/6.wav", kind="audio")
    make(
        tmp_path,
        "dog/broken.mp4",
        "stray.mp4",
        "notes.txt",
        "dog/README",
        ".hidden.mp4",
        ".git/a.mp4",
        kind="no",
    )
    result = scan(tmp_path)
    assert len(result.clips) == 6
    assert [(p.path.name, p.reason) for p in result.problems] == [
        ("broken.mp4", "is not a media file that can be read: invalid data"),
        ("stray.mp4", "it is not in a class folder"),
    ]
    assert result.ignored == {"": 1, ".txt": 1}
    for said in (
        "6 clips of 1 classes",
        "without video: 1",
        "without audio: 1",
        "1 without a suffix, 1 .txt",
    ):
        assert said in result.summary


def test_many_problems_are_counted_and_written_in_full(tmp_path, capsys):
    """The summary is capped; the file beside the list has all, and goes when nothing is wrong any more."""
    make(tmp_path / "c", *numbered("dog", 4))
    make(tmp_path / "c", *numbered("cat", 25), kind="no")
    verb.run(verb.Args(folder=tmp_path / "c", out=tmp_path / "clips.csv"))
    said = capsys.readouterr().out
    assert "and 15 more" in said
    assert "skipped classes without a usable clip: cat" in said
    assert len((tmp_path / "clips.problems.csv").read_text().splitlines()) == 26
    assert read_clips(tmp_path / "clips.csv") == list(scan(tmp_path / "c").clips)
    make(tmp_path / "c", *numbered("cat", 25))
    verb.run(verb.Args(folder=tmp_path / "c", out=tmp_path / "clips.csv"))
    assert not (tmp_path / "clips.problems.csv").exists()


def test_awkward_class_names(tmp_path, capsys):
    """Commas, quotes, emoji, a leading dash: through the list and back; a line of the summary each."""
    labels = ["a, b", '"q"', "\N{DOG FACE}", "-dash", "=1+1", "two\nlines", "50%", "it's"]
    for label in labels:
        make(tmp_path / "c", *numbered(label, 3))
    verb.run(verb.Args(folder=tmp_path / "c", out=tmp_path / "clips.csv"))
    assert {clip.label for clip in read_clips(tmp_path / "clips.csv")} == set(labels)
    assert "\n  two\\nlines" in capsys.readouterr().out


def test_no_val_split_is_said(tmp_path):
    """Without validation clips, the summary notes that the best epoch cannot be selected."""
    make(tmp_path / "flat", *numbered("dog", 5))
    make(tmp_path / "split", *numbered("train/dog", 5), *numbered("test/dog", 5))
    for folder in ("flat", "split"):
        assert "there is no val split" in scan(tmp_path / folder, val_fraction=0).summary
        assert "there is no val split" not in scan(tmp_path / folder).summary


def test_links(tmp_path):
    """Linked folders are followed, loops end, dead links are named."""
    make(tmp_path, *numbered("store", 3))
    (tmp_path / "c").mkdir()
    (tmp_path / "c" / "dog").symlink_to(tmp_path / "store")
    make(tmp_path / "c", *numbered("cat", 3))
    (tmp_path / "c" / "cat" / "loop").symlink_to(tmp_path / "c")
    (tmp_path / "c" / "cat" / "dead.mp4").symlink_to(tmp_path / "nowhere.mp4")
    result = scan(tmp_path / "c")
    assert len(result.clips) == 6
    assert [p.path.name for p in result.problems] == ["dead.mp4", "loop"]


@pytest.mark.skipif(os.name != "posix", reason="file names are bytes on POSIX only")
def test_a_name_that_is_no_text(tmp_path):
    """It is named, not a crash while writing the list."""
    make(tmp_path, *numbered("dog", 3), "dog/\udcff.mp4")
    assert [p.reason for p in scan(tmp_path).problems] == ["its name is not valid UTF-8; rename it"]


@pytest.mark.parametrize(
    ("names", "said"),
    [
        (["a/1.mp4", *numbered("b", 5)], r"too few usable clips.*'a' \(1\).*needs at least 3"),
        (["a/1.mp4", "a/2.mp4", *numbered("b", 5)], r"'a' \(2\)"),
        ([*numbered("Dog", 5), *numbered("dog ", 5)], "differ only in case or spaces: 'Dog', 'dog '"),
        (["notes.txt", "a/b.csv"], r"contains no media file \(it holds 1 .txt, 1 .csv|1 .csv, 1 .txt\)"),
        ([], "is empty"),
        (["1.mp4", "2.mp4"], "no usable media file; 2 were skipped"),
        (["test/a/1.mp4", "val/a/1.mp4"], "no train folder"),
        (
            ["train/a/1.mp4", "test/a/1.mp4", "dogs/1.mp4"],
            r"like splits \(test, train\) in addition to others \(dogs\).*--layout class, .*--layout split",
        ),
        (["train/a/1.mp4", "val/a/1.mp4", "dev/a/1.mp4"], "the folders dev, val all mean val"),
        (
            ["train/a/1.mp4", "val/a/1.mp4", "test/b/1.mp4", "test/a/1.mp4"],
            "in train of class 'b'.*cannot be learned",
        ),
        (
            ["train/a/1.mp4", "val/a/1.mp4", "test/a/1.mp4", "train/b/1.mp4"],
            "in test of class 'b'.*cannot be tested",
        ),
    ],
)
def test_folders_that_cannot_be_used(tmp_path, names, said):
    """Each message names the problem and what to do."""
    make(tmp_path, *names)
    with pytest.raises(InputError, match=said):
        scan(tmp_path)


@pytest.mark.parametrize(
    "options",
    [{"val_fraction": -0.1}, {"test_fraction": 0}, {"val_fraction": 0.5, "test_fraction": 0.5}, {"seed": -1}],
)
def test_parts_that_do_not_fit(tmp_path, options):
    """The error names the option and what is allowed."""
    with pytest.raises(InputError, match=r"--(val-fraction|seed) must be 0 or more"):
        scan(make(tmp_path, *numbered("a", 5)), **options)


def test_no_folder(tmp_path):
    """Missing, and a file in its place."""
    with pytest.raises(InputError, match="does not exist"):
        scan(tmp_path / "none")
    with pytest.raises(InputError, match="is a file"):
        scan(make(tmp_path, "a.mp4") / "a.mp4")


def test_remarks_about_clips_are_listed(tmp_path):
    """A clip with an unusual file is used, with a note in the summary."""
    result = scan(make(tmp_path, *numbered("dog", 5), "dog/odd.mp4"))
    assert len(result.clips) == 6
    assert [remark.path.name for remark in result.remarks] == ["odd.mp4"]
    assert "clips with a remark: 1" in result.summary
    assert "dog/odd.mp4: the time stamps jump once" in result.summary


def test_an_error_of_the_program_is_not_blamed_on_the_files(tmp_path, monkeypatch):
    """An argument that a library dropped would otherwise make every file "no media file"."""
    monkeypatch.setattr("avcil.media.probe", lambda path: path.no_such_attribute)
    with pytest.raises(AvcilError, match="not of the file") as caught:
        scan(make(tmp_path, *numbered("dog", 5)))
    assert not isinstance(caught.value, InputError)


def test_what_cannot_be_read_is_reported(tmp_path):
    """A link to itself, a path longer than the system takes, a pipe, a second way into a folder: the rest is listed."""
    make(tmp_path, *numbered("dog", 3), *numbered("cat", 3))
    (tmp_path / "dog" / "self").symlink_to("self")
    (tmp_path / "dog" / "self.mp4").symlink_to("self.mp4")
    (tmp_path / "again").symlink_to(tmp_path / "cat")
    os.mkfifo(tmp_path / "dog" / "pipe")
    here, name = os.getcwd(), "d" * 250
    try:
        os.chdir(tmp_path / "cat")
        for _ in range(20):  # one step at a time: the whole path is longer than a call may be given
            os.mkdir(name)
            os.chdir(name)
    finally:
        os.chdir(here)
    result = scan(tmp_path)
    assert len(result.clips) == 6
    assert sorted(p.reason for p in result.problems) == [
        "it cannot be read: Too many levels of symbolic links",
        "it cannot be read: Too many levels of symbolic links",
        f"it is the same folder as {tmp_path}/cat, which is listed",
        "the folder cannot be read: File name too long",
    ]
    assert max(map(len, result.summary.splitlines())) < 400
    assert result.ignored == {"": 1}


def test_a_folder_without_permission():
    """It is reported, and the others are listed. Root may read everything, so another user looks."""
    with tempfile.TemporaryDirectory() as folder:  # not below `tmp_path`, which other users may not enter
        root = Path(folder)
        root.chmod(0o755)
        make(root, *numbered("dog", 3), *numbered("cat", 3))
        (root / "cat" / "closed").mkdir(mode=0)
        code = f"tree = avcil.data.folders.walk({folder!r}); print(len(tree.files), tree.unread)"
        switch = "os.setuid(65534); " if os.geteuid() == 0 else ""
        command = [sys.executable, "-c", f"import os, avcil.data.folders; {switch}{code}"]
        said = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    assert said == "6 [(PosixPath('cat/closed'), 'the folder cannot be read: Permission denied')]\n"


def test_the_same_file_twice(tmp_path):
    """Links and copies within a class count once; a file of two classes is left out under both."""
    make(tmp_path, *numbered("dog", 4), *numbered("cat", 4))
    (tmp_path / "dog" / "link.mp4").symlink_to("0.mp4")
    os.link(tmp_path / "dog" / "1.mp4", tmp_path / "dog" / "hard.mp4")
    (tmp_path / "dog" / "copy.mp4").write_bytes((tmp_path / "dog" / "2.mp4").read_bytes())
    (tmp_path / "dog" / "cat.mp4").symlink_to("../cat/3.mp4")
    result = scan(tmp_path)
    left_out = {p.path.name: p.reason.replace(str(tmp_path), "") for p in result.problems}
    one_of_two = {"1.mp4", "hard.mp4"} & left_out.keys(), {"2.mp4", "copy.mp4"} & left_out.keys()
    assert list(map(len, one_of_two)) == [1, 1]
    assert len(result.clips) == 7
    assert left_out["3.mp4"] == "it is the same file as /dog/cat.mp4, of another class; a clip has one class"
    assert left_out["cat.mp4"] == "it is the same file as /cat/3.mp4, of another class; a clip has one class"
    assert left_out["link.mp4"] == "it is the same file as /dog/0.mp4"


def test_a_file_in_two_splits(tmp_path):
    """The same file is refused; equal content is a warning, as nobody knows which of the two is meant."""
    make(tmp_path, *numbered("train/dog", 3), *numbered("val/dog", 1), *numbered("test/dog", 1))
    (tmp_path / "test" / "dog" / "copy.mp4").write_bytes((tmp_path / "train" / "dog" / "1.mp4").read_bytes())
    (note,) = scan(tmp_path).notes
    assert "files with the same content in two splits" in note
    assert "train/dog/1.mp4 (train)" in note
    (tmp_path / "test" / "dog" / "leak.mp4").symlink_to("../../train/dog/0.mp4")
    with pytest.raises(InputError, match=r"the same file is in two splits.*leak.mp4 \(test\)"):
        scan(tmp_path)


def test_classes_named_like_splits(tmp_path):
    """Files right in a folder say that it is a class; where the folders do not say it, the option does."""
    make(tmp_path / "a", *numbered("train", 3), *numbered("dog", 3))
    result = scan(tmp_path / "a")
    assert {c.label for c in result.clips} == {"train", "dog"}
    assert "interpreted as classes, not as splits: train" in result.summary
    make(tmp_path / "b", *numbered("train/deep", 3), *numbered("dog", 3))
    with pytest.raises(InputError, match="--layout class"):
        scan(tmp_path / "b")
    assert {c.label for c in scan(tmp_path / "b", layout="class").clips} == {"train", "dog"}
    result = scan(tmp_path / "b", layout="split")
    assert {c.label for c in result.clips} == {"deep"}
    assert "the folders dog" in result.summary
    make(tmp_path / "c", *numbered("train", 3), *numbered("test", 3))
    with pytest.raises(InputError, match="no class folders in them"):
        scan(tmp_path / "c")
    assert {c.label for c in scan(tmp_path / "c", layout="class").clips} == {"train", "test"}
    make(tmp_path / "d", *numbered("train/train", 3), *numbered("train/test", 3))
    assert {c.label for c in scan(tmp_path / "d").clips} == {"train", "test"}


def test_a_line_break_in_a_reason_is_shown_escaped():
    """The reason names another file, whose name can hold anything."""
    lines = list(listed("left out", [ClipProblem(path=Path("a"), reason="it is a copy of b\nc")]))
    assert lines[1] == "  a: it is a copy of b\\nc"
