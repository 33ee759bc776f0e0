"""YouTube ids in file names: the layouts in which data sets are distributed, and ambiguous ids."""

from __future__ import annotations

import string
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from avcil.datasets.clip_times import clip_times
from avcil.datasets.file_matching import Matching, match_files
from avcil.datasets.published import load_published
from avcil.datasets.video_names import read_video_name

ID = "-F5wSJwBZjU"
OTHER = "a_b-c_d-e_f"

LAYOUTS = (
    "{id}.mp4",
    "AVE_Dataset/AVE/{id}.mp4",
    "train/playing drums/{id}_000030_000040.mp4",
    "k400/val/{id}_000030_000040.MP4",
    "playing_drums/{id}_30_40.mkv",
    "v_{id}.webm",
    "video_{id}_000030.mp4",
    "Y{id}.mp4",
    "{id}_30.000_40.000.mp4",
    "{id}_30000_40000.mp4",
    "A title, with [brackets] [{id}].webm",
    "A title-{id}.mkv",
)


def match(clip_ids: list[str] | str, *paths: str) -> Matching:
    ids = [clip_ids] if isinstance(clip_ids, str) else clip_ids
    return match_files(dict.fromkeys(ids, "playing drums"), map(Path, paths), clip_times(ids))


def files(matching: Matching) -> dict[str, list[str]]:
    return {clip_id: [str(file.path) for file in result] for clip_id, result in matching.candidates.items()}


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("video", [ID, OTHER, "___________", "v_345678901", "Y2345678901"])
def test_layouts_of_the_data_sets(layout: str, video: str) -> None:
    """The id is found for all allowed characters, also if it starts like a prefix."""
    path = layout.format(id=video)
    assert files(match(video, path)) == {video: [path]}


@pytest.mark.parametrize(
    "path", ["VGGSound_final/video/{id}_000030.mp4", "{id}_30.mp4", "{id}_30_40.mp4", "{id}_30000_40000.mp4"]
)
def test_names_with_a_start_second(path: str) -> None:
    """VGGSound: the start is part of the id; another part of the same video is another clip."""
    path = path.format(id=ID)
    expected, other = f"{ID}_000030", f"{ID}_000130"
    assert files(match([other, expected], path)) == {expected: [path]}
    assert match(other, path).other_videos == (Path(path),)


def test_names_without_a_start_match_all_clips() -> None:
    """The file may be the whole video; its length decides later."""
    clips = [f"{ID}_000030", f"{ID}_000130"]
    assert files(match(clips, f"{ID}.mp4")) == {clip: [f"{ID}.mp4"] for clip in clips}


def test_names_outside_the_benchmark() -> None:
    """A name with another id is distinguished from a name without an id, which may be wrong."""
    result = match(ID, f"{OTHER}.mp4", "holiday.mp4", f"{ID}x.mp4", f"{ID}.f137.mp4", "readme/intro.mp4")
    assert result.candidates == {}
    assert result.other_videos == (Path(f"{OTHER}.mp4"),)
    assert [path.name for path in result.without_id] == [
        f"{ID}.f137.mp4", f"{ID}x.mp4", "holiday.mp4", "intro.mp4",
    ]  # fmt: skip


def test_priority_of_several_files() -> None:
    """Order: a start second, a plain name, a folder named like the class, few folders, the alphabet."""
    expected = [
        f"z/{ID}_000030_000040.mp4",
        f"z/Playing_Drums/{ID}.mp4",
        f"{ID}.mkv",
        f"{ID}.mp4",
        f"a/{ID}.mp4",
        f"b/{ID}.mp4",
        f"v_{ID}.mp4",
        f"title [{ID}].mp4",
    ]
    assert files(match(ID, *sorted(expected)))[ID] == expected


def test_ids_are_case_sensitive() -> None:
    """YouTube ids that differ only in case are different videos."""
    assert files(match([ID, ID.swapcase()], f"{ID}.mp4")) == {ID: [f"{ID}.mp4"]}


