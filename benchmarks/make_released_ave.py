"""Write a synthetic archive with the form, size and shapes of the released features of AVE-CI.

    python benchmarks/make_released_ave.py --splits DIR --out AVE_features.zip

4,079 clips of 1568 x 768 float32, 19.7 GB unpacked, in the pickle that numpy wrote for the release (protocol 3). Tokens
repeat within a time slice, so that the archive is small; class, clip and time slice decide them. It is for tests of
import and training at full size without the real features; accuracies on it are meaningless.
"""

from __future__ import annotations

import struct
import zipfile
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

import numpy as np
import tyro
from tqdm import tqdm

from avcil.datasets.published import PublishedBenchmark, load_published

AUDIO = "AVE_features/audio_pretrained_feature/audio_pretrained_feature_dict.npy"
VISUAL = "AVE_features/visual_pretrained_feature/visual_pretrained_feature_dict.npy"
BATCH = 1000


@dataclass(frozen=True, kw_only=True)
class Args:
    """Make the archive."""

    out: Path
    """The archive."""
    splits: Path | None = None
    """A copy of the released split files; the cache of `avcil benchmark fetch` unless given."""
    clips: int | None = None
    """Number of clips of each class and split; all by default."""
    noise: float = 2.0
    """Standard deviation of clips within a class, in units of the differences between classes."""
    seed: int = 0
    """Random seed."""


class DictWriter:
    """Writes a pickled dict of float32 arrays item by item, equal to numpy's pickle of the dict with protocol 3."""

    def __init__(self, file: BinaryIO):
        self.file = file
        self.count = self.memo = 0
        header = b"{'descr': '|O', 'fortran_order': False, 'shape': (), }".ljust(117) + b"\n"
        self.write(b"\x93NUMPY\x01\x00" + struct.pack("<H", len(header)) + header + b"\x80\x03")
        self.write(b"cnumpy.core.multiarray\n_reconstruct\n" + self.put())  # memo 0
        self.write(b"cnumpy\nndarray\n" + self.put() + b"K\x00\x85" + self.put())  # memo 1, 2
        self.write(b"C\x01b" + self.put() + b"\x87" + self.put() + b"R" + self.put())  # memo 3
        self.write(b"(K\x01)cnumpy\ndtype\n" + self.put())  # memo 6
        self.write(self.type_of("O8", "|", -1, 63) + b"\x89]" + self.put() + b"}" + self.put())

    def write(self, data: bytes | memoryview) -> None:
        self.file.write(data)

    def put(self) -> bytes:
        """Store the top of the stack in the memo."""
        self.memo += 1
        return b"r" + struct.pack("<I", self.memo - 1)

    def text(self, text: str) -> bytes:
        return b"X" + struct.pack("<I", len(text.encode())) + text.encode() + self.put()

    def type_of(self, code: str, order: str, size: int, flags: int) -> bytes:
        """A dtype whose constructor is on the stack."""
        made = self.text(code) + b"\x89\x88\x87" + self.put() + b"R" + self.put()
        state = b"(K\x03" + self.text(order) + b"NNN" + 2 * (b"J" + struct.pack("<i", size))
        return made + state + b"K" + bytes([flags]) + b"t" + self.put() + b"b"

    def add(self, name: str, values: np.ndarray) -> None:
        """One entry of the dict."""
        first = self.count == 0
        self.write((b"(" if self.count % BATCH == 0 else b"") + self.text(name))
        self.write(b"j\x00\x00\x00\x00j\x01\x00\x00\x00K\x00\x85" + self.put())
        self.write(b"j\x03\x00\x00\x00\x87" + self.put() + b"R" + self.put())
        shape = b"".join(b"M" + struct.pack("<H", n) for n in values.shape)
        self.write(b"(K\x01" + shape + (b"\x85" if values.ndim == 1 else b"\x86") + self.put())
        if first:
            self.write(b"j\x06\x00\x00\x00")
            made = self.type_of("f4", "<", -1, 0)
            self.dtype = (
                self.memo - 3
            )  # the dtype is stored in the memo before the text of its byte order and its state
            self.write(made)
        else:
            self.write(b"j" + struct.pack("<I", self.dtype))
        self.write(b"\x89B" + struct.pack("<I", values.nbytes))
        self.write(np.ascontiguousarray(values, np.float32).data.cast("B"))
        self.write(self.put() + b"t" + self.put() + b"b")
        self.count += 1
        if self.count % BATCH == 0:
            self.write(b"u")

    def close(self) -> None:
        """End the dict and the array around it."""
        self.write((b"u" if self.count % BATCH else b"") + b"at" + self.put() + b"b.")


def features(benchmark: PublishedBenchmark, args: Args) -> tuple[list[str], Callable, Callable]:
    """The clips, and functions for a clip's audio and tokens."""
    rng = np.random.default_rng(args.seed)
    means = {label: rng.standard_normal((3, 768)) for label in benchmark.classes}
    ids, taken = [], Counter()
    known = list(benchmark.clips)
    for number in rng.permutation(len(known)):
        clip_id = known[number]
        clip = benchmark.clips[clip_id]
        taken[clip] += 1
        if args.clips is None or taken[clip] <= args.clips:
            ids.append(clip_id)

    def parts(clip_id: str) -> np.ndarray:
        own = np.random.default_rng([args.seed, *clip_id.encode()]).standard_normal((3, 768))
        return means[benchmark.clips[clip_id].label] + args.noise * own

    def audio(clip_id: str) -> np.ndarray:
        return parts(clip_id)[0].astype(np.float32)

    def visual(clip_id: str) -> np.ndarray:
        _, start, end = parts(clip_id)
        slices = np.linspace(0, 1, 8)[:, None] * (end - start) + start
        return np.repeat(slices.astype(np.float32), 196, axis=0)

    return ids, audio, visual


def main() -> None:
    """Write both dicts into the archive, clip by clip."""
    args = tyro.cli(Args)
    benchmark = load_published("ave-ci", copy=args.splits)
    ids, audio, visual = features(benchmark, args)
    with zipfile.ZipFile(args.out, "w", zipfile.ZIP_DEFLATED, compresslevel=1) as archive:
        for name, make in ((AUDIO, audio), (VISUAL, visual)):
            with archive.open(name, "w", force_zip64=True) as file:
                writer = DictWriter(file)
                for clip_id in tqdm(ids, desc=name.rsplit("/", 1)[1], disable=None):
                    writer.add(clip_id, make(clip_id))
                writer.close()
    print(f"{len(ids)} clips in {args.out}: {args.out.stat().st_size / 2**20:.0f} MiB")


if __name__ == "__main__":
    main()
