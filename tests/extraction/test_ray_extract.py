"""Extraction on a Ray cluster: nodes and workers that fail, batches that end workers, encoders that cannot be built."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from avcil.data.clips import Clip
from avcil.errors import AvcilError, InputError
from avcil.extraction import ray_engine as ray_extract
from avcil.extraction.encoding import EncoderOptions
from avcil.extraction.extract import extract
from avcil.features import FeatureStore
from avcil.features.index import read_index

pytest.importorskip("ray.data", reason="the extra [distributed] is not installed")
pytestmark = pytest.mark.filterwarnings(
    "ignore:.*is deprecated:DeprecationWarning"
)  # warnings of Ray Data about its own settings
MEMORY = 100 * 2**20
SMALL_ENCODERS = {"visual": "patch-motion", "audio": "log-mel"}
"""The encoders of the store `whole`."""


@pytest.fixture(scope="module")
def cluster() -> Iterator:
    """A head and one additional node with one core each; the last test that uses it removes the node."""
    from ray.cluster_utils import Cluster

    cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 1, "object_store_memory": MEMORY})
    cluster.second = cluster.add_node(num_cpus=1, object_store_memory=MEMORY)
    try:
        yield cluster
    finally:
        cluster.shutdown()


def test_batch_that_ends_workers_is_reported(
    cluster, clips: list[Clip], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is not retried without end, other clips are stored, and it can be tried again."""
    monkeypatch.setattr(ray_extract, "RETRIES", 0)
    monkeypatch.setattr(ray_extract, "MAX_PASSES", 1)
    deadly, read = clips[4].clip_id, ray_extract._read_batch

    def dies(table, expected, limits):
        if any(clip.clip_id == deadly for clip in ray_extract._unpacked(table)[1]):
            os._exit(1)
        return read(table, expected, limits)

    monkeypatch.setattr(ray_extract, "_read_batch", dies)
    report = extract(clips, tmp_path / "s", batch_size=2, **SMALL_ENCODERS, ray=cluster.address)
    assert [failure.clip_id for failure in report.failed] == [deadly, clips[5].clip_id]
    assert report.failed[0].reason == "the workers that read or encoded its batch died in all 1 passes"
    again = extract(clips, tmp_path / "s", batch_size=2, **SMALL_ENCODERS, isolate=False, retry_failed=True)
    assert again.stored == len(clips)


def test_encoder_that_cannot_be_built_is_an_error(
    cluster, clips: list[Clip], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """If other machines lack the weights, there is one error, and no clip is reported as failed."""

    class Cannot:
        def __init__(self, names, missing):
            raise InputError("there is no folder /weights")

        def __call__(self, table):
            raise AssertionError

    monkeypatch.setattr(ray_extract, "_Encoder", Cannot)
    with pytest.raises(
        AvcilError, match=r"the cluster stopped: there is no folder /weights\. Stored clips are kept"
    ):
        extract(clips, tmp_path / "s", batch_size=2, **SMALL_ENCODERS, ray=cluster.address)
    assert not (tmp_path / "s" / "failures.csv").exists()


def test_same_store_after_worker_and_node_failures(
    cluster, clips: list[Clip], whole: FeatureStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An encoder process and then a node fail: every clip is stored once, with the bytes of one process."""
    start, make = tmp_path / "began", ray_extract.ClusterEngine._pass
    kills = []

    class Dies(ray_extract._Encoder):
        def __call__(self, table):
            if not start.exists():
                start.touch()
                os._exit(1)
            return super().__call__(table)

    def kills_a_node(self, left, missing):
        for number, outcomes in enumerate(make(self, left, missing)):
            if number == 1 and not kills:
                kills.append(cluster.remove_node(cluster.second, allow_graceful=False))
            yield outcomes

    monkeypatch.setattr(ray_extract, "_Encoder", Dies)
    monkeypatch.setattr(ray_extract.ClusterEngine, "_pass", kills_a_node)
    report = extract(clips, tmp_path / "s", batch_size=2, **SMALL_ENCODERS, ray=cluster.address)
    assert start.exists()
    assert kills
    assert (report.stored, len(report.failed)) == (len(clips), 0)
    store = FeatureStore(tmp_path / "s")
    assert store.fingerprint == whole.fingerprint
    entries, _ = read_index(tmp_path / "s")
    assert sum(len(entry.clips) for entry in entries.values()) == len(clips)


def test_encoders_must_have_names(clips: list[Clip], tmp_path: Path) -> None:
    """An encoder object of this process cannot be sent to others."""
    with pytest.raises(InputError, match="by name"):
        extract(
            clips,
            tmp_path / "t",
            visual="none",
            audio=EncoderOptions(visual="none", audio="log-mel").build().audio,
            ray="local",
        )


class _HasModel:
    can_use_gpu = True

    def to(self, device: str, precision: str) -> None:
        self.placed = device, precision


@pytest.mark.parametrize(
    ("device", "precision", "has_gpu", "settled"),
    [
        (None, None, True, ("cuda", "bfloat16")),
        (None, None, False, ("cpu", "float32")),
        ("cpu", None, True, ("cpu", "float32")),
        ("cuda", "float32", False, ("cuda", "float32")),  # the autoscaler starts a node with a GPU
    ],
)
def test_device_and_precision_of_the_cluster(device, precision, has_gpu, settled) -> None:
    """The manifest, written on a machine without a GPU, has the precision of the cluster's GPUs."""
    names = EncoderOptions(visual="videomae-base", audio="none", device=device, precision=precision)
    encoders = _HasModel()
    result = ray_extract._with_device(names, encoders, has_gpu=has_gpu)
    assert (result.device, result.precision) == settled
    assert encoders.placed == ("cpu", settled[1])
    cluster = ray_extract.ClusterEngine(ray=None, options=result, encoders=encoders, limits=None)
    reader, encoder = cluster._resources
    assert encoder == ({"num_gpus": 1} if settled[0] == "cuda" else {"num_cpus": 0.5})
    assert "num_gpus" not in reader


def test_gpu_number_is_rejected() -> None:
    """Ray assigns GPUs to workers."""
    names = EncoderOptions(visual="videomae-base", audio="none", device="cuda:1")
    with pytest.raises(InputError, match="cpu or cuda, not 'cuda:1'"):
        ray_extract._with_device(names, _HasModel(), has_gpu=True)
