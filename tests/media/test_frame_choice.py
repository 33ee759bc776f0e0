"""Frame selection: the default, and the rule of AV-CIL's scripts compared with FFmpeg."""

from __future__ import annotations

from pathlib import Path

import av
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from avcil.errors import InputError
from avcil.media import read_clip, write_video
from avcil.media.frame_choice import sample_times, script_images

RATES = {"av-cil-script-10fps": 10, "av-cil-script-8fps": 8}


def images_of_ffmpeg(path: Path, rate: int) -> list[np.ndarray]:
    """The images of FFmpeg's fps filter."""
    pictures = []
    with av.open(str(path)) as container:
        graph = av.filter.Graph()
        nodes = [graph.add_buffer(template=container.streams.video[0]), graph.add("fps", str(rate))]
        nodes.append(graph.add("buffersink"))
        graph.link_nodes(*nodes).configure()

        def drain() -> None:
            while True:
                try:
                    pictures.append(graph.vpull().to_ndarray(format="rgb24"))
                except (av.error.BlockingIOError, av.error.EOFError):
                    return

        for frame in container.decode(video=0):
            graph.vpush(frame)
            drain()
        graph.vpush(None)
        drain()
    return pictures


@pytest.mark.parametrize("choice", RATES)
@pytest.mark.parametrize(("fps", "seconds"), [(25, 3.0), (30, 2.0), (20, 2.5), (24, 4.0)])
def test_script_frames_equal_images_of_ffmpeg(choice: str, fps: int, seconds: float, tmp_path: Path) -> None:
    """At 8 or 10 images per second, the frames equal the images that the scripts select by number."""
    path = tmp_path / "clip.mp4"
    grey = np.linspace(10, 240, round(fps * seconds)).astype(np.uint8)
    frames = np.broadcast_to(grey[:, None, None, None], (len(grey), 32, 32, 3))
    write_video(path, np.ascontiguousarray(frames), fps, quality=1)
    pictures = images_of_ffmpeg(path, RATES[choice])
    numbers = script_images(len(pictures), 16)
    expected = np.array([pictures[number - 1].mean() for number in numbers])
    taken = read_clip(path, frames=16, frame_choice=choice).frames.mean(axis=(1, 2, 3))
    # the two conversions to RGB differ by a gray level, so frames are identified by their gray level
    with av.open(str(path)) as container:
        greys = np.array([frame.to_ndarray(format="rgb24").mean() for frame in container.decode(video=0)])
    ours = read_clip(path, frames=len(greys)).frames.mean(axis=(1, 2, 3))
    assert np.array_equal(_nearest(ours, taken), _nearest(greys, expected))


def _nearest(all_of_them: np.ndarray, values: np.ndarray) -> np.ndarray:
    return np.abs(all_of_them[None] - values[:, None]).argmin(axis=1)


@settings(deadline=None, max_examples=40)
@given(
    start=st.floats(0, 100),
    length=st.floats(0.01, 60),
    count=st.integers(1, 40),
    choice=st.sampled_from([*RATES, "slice-centres"]),
)
def test_times_ascend_within_the_range(start: float, length: float, count: int, choice: str) -> None:
    """Decoding needs ascending times; clips that are too short for the scripts are sampled, too."""
    times = sample_times(start, start + length, count, choice)
    assert times.shape == (count,)
    assert (np.diff(times) >= 0).all()
    assert times[0] >= start
    assert times[-1] <= start + length + 0.1


def test_unknown_frame_selection_is_an_error() -> None:
    """The error is raised before the file is opened."""
    with pytest.raises(InputError, match="did you mean slice-centres"):
        read_clip("no-such-file.mp4", frames=4, frame_choice="slice-centers")
