"""Extraction on a Ray cluster: batches are read by tasks on processors and encoded by tasks on GPUs, where it has any.

Ray places the tasks, adds workers as they are needed, and does again what a dead worker or node took with it. The
process that asked is the store's only writer, so a clip is committed once, however often it was made. Nodes need the
media files on the same paths, and the same encoders' weights. Needs the extra `[distributed]`.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from functools import lru_cache
from typing import Any

from avcil.clips import Clip
from avcil.errors import InputError
from avcil.features.encoding import EncoderNames, Encoders
from avcil.features.outcome import ClipOutcome, encode_batch
from avcil.features.reader_process import Limits, ReaderProcess
from avcil.features.reading import ReadClip, Wanted

RETRIES = 5
"""How often Ray does a batch again whose worker or node died."""
WAITING_PER_CPU = 2
"""Batches under way at once for each processor core: enough that none is idle, few enough for memory."""


def on_cluster(
    batches: Sequence[list[Clip]],
    names: EncoderNames | None,
    wanted: Wanted,
    limits: Limits,
    *,
    missing: str,
    address: str,
) -> Iterator[list[ClipOutcome]]:
    """The batches' outcomes as they come, from the cluster at `address` (as `ray.init` takes it)."""
    if names is None:
        raise InputError("on a Ray cluster encoders must be given by name, since its workers build them anew")
    from avcil.ray_cluster import connected

    with connected(address) as ray:
        resources = ray.cluster_resources()
        gpus = 1 if resources.get("GPU", 0) and names.device != "cpu" else 0
        read = ray.remote(num_cpus=1, max_retries=RETRIES)(_read_batch)
        encode = ray.remote(num_cpus=1, num_gpus=gpus, max_retries=RETRIES)(_encode_batch)
        left = iter(batches)
        under_way: dict[Any, list[Clip]] = {}
        while True:
            most = WAITING_PER_CPU * max(1, int(ray.cluster_resources().get("CPU", 1)))
            for batch in left:
                clips = [_with_absolute_path(clip) for clip in batch]
                under_way[encode.remote(read.remote(clips, wanted, limits), names, missing)] = batch
                if len(under_way) >= most:
                    break
            if not under_way:
                return
            (ended,), _ = ray.wait(list(under_way), num_returns=1)
            yield _outcomes(ray, ended, under_way.pop(ended))


def _outcomes(ray: Any, ended: Any, batch: list[Clip]) -> list[ClipOutcome]:
    try:
        return ray.get(ended)
    except ray.exceptions.RayError as error:
        first = next(iter(str(error).strip().splitlines()), type(error).__name__)
        reason = f"lost on the cluster, {RETRIES + 1} times: {first}"
        return [ClipOutcome(clip=clip, failure=reason) for clip in batch]


def _with_absolute_path(clip: Clip) -> Clip:
    """Workers stand elsewhere."""
    return Clip(**{**vars(clip), "path": clip.path.absolute()})


@lru_cache(maxsize=1)
def _reader(limits: Limits) -> ReaderProcess:
    """This worker's reader."""
    return ReaderProcess(limits)


@lru_cache(maxsize=1)
def _encoders(names: EncoderNames) -> Encoders:
    """This worker's encoders, loaded once."""
    import torch

    torch.set_num_threads(int(os.environ.get("OMP_NUM_THREADS", "1")))
    return names.build()


def _read_batch(clips: list[Clip], wanted: Wanted, limits: Limits) -> list[ReadClip]:
    return [_reader(limits).read(clip, wanted) for clip in clips]


def _encode_batch(batch: list[ReadClip], names: EncoderNames, missing: str) -> list[ClipOutcome]:
    return encode_batch(batch, _encoders(names), missing=missing)
