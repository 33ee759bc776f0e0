"""Scanning reports every unused file, and rejects invalid folders and options."""

import os
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest
from scan_folders import make, numbered

from avcil.cli import scan as verb
from avcil.data.clips import read_clips
from avcil.data.scan import ClipProblem, listed, scan
from avcil.errors import AvcilError, InputError

pytestmark = pytest.mark.usefixtures("fake_media")


def test_unused_files_are_reported(tmp_path):
    """Damaged media with the reason, misplaced media, other files by suffix; hidden files are ignored."""
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
    for message in (
        "6 clips of 1 classes",
        "without video: 1",
        "without audio: 1",
        "1 without a suffix, 1 .txt",
    ):
        assert message in result.summary


def test_many_problems_are_summarized(tmp_path, capsys):
    """The summary is limited; the file beside the list has all problems, and is removed when none remain."""
    make(tmp_path / "c", *numbered("dog", 4))
    make(tmp_path / "c", *numbered("cat", 25), kind="no")
    verb.run(verb.Args(folder=tmp_path / "c", out=tmp_path / "clips.csv"))
    message = capsys.readouterr().out
    assert "and 15 more" in message
    assert "skipped classes without a usable clip: cat" in message
    assert len((tmp_path / "clips.problems.csv").read_text().splitlines()) == 26
    assert read_clips(tmp_path / "clips.csv") == list(scan(tmp_path / "c").clips)
    make(tmp_path / "c", *numbered("cat", 25))
    verb.run(verb.Args(folder=tmp_path / "c", out=tmp_path / "clips.csv"))
    assert not (tmp_path / "clips.problems.csv").exists()


@pytest.mark.skipif(os.name != "posix", reason="file names are bytes on POSIX only")
def test_file_name_that_is_not_utf8(tmp_path):
    """The name is reported and does not cause an error while the list is written."""
    make(tmp_path, *numbered("dog", 3), "dog/\udcff.mp4")
    assert [p.reason for p in scan(tmp_path).problems] == ["its name is not valid UTF-8; rename it"]


@pytest.mark.parametrize(
    ("names", "message"),
    [
        (["a/1.mp4", *numbered("b", 5)], r"too few usable clips.*'a' \(1\).*needs at least 3"),
        (["a/1.mp4", "a/2.mp4", *numbered("b", 5)], r"'a' \(2\)"),
        ([*numbered("Dog", 5), *numbered("dog ", 5)], "differ only in case or spaces: 'Dog', 'dog '"),
        (["notes.txt", "a/b.csv"], r"contains no media file \(it holds 1 .txt, 1 .csv|1 .csv, 1 .txt\)"),
        ([], "is empty"),
        (["1.mp4", "2.mp4"], r"no usable media file. *Clips must be in folders .*CLASS.*Skipped files: 2"),
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
def test_invalid_folders(tmp_path, names, message):
    """Each message has the problem and what to do."""
    make(tmp_path, *names)
    with pytest.raises(InputError, match=message):
        scan(tmp_path)


@pytest.mark.parametrize(
    "options",
    [{"val_fraction": -0.1}, {"test_fraction": 0}, {"val_fraction": 0.5, "test_fraction": 0.5}, {"seed": -1}],
)
def test_invalid_fractions(tmp_path, options):
    """The error has the option and what is allowed."""
    with pytest.raises(InputError, match=r"--(val-fraction|seed) must be 0 or more"):
        scan(make(tmp_path, *numbered("a", 5)), **options)


def test_folder_must_exist(tmp_path):
    """A missing folder, and a file instead of a folder."""
    with pytest.raises(InputError, match="does not exist"):
        scan(tmp_path / "none")
    with pytest.raises(InputError, match="is a file"):
        scan(make(tmp_path, "a.mp4") / "a.mp4")


def test_notes_about_clips_are_listed(tmp_path):
    """An unusual file is used, with a note in the summary."""
    result = scan(make(tmp_path, *numbered("dog", 5), "dog/odd.mp4"))
    assert len(result.clips) == 6
    assert [remark.path.name for remark in result.remarks] == ["odd.mp4"]
    assert "clips with a remark: 1" in result.summary
    assert "dog/odd.mp4: the time stamps jump once" in result.summary


def test_program_errors_are_raised(tmp_path, monkeypatch):
    """A removed argument of a library must not make every file "no media file"."""
    monkeypatch.setattr("avcil.media.probe", lambda path: path.no_such_attribute)
    with pytest.raises(AvcilError, match="not of the file") as caught:
        scan(make(tmp_path, *numbered("dog", 5)))
    assert not isinstance(caught.value, InputError)


def test_unreadable_paths_are_reported(tmp_path):
    """A link to itself, a too long path, a pipe, and a second link to a folder; other files are listed."""
    make(tmp_path, *numbered("dog", 3), *numbered("cat", 3))
    (tmp_path / "dog" / "self").symlink_to("self")
    (tmp_path / "dog" / "self.mp4").symlink_to("self.mp4")
    (tmp_path / "again").symlink_to(tmp_path / "cat")
    os.mkfifo(tmp_path / "dog" / "pipe")
    here, name = os.getcwd(), "d" * 250
    try:
        os.chdir(tmp_path / "cat")
        for _ in range(20):  # one folder at a time: the whole path exceeds the limit of a system call
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


def test_folder_without_permission():
    """It is reported and others are listed. Root may read everything, so the test runs as another user."""
    with tempfile.TemporaryDirectory() as folder:  # not below `tmp_path`, which other users may not enter
        root = Path(folder)
        root.chmod(0o755)
        make(root, *numbered("dog", 3), *numbered("cat", 3))
        (root / "cat" / "closed").mkdir(mode=0)
        code = f"tree = avcil.data.folders.walk({folder!r}); print(len(tree.files), tree.unread)"
        switch = "os.setuid(65534); " if os.geteuid() == 0 else ""
        command = [sys.executable, "-c", f"import os, avcil.data.folders; {switch}{code}"]
        message = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    assert message == "6 [(PosixPath('cat/closed'), 'the folder cannot be read: Permission denied')]\n"


def test_line_breaks_in_reasons_are_escaped():
    """The reason has the name of another file, which may contain any character."""
    lines = list(listed("left out", [ClipProblem(path=Path("a"), reason="it is a copy of b\nc")]))
    assert lines[1] == "  a: it is a copy of b\\nc"
