"""Rendering the demo clips: small videos of moving objects with sounds, in SPLIT/CLASS/clip.mp4.

`scene.py` describes their content. The video alone narrows a clip down to three classes (one of three objects makes the
sound), the audio alone to four (each of four shapes can make that sound), both together to one.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path

from avcil.datasets.synthetic.audio import synthesize_audio
from avcil.datasets.synthetic.drawing import draw_frames
from avcil.datasets.synthetic.scene import FRAME_RATE, SAMPLE_RATE, demo_class_names, draw_scene
from avcil.errors import InputError
from avcil.media import write_video
from avcil.utils.files import folder_lock, read_json, write_json

_SPEC_FILE = ".demo-clips.json"
"""File with seed and version of the clips; hidden, so that a scan ignores it."""
VERSION = 1
"""To be increased when the content of clips changes, so that clips of two versions are never mixed."""
HASH_OF_VERSION_1 = "48578958b90bad556ebed476ef68d44781c04051241eb28d89960bbaf08b5f2a"
"""Entry `drawing` in files of earlier development versions, with which clips of version 1 were rendered."""


def render_demo_clips(
    folder: Path,
    *,
    seed: int = 0,
    train: int = 32,
    val: int = 16,
    test: int = 12,
    workers: int | None = None,
    on_progress: Callable[[int, int], object] | None = None,
) -> list[Path]:
    """Render clips of each of the 16 classes. An interrupted call is resumed; the same seed gives the same clips.

    Args:
        folder: Where to write them.
        seed: Seed of the random scenes.
        train: Number of training clips per class.
        val: Number of validation clips per class.
        test: Number of test clips per class.
        workers: Number of processes; None is the number of CPU cores.
        on_progress: Called with the number of clips that are complete, and their total.

    Returns:
        The paths of all clips.

    Raises:
        InputError: The folder has clips of another seed, or other files.
    """
    folder = Path(folder)
    counts = {"train": train, "val": val, "test": test}
    if min(counts.values()) < 0 or not any(counts.values()):
        raise InputError(f"demo clips: the numbers of clips must be 0 or more and not all 0; not {counts}")
    with folder_lock(folder, "rendering demo clips"):
        _check_folder(folder, seed)
        jobs = [
            (folder / split / name / f"{index:03d}.mp4", name, (seed, split_index, class_index, index))
            for split_index, split in enumerate(counts)
            for class_index, name in enumerate(demo_class_names())
            for index in range(counts[split])
        ]
        _render_all([job for job in jobs if not is_complete_mp4(job[0])], len(jobs), workers, on_progress)
    return [path for path, _, _ in jobs]


def is_complete_mp4(path: Path) -> bool:
    """Whether a file is an MP4 whose boxes, including its index, fill it exactly."""
    try:
        data = memoryview(path.read_bytes())
    except FileNotFoundError:
        return False
    boxes, at = set(), 0
    while at + 8 <= len(data):
        size = int.from_bytes(data[at : at + 4], "big")
        boxes.add(bytes(data[at + 4 : at + 8]))
        if size < 8:
            return False
        at += size
    return at == len(data) and {b"moov", b"mdat"} <= boxes


def _check_folder(folder: Path, seed: int) -> None:
    """Write the seed and the version into the folder; InputError if it has other files."""
    spec = {"format": "avcil-demo-clips", "seed": seed}
    path = folder / _SPEC_FILE
    if path.exists():
        if read_json(path) not in (spec | {"version": VERSION}, spec | {"drawing": HASH_OF_VERSION_1}):
            raise InputError(
                f"{folder} holds demo clips of another seed or another version of avcil. "
                "Choose another folder, or delete this one"
            )
        return
    present = [entry.name for entry in folder.iterdir() if not entry.name.startswith(".")]
    if present:
        raise InputError(f"{folder} has other files than demo clips ({present[0]!r}). Choose an empty folder")
    write_json(path, spec | {"version": VERSION})


def _render_all(
    jobs: list[tuple[Path, str, tuple[int, ...]]],
    total: int,
    workers: int | None,
    on_progress: Callable[[int, int], object] | None,
) -> None:
    done = total - len(jobs)
    if on_progress is not None:
        on_progress(done, total)
    if not jobs:
        return
    workers = min(workers or os.cpu_count() or 1, len(jobs))
    with ProcessPoolExecutor(workers, mp_context=get_context("spawn")) as pool:
        for _ in pool.map(_render_one, jobs, chunksize=4):
            done += 1
            if on_progress is not None:
                on_progress(done, total)


def _render_one(job: tuple[Path, str, tuple[int, ...]]) -> None:
    path, name, key = job
    scene = draw_scene(name, key)
    write_video(
        path, draw_frames(scene), FRAME_RATE, waveform=synthesize_audio(scene), sample_rate=SAMPLE_RATE
    )
