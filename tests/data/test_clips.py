"""Clip lists: written lists are read back, and errors name the line."""

import tempfile
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from avcil.data.clips import MAX_LABEL_LENGTH, Clip, check_labels, default_clip_id, read_clips, write_clips
from avcil.errors import InputError

TEXT = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), min_size=1, max_size=8)
LABELS = [
    'a, b', '"quoted"', "slash/ed", "\N{DOG FACE}", "-dash", "=1+1",
    "two\nlines", "c\rr", " outer ", "u\u2028v"
]  # fmt: skip


@settings(deadline=None, max_examples=40)
@given(
    st.lists(st.tuples(TEXT, st.sampled_from(LABELS), st.sampled_from(["train", "val", "test"])), max_size=6)
)
def test_written_list_equals_read_list(rows):
    """Labels, ids and times with any characters are read back exactly."""
    clips = [
        Clip(
            clip_id=f"{n}{name}",
            path=Path("/clips") / f"{n}.mp4",
            label=label,
            split=split,
            start=n / 3,
            end=n + 1e-9 + n,
        )
        for n, (name, label, split) in enumerate(rows, 1)
    ]
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "clips.csv"
        write_clips(path, clips)
        if clips:
            assert read_clips(path) == clips


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("path,label\na,b\n", "missing: split"),
        ("path,label,split,color\na,b,train,red\n", "unknown: color"),
        ("path,label,split,label\na,b,train,c\n", "duplicate: label"),
        ("path,label,split\n", "contains no clips"),
        ("", "missing: path, label, split"),
        ("path,label,split\na,b,train\na,b,train\n", "ids must be unique; duplicates: 'a'"),
        ("path,label,split\na,dog,train\nb,Dog ,train\n", "differ only in case or spaces: 'Dog ', 'dog'"),
        ("path,label,split\na,dog,training\n", "split 'training'; allowed: train, val, test"),
        ("path,label,split\na,dog\n", "line 2: the number of fields"),
        ("path,label,split\na,dog,cat,train\n", "line 2: the number of fields"),
        ("path,label,split\n,dog,train\n", "line 2: the path is empty"),
        ("path,label,split\na, ,train\n", "line 2: the label is empty"),
        ("path,label,split,start,end\na,dog,train,2,1\n", "line 2: end"),
        ("path,label,split,start,end\na,dog,train,-1,\n", "line 2: start must be seconds"),
        ("path,label,split,start,end\na,dog,train,nan,\n", "line 2: start must be seconds"),
        ('path,label,split\n"a"b,dog,train\n', "after line 1: not CSV"),
    ],
)
def test_invalid_lists(tmp_path, text, message):
    """Each error has the file, the line and what is allowed."""
    path = tmp_path / "clips.csv"
    path.write_text(text)
    with pytest.raises(InputError) as caught:
        read_clips(path)
    assert message in str(caught.value)
    assert "clips.csv" in str(caught.value)


def test_missing_list(tmp_path):
    """For a missing file or a folder, the error names avcil scan; a file that is not text is an error."""
    with pytest.raises(InputError, match="avcil scan"):
        read_clips(tmp_path / "none.csv")
    with pytest.raises(InputError, match="avcil scan"):
        read_clips(tmp_path)
    (tmp_path / "a.csv").write_bytes(b"path,label,split\n\xff\xfe")
    with pytest.raises(InputError, match="not UTF-8"):
        read_clips(tmp_path / "a.csv")


def test_ids_of_similar_time_ranges_differ():
    """Two parts of a file whose times differ by milliseconds are two clips."""
    assert default_clip_id("a", 12345.678, None) != default_clip_id("a", 12345.679, None)


def test_paths_are_relative_to_the_list(tmp_path):
    """A list can be moved together with its clips."""
    (tmp_path / "clips.csv").write_text("\ufeffpath,label,split\ndog/a.mp4,dog,train\n", encoding="utf-8")
    assert read_clips(tmp_path / "clips.csv")[0].path == tmp_path / "dog" / "a.mp4"


def test_labels_are_normalized_unicode():
    """Composed and decomposed characters look the same and must be the same label."""
    with pytest.raises(InputError, match="differ only"):
        check_labels(["caf\u00e9", "cafe\u0301"], "here")


def test_column_without_a_name(tmp_path):
    """An empty one, from a comma at the end of each line, is ignored; one with values is an error."""
    path = tmp_path / "list.csv"
    path.write_text("path,label,split,\na.mp4,dog,train,\n")
    assert [clip.label for clip in read_clips(path)] == ["dog"]
    path.write_text(",path,label,split\n0,a.mp4,dog,train\n")
    with pytest.raises(
        InputError, match=r"line 2: a column without a name contains '0'.*to_csv\(index=False\)"
    ):
        read_clips(path)
    path.write_text("path,label,split,,\na.mp4,dog,train,,\n")
    with pytest.raises(InputError, match="2 columns have no name"):
        read_clips(path)


def test_labels_that_saved_models_reject():
    """Otherwise training would end with a model that cannot be loaded."""
    check_labels(["a" * MAX_LABEL_LENGTH], "the list")
    with pytest.raises(InputError, match=r"has 1001 characters; the maximum is 1000"):
        check_labels(["a" * (MAX_LABEL_LENGTH + 1)], "the list")


@pytest.mark.skipif(not Path("/dev/null").is_char_device(), reason="there is no such device")
def test_device_instead_of_a_clip_list():
    """Reading a device such as /dev/zero may never end."""
    with pytest.raises(InputError, match="is a device or socket, not a regular file"):
        read_clips(Path("/dev/null"))
