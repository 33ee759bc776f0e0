"""Kill `avcil reproduce` at random times, and check that no finished run is lost or repeated.

Makes a small store, runs one reproduction without interruption, then another whose parent process is killed again and
again, and compares the files of the table, byte by byte, and each finished run's results.json, by its time of writing.
Every fifth kill is during the start of the program, the others during training.

    python benchmarks/kill_reproduce.py [--kills 20] [--seed 0] [--jobs 2]
"""

from __future__ import annotations

import argparse
import hashlib
import random
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

from avcil.data.clips import Clip
from avcil.features import FeatureWriter
from avcil.features.feature_spec import FeatureSpec
from avcil.features.manifest import Manifest

TABLES = ("table.txt", "table.md", "table.tex", "table.html", "results.csv", "summary.json")
METHODS = ("fine-tuning", "lwf", "icarl-nme", "ss-il", "afc-lsc", "av-cil", "joint")


def make_store(folder: Path) -> None:
    """Six classes of Gaussian clusters, audio and visual."""
    rng = np.random.default_rng(0)
    manifest = Manifest(
        visual=FeatureSpec(shape=(4, 9, 32), encoder={"name": "synthetic"}),
        audio=FeatureSpec(shape=(32,), encoder={"name": "synthetic"}),
        sampling={"frames": 4, "sample_rate": 16000},
    )
    writer = FeatureWriter(folder, manifest)
    for label in ("bell", "cat", "dog", "owl", "rain", "train"):
        seen, heard = rng.standard_normal(32), rng.standard_normal(32)
        for split, count in (("train", 24), ("val", 6), ("test", 10)):
            for number in range(count):
                clip_id = f"{label}/{split}/{number}"
                writer.add(
                    Clip(clip_id=clip_id, path=Path(f"{clip_id}.mp4"), label=label, split=split),
                    visual=(seen + rng.standard_normal((4, 9, 32))).astype(np.float32),
                    audio=(heard + rng.standard_normal(32)).astype(np.float32),
                )
    writer.close()


def command(store: Path, out: Path, *, jobs: int, epochs: int) -> list[str]:
    """The command of the reproduction."""
    arguments = [
        "reproduce",
        str(store),
        "--out",
        str(out),
        "--classes-per-step",
        "2",
        "--epochs",
        str(epochs),
    ]
    arguments += ["--methods", *METHODS, "--modalities", "audio-visual", "--seeds", "0", "1", "2"]
    arguments += ["--jobs", str(jobs), "--checkpoint-seconds", "0.2"]
    return [sys.executable, "-c", "from avcil.cli.main import main; main()", *arguments]


def finished(out: Path) -> dict[str, int]:
    """Modification times of the results of finished runs."""
    return {file.parent.name: file.stat().st_mtime_ns for file in out.glob("runs/*/results.json")}


def digests(out: Path) -> dict[str, str]:
    """SHA-256 of each file of the table."""
    return {name: hashlib.sha256((out / name).read_bytes()).hexdigest() for name in TABLES}


def wait_for_work(out: Path, process: subprocess.Popen[bytes]) -> None:
    """Wait until another epoch was logged, or the process has ended."""
    before = logged(out)
    while logged(out) == before and process.poll() is None:
        time.sleep(0.02)


def logged(out: Path) -> dict[Path, int]:
    """Size of each run's log."""
    return {file: file.stat().st_size for file in out.glob("runs/*/metrics.jsonl")}


def main() -> int:
    """Print the results; returns 1 if a run was lost, repeated or different."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--kills", type=int, default=20)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--jobs", type=int, default=2)
    parser.add_argument("--epochs", type=int, default=30)
    options = parser.parse_args()
    chance = random.Random(options.seed)
    with tempfile.TemporaryDirectory() as folder:
        store = Path(folder) / "store"
        make_store(store)
        whole, killed = Path(folder) / "whole", Path(folder) / "killed"
        start = time.monotonic()
        make = {"jobs": options.jobs, "epochs": options.epochs}
        subprocess.run(command(store, whole, **make), check=True, stdout=subprocess.DEVNULL)
        seconds = time.monotonic() - start
        total = len(finished(whole))
        print(f"undisturbed: {total} runs in {seconds:.1f} s")
        mistakes = 0
        kept: dict[str, int] = {}
        for number in range(1, options.kills + 1):
            process = subprocess.Popen(command(store, killed, **make), stdout=subprocess.DEVNULL)
            if number % 5 == 0:
                where, moment = "starting", chance.uniform(0, 3)
            else:
                where, moment = "at work", chance.uniform(0, 2.5 * seconds / options.kills)
                wait_for_work(killed, process)
            try:
                process.wait(timeout=moment)
                how = f"ended by itself ({process.returncode})"
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
                how = f"killed {moment:4.2f} s into {where}"
            now = finished(killed)
            lost = kept.keys() - now.keys()
            repeated = {name for name in kept.keys() & now.keys() if kept[name] != now[name]}
            mistakes += len(lost) + len(repeated)
            steps = len(list(killed.glob("runs/*/checkpoints/step_*")))
            print(
                f"{number:>3}  {how}: {len(now):>2} of {total} runs and {steps:>2} of {3 * total} steps "
                f"finished, {len(lost)} lost, {len(repeated)} repeated",
                flush=True,
            )
            kept = now
        end = subprocess.run(command(store, killed, **make), stdout=subprocess.DEVNULL, check=False)
        now = finished(killed)
        repeated = {name for name in kept if kept[name] != now.get(name)}
        mistakes += len(repeated) + (end.returncode != 0) + (len(now) != total)
        print(f"to the end: exit code {end.returncode}, {len(now)} of {total} runs, {len(repeated)} repeated")
        mine, theirs = digests(killed), digests(whole)
        for name in TABLES:
            same = mine[name] == theirs[name]
            mistakes += not same
            print(f"{name:<13} {mine[name][:16]}  {'identical' if same else 'DIFFERENT'}")
    print("nothing lost, nothing repeated, tables identical" if not mistakes else f"{mistakes} MISTAKES")
    return 1 if mistakes else 0


if __name__ == "__main__":
    sys.exit(main())