ids = st.text(string.ascii_letters + string.digits + "_-", min_size=11, max_size=11)


@st.composite
def data_sets(draw: st.DrawFn) -> tuple[dict[str, str], list[str]]:
    """Clip ids with the file of each, and the files in any order with others between them."""
    videos = draw(st.lists(ids, min_size=1, max_size=8, unique=True))
    expected = {video: draw(st.sampled_from(LAYOUTS[:6])).format(id=video) for video in videos}
    strangers = draw(st.lists(st.sampled_from(["notes.mp4", "a/b.mp4", "intro.webm"]), unique=True))
    return expected, draw(st.permutations([*expected.values(), *strangers]))


@given(data_sets())
def test_random_ids_and_layouts(data: tuple[dict[str, str], list[str]]) -> None:
    """Each clip gets its own file and other files match no clip, in any order of files."""
    expected, paths = data
    result = match(list(expected), *paths)
    for clip_id, path in expected.items():
        assert path in files(result)[clip_id]
    assert result == match(list(expected), *sorted(paths))
    assert sum(map(len, result.candidates.values())) + len(result.without_id) == len(paths)
    assert result.other_videos == ()


@given(st.text(max_size=40))
def test_any_name_is_parsed(stem: str) -> None:
    """Parsed ids have 11 characters, also for names in other scripts."""
    assert all(len(name.video) == 11 and name.video.isascii() for name in read_video_name(stem))


RELEASED = Path(__file__).resolve().parents[2] / ".." / "shared" / "upstream-splits"


@pytest.mark.skipif(not RELEASED.exists(), reason="the released split files are not here")
@pytest.mark.parametrize(
    ("name", "layout"),
    [
        ("ave-ci", "AVE_Dataset/AVE/{id}.mp4"),
        ("ks-ci", "{label}/{id}_000030_000040.mp4"),
        ("vs100-ci", "VGGSound_final/video/{id}.mp4"),
    ],
)
def test_released_ids_are_found(name: str, layout: str) -> None:
    """All ids that begin with - or _, or like a prefix or a start second, and every 50th of the others."""
    benchmark = load_published(name, copy=RELEASED)
    chosen = {
        clip_id: clip.label
        for number, (clip_id, clip) in enumerate(benchmark.clips.items())
        if number % 50 == 0 or clip_id[0] in "-_" or clip_id[1] == "_" or clip_id[0] == "Y"
    }
    paths = {clip_id: layout.format(id=clip_id, label=label) for clip_id, label in chosen.items()}
    result = match_files(chosen, map(Path, paths.values()), clip_times(chosen))
    assert files(result) == {clip_id: [path] for clip_id, path in paths.items()}


def test_times_of_annotations(tmp_path: Path) -> None:
    """The CSV files of Kinetics and AudioSet give times by id; VGGSound has them in its ids."""
    kinetics = tmp_path / "k400.csv"
    kinetics.write_text(f"label,youtube_id,time_start,time_end,split\nplaying drums,{ID},30,40,train\n")
    audioset = tmp_path / "segments.csv"
    audioset.write_text(
        f"# Segments csv created Sun Mar  5 10:54:31 2017\n# YTID, start_seconds, end_seconds, positive_labels\n"
        f'{ID}, 30.000, 40.000, "/m/09x0r,/t/dd00088"\n{ID}, 50.000, 60.000, "/m/09x0r"\n'
    )
    for file in (kinetics, audioset):
        assert clip_times([ID, OTHER], file) == {ID: (30, 40)}
    assert clip_times([f"{ID}_000017", ID]) == {f"{ID}_000017": (17, 27)}
    matching = match_files(
        {ID: "a"}, map(Path, [f"{ID}_000030_000040.mp4", f"{ID}_000090.mp4"]), {ID: (30, 40)}
    )
    assert [str(file.path) for file in matching.candidates[ID]] == [f"{ID}_000030_000040.mp4"]
    assert matching.other_videos == (Path(f"{ID}_000090.mp4"),)
