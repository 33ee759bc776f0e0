"""Reading the feature store, compared with a memory map, h5py with one dataset per clip, and a dict in a .npy file.

    python benchmarks/feature_store.py FOLDER [--clips 160] [--grid 8x196x768] [--rounds 5]

Writes the same synthetic clips in each form into FOLDER, then reads batches of rows drawn anew in each round, and all
clips in order, each warm (the same rows were read a moment before) and cold. Cold: the kernel is told to forget the
form's files, and asked whether it did; a read whose file is not all gone from its memory is not counted, which the
table's last column would show. What a disk or its host keeps in memory of its own cannot be forgotten from here. The
forms take turns, and each round another one begins. Prints medians, and ratios of the same round, as a Markdown table.

The dict is what AV-CIL's release keeps: it is loaded whole, which is its one read; its batches afterwards are memory
alone and say nothing of a disk.
"""

from __future__ import annotations

import argparse
import ctypes
import gc
import mmap
import os
import sys
import time
from collections.abc import Callable
from pathlib import Path

import h5py
import numpy as np

from avcil.data.clips import Clip
from avcil.features import FeatureSpec, FeatureStore, FeatureWriter, Manifest

RAW, H5PY = "raw memory map", "h5py, a dataset a clip"
LIBC = ctypes.CDLL(None, use_errno=True)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("folder", type=Path)
    parser.add_argument("--clips", type=int, default=160)
    parser.add_argument("--grid", default="8x196x768")
    parser.add_argument("--batch", type=int, default=32)
    parser.add_argument("--rounds", type=int, default=5)
    options = parser.parse_args()
    shape = tuple(map(int, options.grid.split("x")))
    options.folder.mkdir(parents=True, exist_ok=True)
    write_all(options.folder, options.clips, shape)
    rng = np.random.default_rng(1)
    megabytes = np.prod(shape) * 2 / 1e6
    print(
        f"{options.clips} clips of {options.grid} float16 ({megabytes:.2f} MB each), batches of {options.batch}\n"
    )
    print("| read | form | clips/s | MB/s | of raw | of h5py | rounds |")
    print("| --- | --- | ---: | ---: | ---: | ---: | ---: |")
    for what in ("random batch", "in order"):
        for state in ("warm", "cold"):
            measure(what, state, options, rng, megabytes)
    print()
    for state in ("warm", "cold"):
        seconds, count = load_dict(options.folder / "dict.npy", cold=state == "cold")
        print(
            f"dict in one .npy, {state}: {seconds:.2f} s to load all {count} clips, before the first can be read"
        )


def load_dict(path: Path, *, cold: bool) -> tuple[float, int]:
    """Seconds, and the number of clips in the dict."""
    if cold:
        drop(path)
    start = time.perf_counter()
    loaded = np.load(path, allow_pickle=True).item()  # written by this script
    return time.perf_counter() - start, len(loaded)


def write_all(folder: Path, count: int, shape: tuple[int, ...]) -> None:
    """Write the same values in every format; files of an earlier call are replaced."""
    rng = np.random.default_rng(0)
    table = {}
    (folder / "store" / "index.jsonl").unlink(missing_ok=True)
    manifest = Manifest(visual=FeatureSpec(shape=shape))
    raw = np.lib.format.open_memmap(folder / "raw.npy", "w+", np.float16, (count, *shape))
    with FeatureWriter(folder / "store", manifest) as writer, h5py.File(folder / "clips.h5", "w") as file:
        for number in range(count):
            values = rng.standard_normal(shape, np.float32).astype(np.float16)
            name = f"clip{number:06d}"
            raw[number] = table[name] = values
            file.create_dataset(name, data=values)
            writer.add(Clip(clip_id=name, path=Path(name), label="a", split="train"), visual=values)
    raw.flush()
    np.save(folder / "dict.npy", table, allow_pickle=True)  # type: ignore[arg-type]
    os.sync()


Reader = tuple[Callable[[np.ndarray], np.ndarray], list[Path]]


