"""Comparison of extraction with the scripts of AV-CIL's release on the same clips: clips per second and MB on disk.

    python benchmarks/extraction.py FOLDER [--clips 4] [--rounds 3] [--audio moviepy|ffmpeg]

Needs the program ffmpeg; `--audio moviepy` needs `pip install moviepy`, `--audio ffmpeg` writes the WAV by ffmpeg
alone, which is faster than the release is. In FOLDER it makes 10-second clips with audio at the rates of video
platforms, 1280x720 of 2.5 Mbit/s and 640x360 of 0.7 Mbit/s (H.264 as x264 makes it by itself, a key frame every 250
frames; AAC).

Decode: each way in turns.

    release   ffmpeg to JPEGs at 10 frames a second; a WAV of 44.1 kHz; 16 of the JPEGs read with PIL and brought to a
              short side of 224; the WAV read and resampled to 11,430 Hz (release_way.py)
    avcil     `read_clip`: 16 frames at a short side of 224 and audio at 16 kHz, nothing on the disk

The release has one clip in hand at a time, and its ffmpeg as many threads as it likes; so has avcil first, with one
thread, and then a reader a core, as `avcil extract` has them.

Decode and encode: VideoMAE-base and AudioMAE ViT-B of full size and random weights, one clip after another and a dict
of float32 arrays in a .npy file the release's way, `avcil.extraction.extract` the other; the models are loaded before.

Then: what `avcil extract` leaves on the disk and how much it writes in all, and frames beside ffmpeg's.
"""

from __future__ import annotations

import argparse
import os
import resource
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from functools import partial
from pathlib import Path

import numpy as np
from ffmpeg_frames import compare_frames, ffmpeg
from full_size import encoders
from release_way import read_by_files

from avcil.data.clips import Clip, write_clips
from avcil.extraction.extract import extract
from avcil.extraction.read_ahead import DecodeSpec
from avcil.extraction.read_pool import read_in_pool
from avcil.media import read_clip
from avcil.media.reader import ReaderPool, ReadLimits
from avcil.utils.prefetch import prefetch

SIZES = {"720p": ("1280x720", "2.5M"), "360p": ("640x360", "0.7M")}
SECONDS, RATE = 10, 30
ENCODED = 2
"""Number of clips of each size to encode: on a CPU, the models take most of the time in both implementations."""
TABLE = "| {} | {} | {} | {} | {} |"


def make_clips(folder: Path, count: int) -> dict[str, list[Path]]:
    """Moving patterns with film grain, and a tone of changing frequency."""
    made: dict[str, list[Path]] = {}
    for name, (size, bits) in SIZES.items():
        for number in range(count):
            path = folder / f"{name}-{number}.mp4"
            made.setdefault(name, []).append(path)
            if not path.exists():
                picture = f"testsrc2=size={size}:rate={RATE}:duration={SECONDS},noise=alls=6:allf=t:all_seed={number}"
                waveform = f"aevalsrc=0.3*sin({600 + 100 * number}*t*t):s=44100:d={SECONDS}"
                inputs = ["-f", "lavfi", "-i", picture, "-f", "lavfi", "-i", waveform]
                rate = ["-b:v", bits, "-maxrate", bits, "-bufsize", "5M"]
                video = ["-c:v", "libx264", *rate, "-g", 250, "-pix_fmt", "yuv420p"]
                ffmpeg(*inputs, *video, "-c:a", "aac", "-ac", 2, path)
    return made


def compare_decoding(clips: dict[str, list[Path]], rounds: int, audio: str) -> None:
    """Lines of the table: medians of clips per second, and of the ratio within each round."""
    for name, paths in clips.items():
        times: dict[str, list[float]] = {"release": [], "avcil": [], "avcil, a reader a core": []}
        left = 0
        for _ in range(rounds):
            start = time.perf_counter()
            for path in paths:
                with tempfile.TemporaryDirectory() as folder:
                    *_, left = read_by_files(path, Path(folder), audio=audio)
            times["release"].append(time.perf_counter() - start)
            start = time.perf_counter()
            for path in paths:
                read_clip(path, frames=16, short_side=224, sample_rate=16_000)
            times["avcil"].append(time.perf_counter() - start)
            times["avcil, a reader a core"].append(in_parallel(paths))
        for way, seconds in times.items():
            ratio = statistics.median(a / b for a, b in zip(times["release"], seconds, strict=True))
            rate = len(paths) / statistics.median(seconds)
            kept = left / 1e6 if way == "release" else 0.0
            print(
                TABLE.format(f"decode, {name}", way, f"{rate:.2f}", f"{ratio:.1f}", f"{kept:.1f}"), flush=True
            )


