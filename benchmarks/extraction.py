"""Reading clips for the encoders beside the way of AV-CIL's release: JPEGs by ffmpeg, a WAV, and both read again.

    python benchmarks/extraction.py FOLDER [--clips 4] [--rounds 3] [--also DIR]

Needs the program `ffmpeg` and `pip install moviepy`. In FOLDER it makes 10-second clips with sound at the rates of
video platforms, 1280x720 of 2.5 Mbit/s and 640x360 of 0.7 Mbit/s (H.264 as x264 makes it by itself, a key frame every
250 frames; AAC), and, on the same clips in turns:

    release   ffmpeg to JPEGs at 10 frames a second; a WAV of 44.1 kHz by moviepy; 16 of the JPEGs read with PIL and
              brought to a short side of 224; the WAV read and resampled to 11,430 Hz
    avcil     `read_clip`: 16 frames at a short side of 224 and sound at 16 kHz, nothing on the disk

The release has one clip in hand at a time, and its ffmpeg as many threads as it likes; so has avcil first, with one
thread, and then a reader a core, as `avcil extract` has them. Then frames of `read_clip` are compared, byte for byte,
with those that ffmpeg gives at the same moments, on these clips and, with `--also DIR`, on every file in a folder.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
import wave
from pathlib import Path

import numpy as np
from moviepy import VideoFileClip
from PIL import Image
from scipy.signal import resample_poly

from avcil.clips import Clip
from avcil.errors import InputError
from avcil.features.read_pool import read_clips_ahead
from avcil.features.reader_process import Limits
from avcil.features.reading import Wanted
from avcil.media import read_clip

SIZES = {"720p": ("1280x720", "2.5M"), "360p": ("640x360", "0.7M")}
SECONDS, RATE = 10, 30
CHROMA = {"left": (0, 128), "center": (128, 128), "topleft": (0, 0)}
"""Where the file says its chroma samples lie; ffmpeg's filter `scale` must be told, its library need not."""


def ffmpeg(*words: object, out: bool = False) -> bytes:
    """Run ffmpeg quietly; its standard output."""
    command = ["ffmpeg", "-v", "error", "-nostdin", "-y", *map(str, words)]
    return subprocess.run(command, check=True, stdout=subprocess.PIPE if out else None).stdout


def make_clips(folder: Path, count: int) -> dict[str, list[Path]]:
    """Moving patterns with film grain, and a tone that sweeps."""
    made: dict[str, list[Path]] = {}
    for name, (size, bits) in SIZES.items():
        for number in range(count):
            path = folder / f"{name}-{number}.mp4"
            made.setdefault(name, []).append(path)
            if not path.exists():
                picture = f"testsrc2=size={size}:rate={RATE}:duration={SECONDS},noise=alls=6:allf=t:all_seed={number}"
                sound = f"aevalsrc=0.3*sin({600 + 100 * number}*t*t):s=44100:d={SECONDS}"
                inputs = ["-f", "lavfi", "-i", picture, "-f", "lavfi", "-i", sound]
                rate = ["-b:v", bits, "-maxrate", bits, "-bufsize", "5M"]
                video = ["-c:v", "libx264", *rate, "-g", 250, "-pix_fmt", "yuv420p"]
                ffmpeg(*inputs, *video, "-c:a", "aac", "-ac", 2, path)
    return made


def release_way(path: Path, folder: Path) -> int:
    """Frames (16, H, W, 3) and sound by way of the disk; bytes that lie there afterwards."""
    ffmpeg("-i", path, "-vf", "fps=10", "-q:v", 2, folder / "%06d.jpg")
    write_sound(path, folder / "sound.wav")
    files = sorted(folder.glob("*.jpg"))
    frames = []
    for place in np.linspace(0, len(files) - 1, 16).round().astype(int):
        with Image.open(files[place]) as image:
            scale = 224 / min(image.size)
            size = (round(image.width * scale), round(image.height * scale))
            frames.append(np.asarray(image.convert("RGB").resize(size, Image.Resampling.BILINEAR)))
    np.stack(frames)
    with wave.open(str(folder / "sound.wav")) as file:
        samples = np.frombuffer(file.readframes(file.getnframes()), np.int16).reshape(-1, 2)
    resample_poly(samples.mean(axis=1) / 32768, 127, 490)
    return sum(file.stat().st_size for file in folder.iterdir())


def write_sound(path: Path, wav: Path) -> None:
    """By moviepy, as the release does."""
    with VideoFileClip(str(path)) as clip:
        clip.audio.write_audiofile(str(wav), fps=44_100, logger=None)