def open_all(folder: Path, count: int, shape: tuple[int, ...]) -> dict[str, Reader]:
    """For each format: a function from rows to an array (n, T, S, D), and its files."""
    store = FeatureStore(folder / "store")
    raw = np.load(folder / "raw.npy", mmap_mode="r")
    file = h5py.File(folder / "clips.h5", "r")
    names = [f"clip{number:06d}" for number in range(count)]

    def from_raw(rows: np.ndarray) -> np.ndarray:
        out = np.empty((len(rows), *shape), np.float16)
        for place, row in enumerate(rows):
            out[place] = raw[row]
        return out

    def from_h5(rows: np.ndarray) -> np.ndarray:
        return np.stack([file[names[row]][()] for row in rows])

    def from_h5_into(rows: np.ndarray) -> np.ndarray:
        out = np.empty((len(rows), *shape), np.float16)
        for place, row in enumerate(rows):
            file[names[row]].read_direct(out[place])
        return out

    shards = sorted((folder / "store" / "shards").glob("*.safetensors"))
    return {
        RAW: (from_raw, [folder / "raw.npy"]),
        "avcil store": (store.visual, shards),
        H5PY: (from_h5, [folder / "clips.h5"]),
        "the same, read_direct": (from_h5_into, [folder / "clips.h5"]),
    }


def drop(*paths: Path) -> bool:
    """Remove files from the page cache; returns whether all pages were removed."""
    for path in paths:
        descriptor = os.open(path, os.O_RDONLY)
        os.fsync(descriptor)
        os.posix_fadvise(descriptor, 0, 0, os.POSIX_FADV_DONTNEED)
        os.close(descriptor)
    return not any(resident_pages(path) for path in paths)


def resident_pages(path: Path) -> int:
    """Number of pages of a file in the page cache, by mincore(2)."""
    with open(path, "rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_COPY) as mapped:
        pages = -(-len(mapped) // mmap.PAGESIZE)
        held = (ctypes.c_ubyte * pages)()
        start = ctypes.c_char.from_buffer(mapped)
        code = LIBC.mincore(ctypes.c_void_p(ctypes.addressof(start)), ctypes.c_size_t(len(mapped)), held)
        del start
        if code:
            raise OSError(ctypes.get_errno(), "mincore")
        return int((np.frombuffer(held, np.uint8) & 1).sum())


def measure(what, state, options, rng, megabytes) -> None:
    """A line of the table for each format."""
    shape = tuple(map(int, options.grid.split("x")))
    names = list(open_all(options.folder, options.clips, shape))
    times: dict[str, list[float]] = {name: [] for name in names}
    gc.collect()  # an open memory map keeps its pages in memory
    for turn in range(options.rounds):
        random = rng.permutation(options.clips)[: options.batch]
        rows = random if what == "random batch" else np.arange(options.clips)
        wanted = None
        for name in names[turn % len(names) :] + names[: turn % len(names)]:
            seconds, got = one_read(name, rows, state, options, shape)
            times[name].append(seconds)
            wanted = got if wanted is None else wanted
            if not np.array_equal(got, wanted):
                sys.exit(f"{name} gives other numbers")
    for name in names:
        print(line(f"{what}, {state}", name, times, len(rows), megabytes))


def one_read(name, rows, state, options, shape) -> tuple[float, np.ndarray]:
    """Seconds of one read, and its result; NaN if a cold read was not cold."""
    read, files = open_all(options.folder, options.clips, shape)[name]
    counts = True
    if state == "cold":
        gc.collect()
        counts = drop(*files)
    else:
        read(rows)
    start = time.perf_counter()
    got = read(rows)
    seconds = time.perf_counter() - start
    return seconds if counts else np.nan, got


def line(read: str, name: str, times: dict[str, list[float]], rows: int, megabytes: float) -> str:
    """Medians of a format, and of its ratios to memory mapping and to h5py."""
    seconds = np.array(times[name])
    rate = rows / np.nanmedian(seconds)
    ratios = [np.nanmedian(np.array(times[other]) / seconds) for other in (RAW, H5PY)]
    return (
        f"| {read} | {name} | {rate:.0f} | {rate * megabytes:.0f} | {ratios[0]:.2f} | {ratios[1]:.2f} "
        f"| {np.isfinite(seconds).sum()} |"
    )


if __name__ == "__main__":
    main()
