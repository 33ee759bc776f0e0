"""Open thousands of damaged and malicious models, feature stores, run directories and archives.

    python benchmarks/fuzz_untrusted.py --count 3000 --seed 7

Each mutant is one change of a small original (fuzz_mutations.py, fuzz_subjects.py). It is opened in a child process, as
avcil's commands open it. Exit code 1 if any

- ends in another exception than avcil's own, or in a crash,
- takes more than 1 GiB of memory, the child's 0.4 GiB included, or 20 seconds,
- touches a file outside its folder, or leaves what it unpacked,
- is accepted although it holds something else than the original. Half of the mutants have their checksums taken out, as
  an attacker does: of these, other content is only counted.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import random
import resource
import select
import shutil
import subprocess
import sys
import tempfile
import time
import traceback
from collections import Counter
from pathlib import Path
from typing import Any

SECONDS, MEMORY = 20.0, 1 << 30
ADDRESS_SPACE = 6 << 30
SHARES = {"model": 0.45, "store": 0.3, "run": 0.1, "archive": 0.15}


def subject_of(number: int, seed: int, folder: Path) -> tuple[random.Random, Path]:
    """The random generator of a mutant, and its original."""
    draw = random.Random(f"{seed}-{number}")
    kind = draw.choices(list(SHARES), list(SHARES.values()))[0]
    return draw, draw.choice(sorted((folder / kind).iterdir()))


def child(folder: Path, seed: int) -> None:
    """Open the mutants whose numbers are read from lines, and write an answer line for each."""
    import fuzz_mutations
    from fuzz_subjects import OPEN, mutate_archive

    from avcil.errors import AvcilError

    contents = {
        path: OPEN[path.parent.name](copy_of(path)) for kind in OPEN for path in (folder / kind).iterdir()
    }
    resource.setrlimit(resource.RLIMIT_AS, (ADDRESS_SPACE, ADDRESS_SPACE))
    answer({"ready": True})
    for line in sys.stdin:
        draw, original = subject_of(int(line), seed, folder)
        kind, mutant = original.parent.name, copy_of(original)
        done, bare = (mutate_archive if kind == "archive" else fuzz_mutations.mutate)(mutant, draw)
        Path("/proc/self/clear_refs").write_text("5")  # the peak memory is measured from here
        before = fuzz_mutations.listing(mutant)
        outcome, message, start = "accepted", "", time.monotonic()
        try:
            result = OPEN[kind](mutant)
            if kind == "store" and result is not None:  # an extraction writes lost lines again
                same = all(contents[original].get(key) == value for key, value in result.items())
            else:
                same = result is None or result == contents[original]
            if not same:
                outcome = "other content" if bare else "WRONG CONTENT"
        except AvcilError as error:
            outcome, message = "refused", str(error)
        except BaseException:
            outcome, message = "EXCEPTION", traceback.format_exc()
        if fuzz_mutations.listing(mutant) != before:
            outcome = "TOUCHED A FOLDER ELSEWHERE"
        answer(
            {
                "kind": kind,
                "done": done,
                "outcome": outcome,
                "said": message[-3000:],
                "seconds": time.monotonic() - start,
                "memory": peak(),
            }
        )
        fuzz_mutations.remove(mutant.parent)


def copy_of(original: Path) -> Path:
    """A copy in a separate folder."""
    return Path(shutil.copytree(original, Path(tempfile.mkdtemp(prefix="mutant-")) / original.name))


def peak() -> int:
    """Peak memory of this process in bytes."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith("VmHWM:"))


def answer(value: dict[str, Any]) -> None:
    """Write a line to the parent."""
    with contextlib.suppress(BrokenPipeError):
        print(json.dumps(value), file=ANSWERS, flush=True)


class Child:
    """A process that opens mutants, restarted after a hang or crash."""

    def __init__(self, folder: Path, seed: int) -> None:
        self.folder, self.seed = folder, seed
        self.process: subprocess.Popen[bytes] | None = None

    def ask(self, number: int) -> dict[str, Any]:
        """The outcome of a mutant."""
        if self.process is None:
            command = [sys.executable, __file__, "--child", str(self.folder), "--seed", str(self.seed)]
            self.process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
            assert self._line(600.0) == {"ready": True}
        assert self.process.stdin is not None
        self.process.stdin.write(f"{number}\n".encode())
        self.process.stdin.flush()
        result = self._line(3 * SECONDS)
        if result is None:
            self.process.kill()
            code = self.process.wait()
            self.process = None
            original = subject_of(number, self.seed, self.folder)[1]
            result = {
                "kind": original.parent.name,
                "done": "?",
                "outcome": f"HUNG OR CRASHED ({code})",
                "said": "",
            }
            result |= {"seconds": 3 * SECONDS, "memory": 0}
        return result

    def _line(self, seconds: float) -> dict[str, Any] | None:
        assert self.process is not None
        assert self.process.stdout is not None
        ready = select.select([self.process.stdout], [], [], seconds)[0]
        line = self.process.stdout.readline() if ready else b""
        return json.loads(line) if line else None


def faults(found: dict[str, Any]) -> list[str]:
    """Requirements that the outcome of a mutant violates."""
    wrong = [found["outcome"]] if found["outcome"].split()[0].isupper() else []
    wrong += [f"{found['seconds']:.1f} s"] if found["seconds"] > SECONDS else []
    wrong += [f"{found['memory'] / 2**20:.0f} MiB"] if found["memory"] > MEMORY else []
    return wrong


def main() -> int:
    """Run all mutants and print a table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--count", type=int, default=3000)
    parser.add_argument("--seed", type=int, default=random.SystemRandom().randrange(10**9))
    parser.add_argument("--only", type=int, help="one mutant, by its number")
    parser.add_argument("--child", type=Path, help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.child:
        child(args.child, args.seed)
        return 0
    from fuzz_subjects import make

    with tempfile.TemporaryDirectory() as scratch:
        os.environ["TMPDIR"] = scratch
        make(Path(scratch) / "originals")
        reader, table, wrong, worst = Child(Path(scratch) / "originals", args.seed), Counter(), 0, [0.0, 0]
        for number in [args.only] if args.only is not None else range(args.count):
            result = reader.ask(number)
            table[result["kind"], result["outcome"]] += 1
            worst = [max(worst[0], result["seconds"]), max(worst[1], result["memory"])]
            if what := faults(result):
                wrong += 1
                print(
                    f"mutant {number}, {result['kind']}, {result['done']}: {', '.join(what)}\n{result['said']}"
                )
        if reader.process is not None:
            reader.process.kill()
    print(f"seed {args.seed}, {sum(table.values())} mutants")
    for (kind, outcome), count in sorted(table.items()):
        print(f"{kind:10} {outcome:16} {count:6}")
    print(f"longest {worst[0]:.1f} s, largest {worst[1] / 2**20:.0f} MiB, {wrong} at fault")
    return 1 if wrong else 0


if __name__ == "__main__":
    if "--child" in sys.argv:
        ANSWERS = os.fdopen(os.dup(1), "w")  # other output is not an answer
        os.dup2(2, 1)
    sys.exit(main())