def compare_speed(clips: dict[str, list[Path]], rounds: int) -> None:
    """Medians of clips a second, in turns, and the ratio of each round."""
    for name, paths in clips.items():
        times: dict[str, list[float]] = {"release": [], "avcil": [], "avcil, a reader a core": []}
        left = 0
        for _ in range(rounds):
            began = time.perf_counter()
            for path in paths:
                with tempfile.TemporaryDirectory() as folder:
                    left = release_way(path, Path(folder))
            times["release"].append(time.perf_counter() - began)
            began = time.perf_counter()
            for path in paths:
                read_clip(path, frames=16, short_side=224, sample_rate=16_000)
            times["avcil"].append(time.perf_counter() - began)
            times["avcil, a reader a core"].append(in_parallel(paths))
        for way, seconds in times.items():
            ratio = statistics.median(a / b for a, b in zip(times["release"], seconds, strict=True))
            kept = f"{left / 1e6:.1f}" if way == "release" else "0.0"
            rate = len(paths) / statistics.median(seconds)
            print(
                f"{name}  {way:<24} {rate:6.2f} clips/s  {ratio:5.1f} times the release's  {kept:>5} MB a clip on disk"
            )


def in_parallel(paths: list[Path]) -> float:
    """Seconds to read them by as many readers as cores, their start not counted."""
    clips = [Clip(clip_id=str(path), path=path, label="a", split="train") for path in paths]
    wanted = Wanted(frames=16, short_side=224, sample_rate=16_000)
    workers = len(os.sched_getaffinity(0))
    stream = read_clips_ahead(
        [*clips[:workers], *clips], wanted, Limits(), workers=workers, ahead=workers, isolate=True
    )
    for _ in range(workers):
        next(stream)
    began = time.perf_counter()
    for _ in stream:
        pass
    return time.perf_counter() - began


def compare_frames(paths: list[Path]) -> None:
    """How many frames equal ffmpeg's of the same moments, byte for byte; files turned by their header as well."""
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
        files += 1
        if any(np.array_equal(ours.frames, theirs) for theirs in [*turns(upright), *turns(lying)]):
            same += 1
        else:
            off = np.abs(ours.frames.astype(int) - upright).max(axis=(1, 2, 3)).tolist()
            print(f"differs       {path.name}: largest difference by frame {off}; {'; '.join(ours.problems)}")
    print(f"frames equal to ffmpeg's byte for byte: {same} of {files} files")


def turns(frames: np.ndarray) -> list[np.ndarray]:
    """The eight ways to turn and mirror pictures (F, H, W, 3)."""
    return [np.rot90(side, quarter, (1, 2)) for side in (frames, frames[:, :, ::-1]) for quarter in range(4)]


def ffmpeg_frames(path: Path, times: np.ndarray, height: int, width: int) -> np.ndarray:
    """Those displayed at `times`, all decoded by ffmpeg in order and converted as `read_clip` does."""
    fields = "stream=chroma_location:format=start_time:frame=best_effort_timestamp_time"
    words = [
        "ffprobe",
        "-v",
        "error",
        "-select_streams",
        "v:0",
        "-show_entries",
        fields,
        "-of",
        "json",
        str(path),
    ]
    said = json.loads(subprocess.run(words, check=True, stdout=subprocess.PIPE).stdout)
    origin = float(said["format"].get("start_time", 0))
    stamps = np.array([float(frame["best_effort_timestamp_time"]) for frame in said["frames"]]) - origin
    wanted = np.maximum(np.searchsorted(stamps, times + 1e-6, side="right") - 1, 0)
    chosen = "+".join(f"eq(n\\,{number})" for number in sorted(set(wanted.tolist())))
    flags = "bilinear+accurate_rnd+bitexact"
    across, down = CHROMA.get(said["streams"][0].get("chroma_location"), (-513, -513))
    place = f"in_h_chr_pos={across}:in_v_chr_pos={down}"
    scale = f"scale={width}:{height}:flags={flags}:out_range=pc:{place}"
    raw = ffmpeg(
        *(
            "-noautorotate",
            "-i",
            path,
            "-map",
            "0:v:0",
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
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("folder", type=Path)
    parser.add_argument("--clips", type=int, default=4)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--also", type=Path)
    options = parser.parse_args()
    if shutil.which("ffmpeg") is None:
        sys.exit(
            "this benchmark compares with the program ffmpeg, which is not installed: apt-get install ffmpeg"
        )
    options.folder.mkdir(parents=True, exist_ok=True)
    clips = make_clips(options.folder, options.clips)
    print(subprocess.run(["ffmpeg", "-version"], stdout=subprocess.PIPE).stdout.decode().splitlines()[0])
    compare_speed(clips, options.rounds)
    also = sorted(path for path in options.also.rglob("*") if path.is_file()) if options.also else []
    compare_frames([path for paths in clips.values() for path in paths] + also)


if __name__ == "__main__":
    main()
