"""Scanning: folder layouts, random splits with a seed, and a list of unused files.  The probe is replaced:
the content of a file is its kind ("av", "video", "audio"; all others are damaged)."""

import os

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scan_folders import by_split, make, numbered

from avcil.cli import scan as verb
from avcil.data.clips import read_clips
from avcil.data.scan import scan
from avcil.data.splits import draw_counts
from avcil.errors import InputError

pytestmark = pytest.mark.usefixtures("fake_media")


def test_split_folders(tmp_path):
    """split/class/clip, with the usual other names of splits; nested folders belong to their class."""
    make(tmp_path, "train/dog/a.mp4", "Valid/dog/b.MOV", "test/dog/deep/er/c.mkv")
    result = scan(tmp_path)
    assert {(c.clip_id, c.label, c.split) for c in result.clips} == {
        ("train/dog/a.mp4", "dog", "train"),
        ("Valid/dog/b.MOV", "dog", "val"),
        ("test/dog/deep/er/c.mkv", "dog", "test"),
    }
    assert result.notes == ()


def test_class_folders_get_a_seeded_split(tmp_path):
    """Each class is divided by the fractions; the split depends on the seed, which the summary states."""
    make(tmp_path, *numbered("dog", 20), *numbered("cat", 3), *numbered("test", 10))
    result = scan(tmp_path)
    assert by_split(result, "dog") == {"train": 13, "val": 3, "test": 4}
    assert by_split(result, "cat") == {"train": 1, "val": 1, "test": 1}
    assert by_split(result, "test") == {"train": 6, "val": 2, "test": 2}
    assert scan(tmp_path) == result
    assert scan(tmp_path, seed=1).clips != result.clips
    assert "seed 0: 20% for test and 15% for val" in result.summary


def test_new_class_keeps_other_splits(tmp_path):
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


def test_missing_val_split_is_drawn_from_train(tmp_path):
    """With train and test only, val is drawn from train, and test is unchanged."""
    make(tmp_path, *numbered("train/dog", 10), *numbered("test/dog", 3))
    result = scan(tmp_path)
    assert by_split(result, "dog") == {"train": 8, "val": 2, "test": 3}
    assert "drawn from train" in result.summary
    assert by_split(scan(tmp_path, val_fraction=0), "dog") == {"train": 10, "val": 0, "test": 3}


def test_special_characters_in_class_names(tmp_path, capsys):
    """Commas, quotes, emoji and a leading dash are read back, and each class has one summary line."""
    labels = ["a, b", '"q"', "\N{DOG FACE}", "-dash", "=1+1", "two\nlines", "50%", "it's"]
    for label in labels:
        make(tmp_path / "c", *numbered(label, 3))
    verb.run(verb.Args(folder=tmp_path / "c", out=tmp_path / "clips.csv"))
    assert {clip.label for clip in read_clips(tmp_path / "clips.csv")} == set(labels)
    assert "\n  two\\nlines" in capsys.readouterr().out


def test_missing_val_split_is_noted(tmp_path):
    """Without validation clips, the summary notes that the best epoch cannot be selected."""
    make(tmp_path / "flat", *numbered("dog", 5))
    make(tmp_path / "split", *numbered("train/dog", 5), *numbered("test/dog", 5))
    for folder in ("flat", "split"):
        assert "there is no val split" in scan(tmp_path / folder, val_fraction=0).summary
        assert "there is no val split" not in scan(tmp_path / folder).summary


def test_links(tmp_path):
    """Linked folders are followed, loops end, and broken links are reported."""
    make(tmp_path, *numbered("store", 3))
    (tmp_path / "c").mkdir()
    (tmp_path / "c" / "dog").symlink_to(tmp_path / "store")
    make(tmp_path / "c", *numbered("cat", 3))
    (tmp_path / "c" / "cat" / "loop").symlink_to(tmp_path / "c")
    (tmp_path / "c" / "cat" / "dead.mp4").symlink_to(tmp_path / "nowhere.mp4")
    (tmp_path / "c" / "owl").symlink_to(tmp_path / "unmounted" / "owl")
    result = scan(tmp_path / "c")
    assert len(result.clips) == 6
    assert [p.path.name for p in result.problems] == ["dead.mp4", "loop", "owl"]
    assert result.problems[-1].reason == "it is a link to a file or folder that does not exist"
    assert not result.ignored


def test_duplicate_files(tmp_path):
    """Links and copies within a class count once; a file of two classes is not used for either."""
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


def test_file_in_two_splits(tmp_path):
    """The same file in two splits is an error; equal content is a warning."""
    make(tmp_path, *numbered("train/dog", 3), *numbered("val/dog", 1), *numbered("test/dog", 1))
    (tmp_path / "test" / "dog" / "copy.mp4").write_bytes((tmp_path / "train" / "dog" / "1.mp4").read_bytes())
    (note,) = scan(tmp_path).notes
    assert "files with the same content in two splits" in note
    assert "train/dog/1.mp4 (train)" in note
    (tmp_path / "test" / "dog" / "leak.mp4").symlink_to("../../train/dog/0.mp4")
    with pytest.raises(InputError, match=r"the same file is in two splits.*leak.mp4 \(test\)"):
        scan(tmp_path)


def test_classes_named_like_splits(tmp_path):
    """Files directly in a folder show that it is a class; in ambiguous cases, the option decides."""
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
