"""The same file in two splits of a clip list is found under any spelling of its path."""

from __future__ import annotations

import os

import pytest

from avcil.data.clips import read_clips
from avcil.data.copies import check_leaks
from avcil.errors import InputError


def listed(folder, *rows):
    (folder / "list.csv").write_text("\n".join(["path,label,split,start,end", *rows]) + "\n")
    return read_clips(folder / "list.csv")


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "a.mp4").write_bytes(b"a" * 100)
    (tmp_path / "b.mp4").write_bytes(b"b" * 100)
    (tmp_path / "copy.mp4").write_bytes(b"a" * 100)
    (tmp_path / "link.mp4").symlink_to("a.mp4")
    os.link(tmp_path / "a.mp4", tmp_path / "hard.mp4")
    return tmp_path


@pytest.mark.parametrize("name", ["./a.mp4", "link.mp4", "hard.mp4"])
def test_other_spellings_of_a_path(folder, name):
    """Relative paths, links and copies are recognized as the same file."""
    with pytest.raises(InputError, match=r"the same file is in two splits.*a.mp4 \(train\)"):
        check_leaks(listed(folder, "a.mp4,dog,train,,", f"{name},dog,test,,"), "list.csv")


def test_missing_files_are_compared_by_path(folder):
    """Files that do not exist cannot be compared by content."""
    with pytest.raises(InputError, match="two splits"):
        check_leaks(listed(folder, "no.mp4,dog,train,,", "./no.mp4,dog,val,,"), "list.csv")


def test_time_ranges(folder):
    """Overlapping time ranges of a file are the same content; others are different clips."""
    apart = ["a.mp4,dog,train,0,2", "link.mp4,dog,test,2,4", "a.mp4,dog,val,4,"]
    assert check_leaks(listed(folder, *apart), "list.csv") == []
    with pytest.raises(InputError, match="two splits"):
        check_leaks(listed(folder, "a.mp4,dog,train,0,9", "b.mp4,dog,train,1,2", "a.mp4,dog,test,8,10"), "l")


def test_repetitions_without_a_leak_are_noted(folder):
    """A clip twice in one split has double weight; equal content in two splits may be intended."""
    (note,) = check_leaks(listed(folder, "a.mp4,dog,train,,", "./a.mp4,dog,train,,"), "list.csv")
    assert note.startswith("the same file is listed more than once in a split")
    (note,) = check_leaks(listed(folder, "a.mp4,dog,train,,", "copy.mp4,dog,test,,"), "list.csv")
    assert "the same content in two splits" in note
    assert check_leaks(listed(folder, "a.mp4,dog,train,,", "b.mp4,dog,test,,"), "list.csv") == []
