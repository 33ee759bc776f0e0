"""Reads of the feature store beside raw memory-mapping, h5py with a dataset a clip, and a dict in one .npy file.

    python benchmarks/feature_store.py FOLDER [--clips 160] [--grid 8x196x768] [--rounds 7]

Writes the same made-up clips in each form into FOLDER, then reads random batches and all clips in order, cold (the
files' pages dropped from the kernel's cache before each read) and warm, the forms taking turns; prints medians and
ratios. The dict is what AV-CIL's release keeps: it is loaded whole, which is its one read, cold or warm; its batches
afterwards are memory alone and say nothing of a disk.
"""

from __future__ import annotations

import argparse
import gc
import os
import statistics
import time
from collections.abc import Callable
from pathlib import Path

import h5py
import numpy as np

from avcil.clips import Clip
from avcil.features import FeatureStore, FeatureWriter, Manifest, Modality


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("folder", type=Path)
    parser.add_argument("--clips", type=int, default=160)
    parser.add_argument("--grid", default="8x196x768")
    parser.add_argument("--batch", type=int, default=32)
    parser.add_argument("--rounds", type=int, default=7)
    options = parser.parse_args()
    shape = tuple(map(int, options.grid.split("x")))
    options.folder.mkdir(parents=True, exist_ok=True)
    write_all(options.folder, options.clips, shape)
    rng = np.random.default_rng(1)
    megabytes = np.prod(shape) * 2 / 1e6
    print(
        f"{options.clips} clips of {options.grid} float16 ({megabytes:.2f} MB each), batches of {options.batch}"
    )
    for what in ("random batch", "in order"):
        for state in ("warm", "cold"):
            measure(what, state, options, rng, megabytes)
    path = options.folder / "dict.npy"
    drop(path)
    began = time.perf_counter()
    loaded = np.load(path, allow_pickle=True).item()  # made by this script a moment ago
    print(f"dict in one .npy: {time.perf_counter() - began:.2f} s to load all {len(loaded)} clips, cold")


def write_all(folder: Path, count: int, shape: tuple[int, ...]) -> None:
    """Every form, of the same numbers; files of an earlier call are written anew."""
    rng = np.random.default_rng(0)
    table = {}
    (folder / "store" / "index.jsonl").unlink(missing_ok=True)
    manifest = Manifest(visual=Modality(shape=shape))
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
    """A function from rows to an array (n, T, S, D), and the files behind it, for each form."""
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
        "raw memory map": (from_raw, [folder / "raw.npy"]),
        "avcil store": (store.visual, shards),
        "h5py, a dataset a clip": (from_h5, [folder / "clips.h5"]),
        "the same, read_direct": (from_h5_into, [folder / "clips.h5"]),
    }


def drop(*paths: Path) -> None:
    """Take files out of the kernel's cache; mapped pages stay until they are unmapped, so they are not trusted."""
    for path in paths:
        descriptor = os.open(path, os.O_RDONLY)
        os.fsync(descriptor)
        os.posix_fadvise(descriptor, 0, 0, os.POSIX_FADV_DONTNEED)
        os.close(descriptor)


def measure(what, state, options, rng, megabytes) -> None:
    """A line a form: median clips a second, and the ratio to raw memory-mapping of the same rounds."""
    shape = tuple(map(int, options.grid.split("x")))
    names = list(open_all(options.folder, options.clips, shape))
    times: dict[str, list[float]] = {name: [] for name in names}
    gc.collect()  # a map that is open keeps its pages in memory, whatever the kernel is told
    for _ in range(options.rounds):
        random = rng.permutation(options.clips)[: options.batch]
        rows = random if what == "random batch" else np.arange(options.clips)
        wanted = None
        for name in names:
            read, files = open_all(options.folder, options.clips, shape)[name]
            if state == "cold":
                gc.collect()
                drop(*files)
            else:
                read(rows)
            began = time.perf_counter()
            got = read(rows)
            times[name].append(time.perf_counter() - began)
            wanted = got if wanted is None else wanted
            assert np.array_equal(got, wanted)
            del read
    base = times["raw memory map"]
    for name, seconds in times.items():
        rate = len(rows) / statistics.median(seconds)
        ratio = statistics.median(b / s for b, s in zip(base, seconds, strict=True))
        print(
            f"{what:<13} {state:<5} {name:<24} {rate:9.0f} clips/s {rate * megabytes:8.0f} MB/s  {ratio:5.2f} of raw"
        )


if __name__ == "__main__":
    main()
