"""Extract media files and damaged copies of them with `avcil extract`: each must be stored or listed with a reason.

    python benchmarks/fuzz_extract.py CLIPS FOLDER --count 2000

CLIPS is a folder of files, the copies are those of fuzz_media.py. The command runs with separate reader processes, as
for users; their memory is measured during the run. Exit code 1 if the command fails, a clip is neither stored nor
listed, a reason is empty or a programming error's, something but the store is left on the disk, a process is left
behind, or the command's memory grows to the end.
"""

from __future__ import annotations

import contextlib
import os
import re
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path
from statistics import median

from fuzz_media import Args, mutants, pattern

from avcil.data.clips import Clip, write_clips
from avcil.features import FeatureStore
from avcil.features.failures import read_failures
from avcil.features.verify import verify

MIB = 2**20
GROWTH = 1.3
"""Maximum ratio of the command's memory in the last fifth of the run to that in the second; more is a leak."""


def write_files(clips: Path, folder: Path, count: int) -> list[Clip]:
    """The original files, and `count` damaged copies."""
    folder.mkdir(parents=True)
    for name, _, data in mutants(Args(clips=clips, count=count)):
        (folder / name).write_bytes(data)
    paths = [path for path in sorted(clips.iterdir()) if path.suffix != ".csv"] + sorted(folder.iterdir())
    return [Clip(clip_id=path.name, path=path, label="a", split="train") for path in paths]


def memory(process: int) -> float:
    """Private memory of a process in MiB, without mapped files; 0 if it has ended."""
    try:
        lines = Path(f"/proc/{process}/status").read_text().splitlines()
    except OSError:
        return 0.0
    return next((int(line.split()[1]) / 1024 for line in lines if line.startswith("RssAnon:")), 0.0)


def family(process: int) -> set[int]:
    """The running processes that this process or one of its threads started."""
    result: set[int] = set()
    for children in Path(f"/proc/{process}/task").glob("*/children"):
        with contextlib.suppress(OSError):
            result.update(map(int, children.read_text().split()))
    return result


def run(words: list[str], environment: dict[str, str]) -> tuple[int, list[float], float, set[int]]:
    """Exit code, the command's memory over time, the peak memory of its readers, and their process ids."""
    process = subprocess.Popen(words, env=environment)
    held, most, readers = [], 0.0, set()
    while process.poll() is None:
        held.append(memory(process.pid))
        children = family(process.pid)
        readers.update(children)
        most = max([most, *map(memory, children)])
        time.sleep(0.25)
    return process.returncode, held, most, readers


def complaints(clips: list[Clip], out: Path, scratch: Path, readers: set[int]) -> list[str]:
    """All violations of the requirements."""
    stored = {clip.clip_id for clip in FeatureStore(out).clips}
    failed = read_failures(out)
    result = [
        f"neither stored nor listed: {c.clip_id}" for c in clips if c.clip_id not in stored | failed.keys()
    ]
    result += [f"stored and listed: {key}" for key in stored & failed.keys()]
    for key, failure in failed.items():
        if not failure.reason or re.match(r"[A-Z]\w+(Error|Exception): ", failure.reason):
            result.append(f"{key}: reason {failure.reason!r}")
        if "reader of the clip" in failure.reason or "reading was stopped" in failure.reason:
            result.append(f"crashed or hung: {key}: {failure.reason}")
    left = [str(path) for path in scratch.rglob("*") if path.is_file()]
    result += [f"left on the disk: {path}" for path in left]
    result += [f"left running: {reader}" for reader in readers if Path(f"/proc/{reader}").exists()]
    if not verify(out).is_intact:
        result.append("the store is damaged")
    return result


def main() -> None:
    if len(sys.argv) not in (3, 5):
        sys.exit(__doc__)
    clips_folder, folder = map(Path, sys.argv[1:3])
    count = int(sys.argv[4]) if len(sys.argv) == 5 else 2000
    clips = write_files(clips_folder, folder / "files", count)
    write_clips(folder / "clips.csv", clips)
    scratch = folder / "scratch"
    scratch.mkdir()
    arguments = [
        sys.executable,
        "-m",
        "avcil",
        "extract",
        str(folder / "clips.csv"),
        "--out",
        str(folder / "store"),
    ]
    start = time.perf_counter()
    environment = {**os.environ, "TMPDIR": str(scratch)}
    code, held, most, readers = run([*arguments, "--clip-seconds", "1200"], environment)
    print(
        f"{len(clips)} files, {len(readers)} readers, {time.perf_counter() - start:.0f} s, exit code {code}"
    )
    fifths = [median(held[k * len(held) // 5 : (k + 1) * len(held) // 5]) for k in range(5)]
    print(
        "memory of the command, median of each fifth:", ", ".join(f"{value:.0f}" for value in fifths), "MiB"
    )
    print(f"memory of a reader at most: {most:.0f} MiB")
    result = complaints(clips, folder / "store", scratch, readers) if code == 0 else ["the command failed"]
    if fifths[4] > GROWTH * fifths[1]:
        result.append("the command's memory grows")
    failed = read_failures(folder / "store")
    print(f"stored {len(clips) - len(failed)}, listed {len(failed)}:")
    for reason, times in Counter(pattern(failure.reason) for failure in failed.values()).most_common(40):
        print(f"{times:6d}  {reason}")
    print(f"must not be: {len(result)}", *result, sep="\n  ")
    sys.exit(bool(result))


if __name__ == "__main__":
    main()
