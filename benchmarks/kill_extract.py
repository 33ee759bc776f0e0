"""Extract real clips undisturbed, killed again and again, in parts, and on a Ray cluster that loses a node.

    python benchmarks/kill_extract.py CLIPS.csv FOLDER [--kills 8] [--parts 3] [--nodes 3] [--seed 0]

All four stores are compared clip by clip, byte by byte, and no clip may be stored twice. Built-in encoders on a CPU.
"""

from __future__ import annotations

import argparse
import os
import random
import signal
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path

from avcil.features import FeatureStore
from avcil.features.index import read_index


def command(clips: Path, out: Path, *more: str) -> list[str]:
    words = ["extract", str(clips), "--out", str(out), *more]
    return [sys.executable, "-c", "from avcil.cli.main import main; main()", *words]


def start(words: list[str]) -> subprocess.Popen[bytes]:
    """In a session of its own, so that a blow hits its readers as well."""
    quiet = subprocess.DEVNULL
    return subprocess.Popen(words, stdout=quiet, stderr=quiet, start_new_session=True)


def finish(words: list[str]) -> float:
    """Seconds until it has ended well."""
    began = time.perf_counter()
    code = start(words).wait()
    if code:
        sys.exit(f"ended with code {code}: {' '.join(words[3:])}")
    return time.perf_counter() - began


def killed(words: list[str], kills: int, draw: random.Random, seconds: float) -> int:
    """Kill it `kills` times at random moments, then let it end; how many blows fell before it was done."""
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


def on_a_cluster(clips: Path, out: Path, nodes: int, seconds: float) -> None:
    """A cluster of `nodes` on this machine; one that works is killed in the middle."""
    from ray.cluster_utils import Cluster

    memory = 200 * 2**20
    cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 1, "object_store_memory": memory})
    others = [cluster.add_node(num_cpus=1, object_store_memory=memory) for _ in range(nodes - 1)]
    try:
        process = start(command(clips, out, "--ray", cluster.address))
        index = out / "index.jsonl"
        while process.poll() is None and not (index.exists() and index.stat().st_size > 100_000):
            time.sleep(0.2)
        stored = sum(len(entry.clips) for entry in read_index(out)[0].values())
        if process.poll() is not None:
            sys.exit("the cluster was done before a node could be killed; give more clips")
        cluster.remove_node(others[0], allow_graceful=False)
        print(f"  a node killed after {stored} clips")
        if process.wait():
            sys.exit(f"the cluster's extraction ended with code {process.returncode}")
    finally:
        cluster.shutdown()


def compare(name: str, folder: Path, whole: FeatureStore) -> None:
    """Every clip once and the same bytes, those on the disk as their checksums say."""
    store = FeatureStore(folder)
    store.verify()
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
    words = command(options.clips, out / "killed")
    fell = killed(words, options.kills, random.Random(options.seed), seconds)
    compare(f"killed {fell} times", out / "killed", whole)
    parts = range(1, options.parts + 1)
    running = [start(command(options.clips, out / "parts", "--shard", f"{i}/{options.parts}")) for i in parts]
    codes = [process.wait() for process in running]
    if any(codes):
        sys.exit("a part failed")
    compare(f"{options.parts} parts at once", out / "parts", whole)
    on_a_cluster(options.clips, out / "ray", options.nodes, seconds)
    compare(f"a Ray cluster of {options.nodes} nodes, one killed", out / "ray", whole)


if __name__ == "__main__":
    main()
