"""Whether the frames of `read_clip` are byte-identical to those of the program ffmpeg at the same times.

    python benchmarks/ffmpeg_frames.py FOLDER [FOLDER ...]

On every file in the folders that is not damaged: eight frames at a short side of 224. ffmpeg decodes the whole file in
order, and scales by its filter with the flags that `read_clip` uses. Exit code 1 if frames differ.
"""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import av
import numpy as np

from avcil.errors import InputError
from avcil.media import read_clip

CHROMA = {"left": (0, 128), "center": (128, 128), "topleft": (0, 0), "top": (128, 0)}
"""Position of chroma samples in the file, which is an argument of ffmpeg's filter `scale`."""


def ffmpeg(*arguments: object, out: bool = False) -> bytes:
    """Run ffmpeg without messages; returns its standard output."""
    command = ["ffmpeg", "-v", "error", "-nostdin", "-y", *map(str, arguments)]
    return subprocess.run(command, check=True, stdout=subprocess.PIPE if out else None).stdout


def compare_frames(paths: list[Path]) -> tuple[int, int]:
    """Number of files whose frames equal those of ffmpeg at the same times, byte for byte, after rotation."""
    same = files = 0
    for path in paths:
        try:
            ours = read_clip(path, frames=8, short_side=224)
            if ours.frames is None:
                continue
            height, width = ours.frames.shape[1:3]
            upright = ffmpeg_frames(path, ours.frame_times, height, width)
            lying = ffmpeg_frames(path, ours.frame_times, width, height)
        except (InputError, subprocess.CalledProcessError, ValueError, KeyError) as error:
            print(f"not compared  {path.name}: {str(error)[:100]}")
            continue
        if damage := [problem for problem in ours.problems if "audio" not in problem]:
            print(f"not compared  {path.name}: {'; '.join(damage)[:100]}")
            continue
        files += 1
        if any(np.array_equal(ours.frames, theirs) for theirs in [*turns(upright), *turns(lying)]):
            same += 1
        else:
            off = np.abs(ours.frames.astype(int) - upright).max(axis=(1, 2, 3)).tolist()
            print(f"differs       {path.name}: largest difference by frame {off}")
    return same, files


def turns(frames: np.ndarray) -> list[np.ndarray]:
    """The eight rotations and reflections of images (F, H, W, 3)."""
    return [np.rot90(side, quarter, (1, 2)) for side in (frames, frames[:, :, ::-1]) for quarter in range(4)]


def ffmpeg_frames(path: Path, times: np.ndarray, height: int, width: int) -> np.ndarray:
    """The frames displayed at `times`, all decoded by ffmpeg in order and converted as `read_clip` does."""
    with av.open(str(path)) as container:
        track = container.streams.best(
            "video"
        ).index  # of several tracks the one that FFmpeg selects, as in `read_clip`
    fields = "stream=chroma_location:format=start_time:frame=best_effort_timestamp_time"
    arguments = [
        "ffprobe",
        "-v",
        "error",
        "-select_streams",
        str(track),
        "-show_entries",
        fields,
        "-of",
        "json",
        str(path),
    ]
    probed = json.loads(subprocess.run(arguments, check=True, stdout=subprocess.PIPE).stdout)
    origin = float(probed["format"].get("start_time", 0))
    stamps = np.array([float(frame["best_effort_timestamp_time"]) for frame in probed["frames"]]) - origin
    wanted = np.maximum(np.searchsorted(stamps, times + 1e-6, side="right") - 1, 0)
    chosen = "+".join(f"eq(n\\,{number})" for number in sorted(set(wanted.tolist())))
    flags = "bilinear+accurate_rnd+bitexact"
    across, down = CHROMA.get(probed["streams"][0].get("chroma_location"), (-513, -513))
    place = f"in_h_chr_pos={across}:in_v_chr_pos={down}"
    scale = f"scale={width}:{height}:flags={flags}:out_range=pc:{place}"
    raw = ffmpeg(
        *(
            "-noautorotate",
            "-i",
            path,
            "-map",
            f"0:{track}",
            "-vf",
            f"select='{chosen}',{scale}",
            "-sws_flags",
            flags,
        ),
        *("-fps_mode", "passthrough", "-f", "rawvideo", "-pix_fmt", "rgb24", "-"),
        out=True,
    )
    frames = np.frombuffer(raw, np.uint8).reshape(-1, height, width, 3)
    order = {number: place for place, number in enumerate(sorted(set(wanted.tolist())))}
    return frames[[order[number] for number in wanted.tolist()]]


def main() -> None:
    if len(sys.argv) < 2:
        sys.exit(__doc__)
    paths = sorted(path for folder in sys.argv[1:] for path in Path(folder).rglob("*") if path.is_file())
    same, files = compare_frames(paths)
    print(f"frames equal to ffmpeg's byte for byte: {same} of {files} files")
    sys.exit(same != files)


if __name__ == "__main__":
    main()