def in_parallel(paths: list[Path]) -> float:
    """Seconds to read them with one reader per core; the readers have started and read one clip each before."""
    workers = len(os.sched_getaffinity(0))
    pool = ReaderPool(ReadLimits(), workers)
    wanted = DecodeSpec(frames=16, short_side=224, sample_rate=16_000)
    read_one_clip = partial(read_in_pool, pool, spec=wanted)
    try:
        list(prefetch(as_clips([paths[0]] * workers), read_one_clip, workers=workers, depth=workers))
        start = time.perf_counter()
        read = list(prefetch(as_clips(paths), read_one_clip, workers=workers, depth=workers))
        seconds = time.perf_counter() - start
    finally:
        pool.close()
    if any(clip.frames is None or clip.waveform is None for clip in read):
        sys.exit("a clip could not be read")
    return seconds


def as_clips(paths: list[Path]) -> list[Clip]:
    """With an absolute path as the id."""
    return [Clip(clip_id=str(path), path=path.absolute(), label="a", split="train") for path in paths]


def compare_encoding(name: str, paths: list[Path], folder: Path, audio: str) -> None:
    """Lines of the table: both implementations from files to stored features, once."""
    seeing, hearing = encoders(folder)
    read = read_clip(paths[0], frames=16, short_side=224, sample_rate=16_000)
    seeing.encode([read.frames])  # the first call takes longer
    hearing.encode([read.waveform])
    start, table, kept = time.perf_counter(), {}, 0
    for path in paths:
        with tempfile.TemporaryDirectory() as scratch:
            frames, heard, left = read_by_files(path, Path(scratch), audio=audio)
            kept += left
        table[path.name] = seeing.encode([frames])[0].astype(np.float32), hearing.encode([heard])[0]
    np.save(folder / "features.npy", table, allow_pickle=True)  # type: ignore[arg-type]
    release = time.perf_counter() - start
    shutil.rmtree(folder / "store", ignore_errors=True)
    start = time.perf_counter()
    extract(as_clips(paths), folder / "store", visual=seeing, audio=hearing)
    ours = time.perf_counter() - start
    kept += (folder / "features.npy").stat().st_size
    for way, seconds, size in (("release", release, kept), ("avcil", ours, bytes_in(folder / "store"))):
        figures = f"{len(paths) / seconds:.2f}", f"{release / seconds:.1f}", f"{size / len(paths) / 1e6:.1f}"
        print(TABLE.format(f"decode and encode, {name}", way, *figures), flush=True)


def bytes_in(folder: Path) -> int:
    """Total size of all files in the folder."""
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())


def check_disk(paths: list[Path], folder: Path) -> None:
    """Run `avcil extract` in an empty folder that also has the temporary files: remaining and written bytes."""
    with tempfile.TemporaryDirectory(dir=folder) as name:
        place = Path(name)
        (place / "tmp").mkdir()
        write_clips(place / "clips.csv", as_clips(paths))
        arguments = [sys.executable, "-m", "avcil", "extract", "clips.csv", "--out", "store"]
        environment = {**os.environ, "TMPDIR": str(place / "tmp"), "PYTHONDONTWRITEBYTECODE": "1"}
        before = resource.getrusage(resource.RUSAGE_CHILDREN).ru_oublock
        subprocess.run(arguments, cwd=place, env=environment, check=True, stdout=subprocess.DEVNULL)
        written = (resource.getrusage(resource.RUSAGE_CHILDREN).ru_oublock - before) * 512
        store, rest = bytes_in(place / "store"), bytes_in(place) - bytes_in(place / "store")
        rest -= (place / "clips.csv").stat().st_size
        print(
            f"\navcil extract of {len(paths)} clips: a store of {store / 1e6:.2f} MB, {rest} bytes beside it; "
            f"{written / 1e6:.2f} MB written in all, readers included"
        )
        if rest:
            sys.exit("something but the store was left on the disk")


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("folder", type=Path)
    parser.add_argument("--clips", type=int, default=4)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--audio", choices=("moviepy", "ffmpeg"), default="moviepy")
    options = parser.parse_args()
    if shutil.which("ffmpeg") is None:
        sys.exit(
            "this benchmark compares with the program ffmpeg, which is not installed: apt-get install ffmpeg"
        )
    options.folder.mkdir(parents=True, exist_ok=True)
    clips = make_clips(options.folder, options.clips)
    version = subprocess.run(["ffmpeg", "-version"], stdout=subprocess.PIPE).stdout.decode().splitlines()[0]
    print(f"{version.split(' Copyright')[0]}; the release's audio by {options.audio}\n")
    print(TABLE.format("10-second clips", "way", "clips/s", "times the release's", "MB a clip on disk"))
    print(TABLE.format("---", "---", "---:", "---:", "---:"))
    compare_decoding(clips, options.rounds, options.audio)
    for name, paths in clips.items():
        compare_encoding(name, paths[:ENCODED], options.folder, options.audio)
    paths = [path for paths in clips.values() for path in paths]
    check_disk(paths, options.folder)
    same, files = compare_frames(paths)
    print(f"frames equal to ffmpeg's byte for byte: {same} of {files} files")
    sys.exit(same != files)


if __name__ == "__main__":
    main()
