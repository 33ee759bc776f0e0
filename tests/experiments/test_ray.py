"""`reproduce` on a Ray cluster: the same tables, also if a node fails."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from avcil.errors import InputError
from avcil.experiments.config import ReproduceConfig

pytest.importorskip("ray", reason="the extra [distributed] is not installed")

OPTIONS = ["--classes-per-step", "2", "--methods", "fine-tuning", "joint", "--modalities", "audio-visual"]
OPTIONS += ["--seeds", "0", "1", "--epochs", "6", "--checkpoint-seconds", "0"]

# A cluster of a head without CPUs and two nodes; the first node with a run is killed.
LOSES_A_NODE = """
import sys, threading, time
from ray.cluster_utils import Cluster
from pathlib import Path

cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 0, "include_dashboard": False})
nodes = [cluster.add_node(num_cpus=1), cluster.add_node(num_cpus=1)]
out = Path(sys.argv[2])

def kill():
    while len(list(out.glob("runs/*/checkpoints/progress.json"))) < 1:
        time.sleep(0.02)
    cluster.remove_node(nodes[0], allow_graceful=False)
    print("killed a node", flush=True)

threading.Thread(target=kill, daemon=True).start()
from avcil.cli.main import main
main(["reproduce", sys.argv[1], "--out", str(out), "--ray", cluster.address, *sys.argv[3:]])
"""


def tables(out: Path) -> dict[str, bytes]:
    return {file.name: file.read_bytes() for file in sorted(out.glob("table.*"))}


def run(command: list[str]) -> str:
    done = subprocess.run(command, capture_output=True, text=True, timeout=240, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_failed_node_gives_the_same_tables(store: Path, tmp_path: Path) -> None:
    """Runs of the failed node are resumed on another node; the tables equal those of one machine."""
    here = [sys.executable, "-m", "avcil", "reproduce", str(store), "--out", str(tmp_path / "here"), *OPTIONS]
    run(here)
    output = run([sys.executable, "-c", LOSES_A_NODE, str(store), str(tmp_path / "ray"), *OPTIONS])
    assert "killed a node" in output
    assert tables(tmp_path / "ray") == tables(tmp_path / "here")


def test_jobs_and_ray_exclude_each_other(store: Path, tmp_path: Path) -> None:
    """On a cluster, Ray decides the number of parallel runs."""
    with pytest.raises(InputError, match="--jobs is for this machine"):
        ReproduceConfig(features=(store,), out=tmp_path, classes_per_step=(2,), ray="local", jobs=2)
