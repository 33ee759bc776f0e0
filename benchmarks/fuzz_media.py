"""Fuzzing of media files: damaged copies must not cause crashes, hangs, leaks or missing error messages.

    python benchmarks/fuzz_media.py CLIPS --count 2000

Every mutant is a file of the folder CLIPS with bits flipped, its end cut off, another file's head written over
its own, or a stretch removed, repeated or blanked. It is read as `avcil extract` reads clips, by child
processes that can be killed. It must end whole, or lacking something, or listed, with the reason for either.
The seed decides every mutant, whatever the number of workers. Exit code 1 if a reader crashed, hung, raised,
left a file open, lacked something without a reason, or (--twice) read something else the second time.
"""

from __future__ import annotations

import os
import random
import re
import resource
import sys
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from multiprocessing import get_context
from multiprocessing.connection import wait
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory
from typing import Any

import tyro
from tqdm import tqdm
from tyro.conf import Positional

MIB = 2**20
WAITS = 20
"""A reader may wait for the CPU on a busy machine, which is not a hang."""
BAD = ("crashed", "hung", "raised", "left files open", "silent lack", "differs when read again")


@dataclass(frozen=True, kw_only=True)
class Args:
    """Read damaged copies of media files."""

    clips: Positional[Path]
    """The folder of files to damage."""
    count: int = 400
    """Mutants."""
    seed: int = 0
    """Seed of all mutants."""
    workers: int = 1
    """Child processes."""
    timeout: float = 60.0
    """Seconds of CPU time after which a mutant counts as hung; or `WAITS` times as many seconds of wall time."""
    largest: int = 100 * MIB
    """Maximum size of files in bytes; larger ones are skipped."""
    twice: bool = False
    """Read each mutant a second time, and compare all values."""
    keep: Path | None = None
    """A folder for the mutants with an error."""


