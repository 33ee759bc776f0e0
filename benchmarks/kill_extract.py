"""Extraction of real clips: uninterrupted, killed repeatedly, in parts, and on a Ray cluster that loses nodes.

    python benchmarks/kill_extract.py CLIPS.csv FOLDER [--kills 8] [--parts 3] [--nodes 3] [--seed 0]

All four stores are compared clip by clip, byte by byte, and no clip may be stored twice. Built-in encoders on a CPU.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import random
import signal
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path

from avcil.data.clips import read_clips
from avcil.features import FeatureStore
from avcil.features.index import read_index
from avcil.features.verify import verify


def command(clips: Path, out: Path, *more: str) -> list[str]:
    arguments = ["extract", str(clips), "--out", str(out), *more]
    return [sys.executable, "-c", "from avcil.cli.main import main; main()", *arguments]


def start(words: list[str]) -> subprocess.Popen[bytes]:
    """Start it in a new session, so that a kill also ends its readers."""
    quiet = subprocess.DEVNULL
    return subprocess.Popen(words, stdout=quiet, stderr=quiet, start_new_session=True)


def finish(words: list[str]) -> float:
    """Seconds until it has ended with exit code 0."""
    began = time.perf_counter()
    code = start(words).wait()
    if code:
        sys.exit(f"ended with code {code}: {' '.join(words[3:])}")
    return time.perf_counter() - began


def killed(words: list[str], kills: int, draw: random.Random, seconds: float) -> int:
    """Kill it `kills` times at random times, then let it finish; returns the number of kills before its end."""
    fell = 0
    for _ in range(kills):
        process = start(words)
        try:
            process.wait(timeout=draw.uniform(0.1, 1.0) * seconds / kills * 2)
            break
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()
            fell += 1
    finish(words)
    return fell


def on_a_cluster(clips: Path, out: Path, nodes: int) -> None:
    """A cluster of `nodes` on this machine; during the run, an encoder, a reader, and then a node are killed."""
    from ray.cluster_utils import Cluster

    memory = 400 * 2**20
    cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 1, "object_store_memory": memory})
    others = [cluster.add_node(num_cpus=1, object_store_memory=memory) for _ in range(nodes - 1)]
    try:
        process = start(command(clips, out, "--ray", cluster.address))
        total = len(read_clips(clips))
        for share, what, blow in (
            (0.05, "a reader", lambda: kill_worker("_read_batch", process)),
            (0.2, "an encoder", lambda: kill_worker("_Encoder", process)),
            (0.4, "a node", lambda: cluster.remove_node(others[0], allow_graceful=False)),
        ):
            while stored(out) < share * total:
                if process.poll() is not None:
                    sys.exit(f"the cluster was done before {what} could be killed; give more clips")
                time.sleep(0.2)
            blow()
            print(f"  {what} killed after {stored(out)} clips", flush=True)
        if process.wait():
            sys.exit(f"the cluster's extraction ended with code {process.returncode}")
    finally:
        cluster.shutdown()


def stored(out: Path) -> int:
    """Number of committed clips."""
    return sum(len(entry.clips) for entry in read_index(out)[0].values()) if out.exists() else 0


def kill_worker(name: str, process: subprocess.Popen[bytes]) -> None:
    """End a worker of this script's own cluster whose title contains `name`; Ray's daemons are child processes."""
    while process.poll() is None:
        for status in Path("/proc").glob("[0-9]*/stat"):
            with contextlib.suppress(OSError):
                title = (status.parent / "cmdline").read_text(errors="replace").split("\0")[0]
                worker = int(status.parent.name)
                if title.startswith("ray::") and name in title and parent(parent(worker)) == os.getpid():
                    os.kill(worker, signal.SIGKILL)
                    return
        time.sleep(0.05)
    sys.exit(f"the cluster was done before a worker {name} could be killed; give more clips")


def parent(process: int) -> int:
    """The process that started it."""
    return int(Path(f"/proc/{process}/stat").read_text().rsplit(")", 1)[1].split()[1])


def compare(name: str, folder: Path, whole: FeatureStore) -> None:
    """Compare clips and bytes, and the bytes on the disk with their checksums."""
    store = FeatureStore(folder)
    if not (result := verify(folder)).is_intact:
        sys.exit(f"{name}: {result.text()}")
    entries, _ = read_index(folder)
    count = Counter(clip.clip_id for entry in entries.values() for clip in entry.clips)
    twice = sum(times > 1 for times in count.values())
    if [clip.clip_id for clip in store.clips] != [clip.clip_id for clip in whole.clips] or twice:
        sys.exit(f"{name}: other clips than undisturbed, or {twice} of them twice")
    rows = range(len(whole))
    same = sum(
        store.visual([row]).tobytes() == whole.visual([row]).tobytes()
        and store.audio([row]).tobytes() == whole.audio([row]).tobytes()
        for row in rows
    )
    print(f"{name}: {len(store)} clips, none twice, {same} equal byte for byte", flush=True)
    if same != len(whole) or store.fingerprint != whole.fingerprint:
        sys.exit(f"{name}: the store is not the same")


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("clips", type=Path)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--kills", type=int, default=8)
    parser.add_argument("--parts", type=int, default=3)
    parser.add_argument("--nodes", type=int, default=3)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    out = options.folder
    out.mkdir(parents=True, exist_ok=True)
    seconds = finish(command(options.clips, out / "whole"))
    whole = FeatureStore(out / "whole")
    print(f"undisturbed: {len(whole)} clips in {seconds:.0f} s")
    arguments = command(options.clips, out / "killed")
    fell = killed(arguments, options.kills, random.Random(options.seed), seconds)
    compare(f"killed {fell} times", out / "killed", whole)
    parts = range(1, options.parts + 1)
    running = [start(command(options.clips, out / "parts", "--part", f"{i}/{options.parts}")) for i in parts]
    codes = [process.wait() for process in running]
    if any(codes):
        sys.exit("a part failed")
    compare(f"{options.parts} parts at once", out / "parts", whole)
    on_a_cluster(options.clips, out / "ray", options.nodes)
    compare(
        f"a Ray cluster of {options.nodes} nodes, an encoder, a reader and a node killed", out / "ray", whole
    )


if __name__ == "__main__":
    main()
