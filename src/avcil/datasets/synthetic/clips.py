"""Renders the demo clips: small real videos of things that move and sound, split/class/clip.mp4.

What a clip shows is said in demo_scene.py. The picture alone narrows a clip down to three classes (one of
three things sounds), the sound alone to four (four kinds of thing make that sound), both together to one.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path

from avcil.datasets.synthetic import drawing as demo_drawing
from avcil.datasets.synthetic import scene as demo_scene
from avcil.datasets.synthetic import sound as demo_sound
from avcil.datasets.synthetic.scene import FRAME_RATE, SAMPLE_RATE, demo_class_names, draw_scene
from avcil.errors import InputError
from avcil.media import write_video
from avcil.utils.files import folder_lock, read_json, write_json

SPEC_FILE = ".demo-clips.json"
"""Beside the clips: what they were rendered from. Hidden, so that a scan of the folder passes over it."""


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
    """Render `train`, `val` and `test` clips of each of the 16 classes, and give their paths.

    Stopped and called again, it goes on: whole clips stay, half-written ones are rendered anew. The same
    seed gives the same clips. `on_progress(done, total)` is called as clips get done; `workers` is the
    number of processes (all cores by default). A folder that holds clips of another seed is refused with
    `InputError`; another number of clips is fine.
    """
    folder = Path(folder)
    counts = {"train": train, "val": val, "test": test}
    if min(counts.values()) < 0 or not any(counts.values()):
        raise InputError(f"demo clips: the numbers of clips must be 0 or more and not all 0; got {counts}")
    with folder_lock(folder, "rendering demo clips"):
        _claim(folder, seed)
        jobs = [
            (folder / split / name / f"{index:03d}.mp4", name, (seed, split_index, class_index, index))
            for split_index, split in enumerate(counts)
            for class_index, name in enumerate(demo_class_names())
            for index in range(counts[split])
        ]
        _render_all([job for job in jobs if not is_whole_mp4(job[0])], len(jobs), workers, on_progress)
    return [path for path, _, _ in jobs]


def is_whole_mp4(path: Path) -> bool:
    """Whether a file is an MP4 whose boxes fill it exactly, its index among them: False for a torn or
    missing one."""
    try:
        data = memoryview(path.read_bytes())
    except FileNotFoundError:
        return False
    kinds, at = set(), 0
    while at + 8 <= len(data):
        size = int.from_bytes(data[at : at + 4], "big")
        kinds.add(bytes(data[at + 4 : at + 8]))
        if size < 8:
            return False
        at += size
    return at == len(data) and {b"moov", b"mdat"} <= kinds


def _claim(folder: Path, seed: int) -> None:
    """Note in the folder what its clips are rendered from, or refuse a folder that holds others."""
    spec = {"format": "avcil-demo-clips", "seed": seed, "drawing": _drawing_hash()}
    path = folder / SPEC_FILE
    if path.exists():
        if read_json(path) != spec:
            raise InputError(
                f"{folder} holds demo clips of another seed or another version of avcil. "
                "Choose another folder, or delete this one"
            )
        return
    present = [entry.name for entry in folder.iterdir() if not entry.name.startswith(".")]
    if present:
        raise InputError(
            f"{folder} holds files that are no demo clips ({present[0]!r}). Choose an empty folder"
        )
    write_json(path, spec)


def _drawing_hash() -> str:
    """Changes with the code that draws and plays, so that clips of two versions never mix."""
    sources = [Path(str(module.__file__)).read_bytes() for module in (demo_scene, demo_drawing, demo_sound)]
    return hashlib.sha256(json.dumps([hashlib.sha256(s).hexdigest() for s in sources]).encode()).hexdigest()


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
    frames = demo_drawing.draw_frames(scene)
    write_video(path, frames, FRAME_RATE, waveform=demo_sound.play_sound(scene), sample_rate=SAMPLE_RATE)
