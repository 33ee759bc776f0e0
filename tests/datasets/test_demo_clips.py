"""Demo clips: balanced, the same for the same seed, and resumable."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path

import numpy as np
import pytest

from avcil.datasets.synthetic.audio import synthesize_audio
from avcil.datasets.synthetic.clips import HASH_OF_VERSION_1, is_complete_mp4, render_demo_clips
from avcil.datasets.synthetic.drawing import draw_frames
from avcil.datasets.synthetic.scene import (
    FRAME_RATE,
    MOTIONS,
    PIXELS,
    SECONDS,
    SOUNDS,
    demo_class_names,
    draw_scene,
)
from avcil.errors import InputError
from avcil.media import probe


def scenes(count: int) -> list:
    names = demo_class_names()
    return [(name, draw_scene(name, (7, i, index))) for i, name in enumerate(names) for index in range(count)]


@pytest.fixture(scope="module")
def rendered(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, list[Path]]:
    folder = tmp_path_factory.mktemp("demo") / "clips"
    return folder, render_demo_clips(folder, train=1, val=0, test=0, workers=1)


def test_classes_combine_every_object_with_every_sound():
    """Each of the four steps adds one sound with every object: within a step only the video differs."""
    names = demo_class_names()
    assert len(set(names)) == 16
    for step in range(4):
        things, sounds = zip(*(name.split("-") for name in names[4 * step : 4 * step + 4]), strict=True)
        assert len(set(things)) == 4
        assert len(set(sounds)) == 1


def test_video_alone_distinguishes_three_classes() -> None:
    """The three objects differ in kind and motion; position does not show which object makes the sound."""
    places = Counter()
    for name, scene in scenes(20):
        assert (
            len({thing.shape for thing in scene.objects})
            == len({thing.motion for thing in scene.objects})
            == 3
        )
        heard = scene.objects[0]
        assert name == f"{heard.shape}-{SOUNDS[MOTIONS.index(heard.motion)]}"
        places[(heard.center[0] > PIXELS / 2, heard.center[1] > PIXELS / 2)] += 1
    assert min(places.values()) > 50


def test_clips_depend_only_on_the_key() -> None:
    """Equal keys give equal clips; other keys give other clips."""
    first, second = (draw_scene("star-horn", (1, 2)) for _ in range(2))
    assert first == second
    assert np.array_equal(draw_frames(first), draw_frames(second))
    assert np.array_equal(synthesize_audio(first), synthesize_audio(second))
    assert not np.array_equal(draw_frames(first), draw_frames(draw_scene("star-horn", (1, 3))))


def test_bell_sounds_at_each_landing() -> None:
    """The sound is synchronous with the video: its level rises when the object lands."""
    for index in range(3):
        scene = draw_scene("ball-bell", (5, index))
        heard, sound = scene.objects[0], synthesize_audio(scene)
        landings = (np.arange(1, 6) - heard.phase) * heard.period
        for landing in landings[(landings > 0.06) & (landings < SECONDS - 0.06)]:
            at = round(landing * 16_000)
            assert np.abs(sound[at : at + 400]).mean() > 1.2 * np.abs(sound[at - 500 : at - 100]).mean()


def test_sound_levels() -> None:
    """No sample is clipped and no clip is silent."""
    for _, scene in scenes(1):
        assert 0.3 < np.abs(synthesize_audio(scene)).max() <= 0.81


def test_rendered_files(rendered: tuple[Path, list[Path]]) -> None:
    """Sixteen files split/class/clip.mp4 of the documented length."""
    folder, paths = rendered
    assert len(paths) == 16
    assert all(is_complete_mp4(path) for path in paths)
    assert paths[0] == folder / "train" / "ball-bell" / "000.mp4"
    assert probe(paths[0]).duration == pytest.approx(SECONDS, abs=0.1)
    assert len(draw_frames(draw_scene("ball-bell", (0,)))) == SECONDS * FRAME_RATE


def test_interrupted_rendering_is_resumed(rendered: tuple[Path, list[Path]]) -> None:
    """Complete clips are kept; truncated and missing ones are rendered again with the same bytes."""
    folder, paths = rendered
    before = [path.read_bytes() for path in paths]
    stamps = [path.stat().st_mtime_ns for path in paths]
    paths[3].write_bytes(before[3][:-100])
    paths[5].unlink()
    told: list[tuple[int, int]] = []
    render_demo_clips(folder, train=1, val=0, test=0, workers=1, on_progress=lambda *done: told.append(done))
    assert told == [(14, 16), (15, 16), (16, 16)]
    assert [path.read_bytes() for path in paths] == before
    changed = [index for index, path in enumerate(paths) if path.stat().st_mtime_ns != stamps[index]]
    assert changed == [3, 5]


def test_folders_with_other_files_are_rejected(rendered: tuple[Path, list[Path]], tmp_path: Path) -> None:
    """Clips of two seeds are never mixed, and folders with other files are not changed."""
    with pytest.raises(InputError, match="another seed"):
        render_demo_clips(rendered[0], seed=1, train=1, val=0, test=0)
    (tmp_path / "holiday.txt").write_text("mine")
    with pytest.raises(InputError, match=r"holiday\.txt"):
        render_demo_clips(tmp_path)
    with pytest.raises(InputError, match="numbers of clips"):
        render_demo_clips(tmp_path / "new", train=-1)


def test_content_of_the_current_version() -> None:
    """If this fails, the content of the clips has changed: increase VERSION in synthetic/clips.py."""
    scene = draw_scene("cube-whistle", (0, 1, 2, 3))
    assert draw_frames(scene).mean() == pytest.approx(84.347, abs=0.01)
    assert np.square(synthesize_audio(scene)).mean() == pytest.approx(0.155806, rel=1e-3)


def test_clips_of_the_development_version_are_resumed(tmp_path: Path) -> None:
    """Their description contains a hash of the program instead of a version."""
    folder = tmp_path / "clips"
    folder.mkdir()
    spec = {"format": "avcil-demo-clips", "seed": 0, "drawing": HASH_OF_VERSION_1}
    (folder / ".demo-clips.json").write_text(json.dumps(spec))
    assert len(render_demo_clips(folder, train=1, val=0, test=0, workers=1)) == 16