def mutant(data: bytes, others: list[bytes], rng: random.Random) -> tuple[str, bytes]:
    """A damaged copy of `data`, and how it was damaged."""
    kind = rng.choice(("flips", "flips in the head", "cut", "splice", "blank", "remove", "repeat"))
    changed, size = bytearray(data), len(data)
    begin = rng.randrange(size)
    length = 1 + rng.randrange(max(1, size // 10))
    if kind.startswith("flips"):
        reach = min(size, 4096) if "head" in kind else size
        for _ in range(rng.choice((1, 4, 16, 64, 256))):
            changed[rng.randrange(reach)] ^= 1 << rng.randrange(8)
    elif kind == "cut":
        del changed[begin:]
    elif kind == "splice":
        head = rng.choice((16, 64, 512, 4096, 65536))
        changed[:head] = rng.choice(others)[:head]
    elif kind == "blank":
        changed[begin : begin + length] = bytes([rng.choice((0, 255))]) * len(changed[begin : begin + length])
    elif kind == "remove":
        del changed[begin : begin + length]
    else:
        changed[begin:begin] = data[begin : begin + length]
    return kind, bytes(changed)


def mutants(args: Args) -> Iterator[tuple[str, str, bytes]]:
    """Name, kind and bytes of each mutant."""
    files = sorted(p for p in args.clips.iterdir() if p.is_file() and 0 < p.stat().st_size <= args.largest)
    if not files:
        sys.exit(f"{args.clips} holds no file of at most {args.largest} bytes")
    contents = [path.read_bytes() for path in files]
    for number in range(args.count):
        rng = random.Random(f"{args.seed} {number}")
        place = rng.randrange(len(files))
        kind, data = mutant(contents[place], contents, rng)
        yield f"{number:05d}-{files[place].name}", kind, data


def read(path: Path, twice: bool) -> tuple[str, str]:
    """Outcome of reading a file, and the reason."""
    from avcil.data.clips import Clip
    from avcil.extraction.read_ahead import DecodeSpec, read_one

    wanted = DecodeSpec(frames=8, short_side=64, sample_rate=16000)
    clip = Clip(clip_id=path.name, path=path, label="?", split="test")
    before = len(os.listdir("/proc/self/fd"))
    result = read_one(clip, wanted)
    if len(os.listdir("/proc/self/fd")) != before:
        return "left files open", ""
    if re.match(r"[A-Z]\w+(Error|Exception): ", result.reason):
        return "raised", result.reason
    lacks = result.missing_modalities(wanted)
    if lacks and not result.reason:
        return "silent lack", " and ".join(lacks)
    if twice and _numbers(result) != _numbers(read_one(clip, wanted)):
        return "differs when read again", result.reason
    if not lacks:
        return ("whole, with a remark" if result.reason else "whole"), result.reason
    return ("listed" if len(lacks) == 2 else f"no {lacks[0]}"), result.reason


def _numbers(found: Any) -> tuple[Any, ...]:
    arrays = [part if part is None else part.tobytes() for part in (found.frames, found.waveform)]
    return (*arrays, found.reason)


def serve(pipe: Any, twice: bool) -> None:
    """Main loop of a child: reads the files of received paths, and sends outcome, current and peak memory in MiB."""
    while True:
        try:
            path = pipe.recv()
        except EOFError:
            return
        outcome = read(path, twice)
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
        pages = int(Path("/proc/self/statm").read_text().split()[1])
        pipe.send((*outcome, pages * resource.getpagesize() / MIB, peak))


class Child:
    """A process that reads one file at a time; it is replaced after a crash or hang."""

    def __init__(self, folder: Path, twice: bool) -> None:
        self.folder, self.twice = folder, twice
        self.task: tuple[str, str, bytes] | None = None
        self._start()

    def _start(self) -> None:
        context = get_context("spawn")
        self.pipe, theirs = context.Pipe()
        self.process = context.Process(target=serve, args=(theirs, self.twice), daemon=True)
        self.process.start()
        theirs.close()

    def give(self, task: tuple[str, str, bytes]) -> None:
        self.task, self.begun, self.cpu = task, time.monotonic(), self._processor_time()
        self.path = self.folder / task[0]
        self.path.write_bytes(task[2])
        self.pipe.send(self.path)

    def _processor_time(self) -> float:
        """CPU seconds of the process."""
        fields = Path(f"/proc/{self.process.pid}/stat").read_text().rsplit(")", 1)[1].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

    def _is_hung(self, timeout: float) -> bool:
        waited = time.monotonic() - self.begun
        return waited > WAITS * timeout or (waited > timeout and self._processor_time() - self.cpu > timeout)

    def take(self, timeout: float) -> tuple[str, str, float, float] | None:
        """The answer, or the failure if there will be none."""
        result = None
        if self.pipe.poll():
            try:
                result = self.pipe.recv()
            except EOFError:
                self.process.join()
                result = "crashed", f"exit code {self.process.exitcode}", 0.0, 0.0
                self._start()
        elif self._is_hung(timeout):
            self.process.kill()
            self.process.join()
            result = "hung", f"for {timeout:g} s", 0.0, 0.0
            self._start()
        if result is not None:
            self.path.unlink()
        return result

    def stop(self) -> None:
        self.pipe.close()
        self.process.join(5)
        self.process.kill()


@dataclass(frozen=True)
class Result:
    """The outcome of one mutant."""

    name: str
    kind: str
    outcome: str
    reason: str
    memory: float
    """Memory of its child afterwards, in MiB."""
    peak: float
    """Peak memory of its child until then, in MiB."""
    seconds: float
    child: int
    """The process that read it."""


def outcomes(args: Args, folder: Path) -> Iterator[Result]:
    """The outcome of each mutant as it is finished."""
    tasks = mutants(args)
    children = [Child(folder, args.twice) for _ in range(args.workers)]
    try:
        idle = list(children)
        while True:
            while idle and (task := next(tasks, None)) is not None:
                idle.pop().give(task)
            busy = [child for child in children if child not in idle]
            if not busy:
                return
            wait([child.pipe for child in busy], timeout=0.5)
            for child in busy:
                reader = child.process.pid
                if (result := child.take(args.timeout)) is None:
                    continue
                name, kind, data = child.task
                idle.append(child)
                if args.keep is not None and result[0] in BAD:
                    args.keep.mkdir(parents=True, exist_ok=True)
                    (args.keep / name).write_bytes(data)
                yield Result(name, kind, *result, time.monotonic() - child.begun, reader)
    finally:
        for child in children:
            child.stop()


def pattern(reason: str) -> str:
    """A reason without its numbers, so that equal ones are counted together."""
    return re.sub(r"\d+(\.\d+)?", "#", reason.split("; ")[0])


def summary(results: list[Result]) -> str:
    """The counts, the reasons, the slowest mutants, and all violations."""
    counts = Counter(result.outcome for result in results)
    kinds = Counter((result.kind, result.outcome) for result in results)
    names = [name for name, _ in counts.most_common()]
    lines = [f"{len(results)} mutants, {sum(result.seconds for result in results):.0f} s of reading", ""]
    lines.append(f"{'damage':<18}" + "".join(f"{name:>22}" for name in names))
    for kind in sorted({kind for kind, _ in kinds}):
        lines.append(f"{kind:<18}" + "".join(f"{kinds[kind, name]:>22}" for name in names))
    lines.append(f"{'all':<18}" + "".join(f"{counts[name]:>22}" for name in names))
    reasons = Counter(pattern(result.reason) for result in results if result.reason)
    lines += ["", "reasons:", *(f"{count:6d}  {reason}" for reason, count in reasons.most_common(40))]
    slow = sorted(results, key=lambda result: -result.seconds)[:5]
    lines += ["", "slowest:", *(f"{r.seconds:6.1f} s  {r.name} ({r.kind}): {r.outcome}" for r in slow)]
    lines.append(f"peak memory of a child: {max(result.peak for result in results):.0f} MiB")
    lines += [*memory_lines(results)]
    bad = [result for result in results if result.outcome in BAD]
    lines += ["", f"must not be: {len(bad)}"]
    lines += [f"  {r.name} ({r.kind}): {r.outcome}: {r.reason}" for r in bad]
    return "\n".join(lines)


def memory_lines(results: list[Result]) -> Iterator[str]:
    """Memory of each child by fifths of its files: a leak appears as steady growth."""
    for child in sorted({result.child for result in results}):
        taken = [result.memory for result in results if result.child == child and result.memory]
        fifth = len(taken) // 5
        if fifth:
            medians = [median(taken[k * fifth : (k + 1) * fifth]) for k in range(5)]
            shown = ", ".join(f"{value:.0f}" for value in medians)
            yield f"memory of child {child} after a file, median of each fifth of its {len(taken)} files: {shown} MiB"


def main() -> None:
    """Read every mutant and print the outcomes."""
    args = tyro.cli(Args)
    with TemporaryDirectory() as folder:
        found = tqdm(outcomes(args, Path(folder)), total=args.count, unit="files", disable=None)
        results = list(found)
    print(summary(results))
    sys.exit(any(result.outcome in BAD for result in results))


if __name__ == "__main__":
    main()
