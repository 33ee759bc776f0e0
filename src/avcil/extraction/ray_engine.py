"""Extraction on a Ray cluster: Ray Data runs tasks that read batches and a pool of actors that encode them.

Readers take processors, encoders GPUs where there are any; Ray Data decides how many of either there are, asks the
cluster's autoscaler for more, holds readers back when encoders or memory do not keep up, and does again what a dead
worker or node took with it. The process that asked is the store's only writer, so a clip is committed once, however
often it was made. Nodes need the media files on the same paths, and the same weights. Needs the extra `[distributed]`.
"""

from __future__ import annotations

import logging
import os
import pickle
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import lru_cache, partial
from typing import Any

from avcil.data.clips import Clip
from avcil.errors import AvcilError, InputError
from avcil.extraction.encoding import EncoderNames, Encoders
from avcil.extraction.outcome import ClipOutcome, encode_batch
from avcil.extraction.read_ahead import DecodeSpec, read_one, with_source
from avcil.media.reader import ReaderProcess, ReadLimits
from avcil.utils.cores import available_cores

RETRIES = 5
"""How often Ray does a batch again whose worker or node died, before it gives it up."""
PASSES = 3
"""Ray's retries are soon used up while an actor starts anew, so what was given up is tried again at the end."""


ROWS_ALONE = {"batch_size": 1, "batch_format": "pyarrow"}


@contextmanager
def on_cluster(names: EncoderNames | None, limits: ReadLimits, address: str) -> Iterator[Cluster]:
    """The cluster at `address` (as `ray.init` takes it), ready to extract.

    :raises InputError: if there is none, or the encoders cannot be built or run there.
    """
    if names is None:
        raise InputError("on a Ray cluster encoders must be given by name, since its workers build them anew")
    from avcil.utils.ray_cluster import connected

    os.environ.setdefault(
        "RAY_BACKEND_LOG_LEVEL", "fatal"
    )  # its C++ core calls an actor that restarts an error
    with connected(address, threads=_threads()) as ray:
        _be_quiet(ray)
        encoders = replace(
            names, device="cpu", precision=None
        ).build()  # for the manifest; no GPU may be here
        settled = _settled(names, encoders, has_gpu=ray.cluster_resources().get("GPU", 0) > 0)
        yield Cluster(ray=ray, names=settled, encoders=encoders, limits=limits)


def _settled(names: EncoderNames, encoders: Encoders, *, has_gpu: bool) -> EncoderNames:
    """The same with device and precision said, so that all workers, and the manifest, have the same."""
    if not encoders.can_use_gpu:
        encoders.place(names.device, names.precision)  # says so where either was asked for
        return names
    if names.device not in (None, "cpu", "cuda"):
        raise InputError(
            f"on a Ray cluster the device is cpu or cuda, not {names.device!r}: Ray says which GPU"
        )
    device = names.device or ("cuda" if has_gpu else "cpu")
    precision = names.precision or ("bfloat16" if device == "cuda" else "float32")
    encoders.place("cpu", precision)
    return replace(names, device=device, precision=precision)


def _be_quiet(ray: Any) -> None:
    """Ray Data prints tracebacks of what it does again; what is lost in the end is said by the list of failures."""
    import ray.data

    for handler in logging.getLogger("ray.data").handlers:
        if isinstance(handler, logging.StreamHandler):  # the terminal's; the file in Ray's folder keeps them
            handler.setLevel(logging.CRITICAL)
    warnings.filterwarnings("ignore", message="The minimum number of concurrent actors")  # the last batches
    context = ray.data.DataContext.get_current()
    context.enable_progress_bars = context.print_on_execution_start = False
    context.max_errored_blocks = -1


@dataclass(frozen=True, kw_only=True)
class Cluster:
    """A Ray cluster at work."""

    ray: Any
    """The module, connected."""
    names: EncoderNames
    """With device and precision said."""
    encoders: Encoders
    """As workers have them, on this machine's processor."""
    limits: ReadLimits

    @property
    def _shares(self) -> tuple[dict[str, float], dict[str, float]]:
        """What a reader and an encoder take of a node.

        With a GPU an encoder takes that alone, so that readers cannot keep it from its place. Without, both take half
        a core, so that one of each fits where one core is left.
        """
        if self.names.device == "cuda":
            return {"num_cpus": 1}, {"num_gpus": 1}
        return {"num_cpus": 0.5}, {"num_cpus": 0.5}

    def best_batch_size(self) -> int:
        """Tried by a worker of the kind that will encode."""
        _, share = self._shares
        measure = self.ray.remote(**share)(_best_batch_size)
        try:
            return self.ray.get(measure.remote(self.names))
        except self.ray.exceptions.RayError as error:
            raise _stopped(error) from error

    def outcomes(self, batches: Sequence[list[Clip]], *, missing: str) -> Iterator[list[ClipOutcome]]:
        """As they come; the batches that the cluster lost each time come last."""
        left = dict(enumerate(batches))
        for _ in range(PASSES):
            if left:
                yield from self._pass(left, missing)
        reason = f"what read or encoded its batch died on the cluster each time (passes: {PASSES})"
        for batch in left.values():
            yield [ClipOutcome(clip=clip, failure=reason) for clip in batch]

    def _pass(self, left: dict[int, list[Clip]], missing: str) -> Iterator[list[ClipOutcome]]:
        """What of the batches `left` the cluster makes now; these leave it."""
        try:
            for table in self._pipeline(left, missing).iter_batches(**ROWS_ALONE):
                number, outcomes = _unpacked(table)
                if left.pop(number, None) is not None:
                    yield outcomes
        except self.ray.exceptions.RayError as error:
            raise _stopped(error) from error

    def _pipeline(self, batches: Mapping[int, list[Clip]], missing: str) -> Any:
        """A Ray dataset with a row a batch, each a block of its own, so that a task does one batch."""
        data = self.ray.data
        rows = [
            _packed((number, [_with_absolute_path(clip) for clip in batch]))
            for number, batch in batches.items()
        ]
        reader, encoder = self._shares
        with warnings.catch_warnings():  # before Ray 2.64 nothing else bounds how often it does a task again
            warnings.filterwarnings("ignore", message="`ray_remote_args` is deprecated")
            read = data.from_arrow(rows).map_batches(
                _read_batch,
                fn_args=(self.encoders.wanted, self.limits),
                max_retries=RETRIES,
                **reader,
                **ROWS_ALONE,
            )
            return read.map_batches(
                _Encoder,
                fn_constructor_args=(self.names, missing),
                compute=data.ActorPoolStrategy(min_size=1),
                max_restarts=-1,
                max_task_retries=RETRIES,
                **encoder,
                **ROWS_ALONE,
            )


def _stopped(error: BaseException) -> AvcilError:
    """Such as encoders that cannot be built on a node; Ray puts the cause last."""
    lines = str(error).strip().splitlines() or [type(error).__name__]
    cause = lines[-1].removeprefix("avcil.errors.InputError: ").rstrip(".")
    return AvcilError(
        f"the cluster stopped: {cause}. What was stored is kept; mend this on its nodes, and run the same command again"
    )


def _threads() -> int:
    """Of numerical libraries here, and so in the workers: their number shows in the last bits of products."""
    return int(os.environ.get("OMP_NUM_THREADS") or available_cores())


def _with_absolute_path(clip: Clip) -> Clip:
    """Workers stand elsewhere."""
    return replace(clip, path=clip.path.absolute())


def _best_batch_size(names: EncoderNames) -> int:
    return _built(names).best_batch_size()


def _built(names: EncoderNames) -> Encoders:
    import torch

    torch.set_num_threads(int(os.environ.get("OMP_NUM_THREADS", "1")))
    return names.build()


@lru_cache(maxsize=1)
def _reader(limits: ReadLimits) -> ReaderProcess:
    """This worker's reader."""
    return ReaderProcess(limits)


def _packed(value: object) -> Any:
    """A table of one row that holds the object in one column."""
    import pyarrow

    return pyarrow.table({"row": pyarrow.array([pickle.dumps(value, protocol=5)], pyarrow.large_binary())})


def _unpacked(table: Any) -> Any:
    """The object; both ends are workers of one job, so that unpickling is what Ray does with all that it carries."""
    return pickle.loads(table["row"][0].as_buffer())


def _read_batch(table: Any, wanted: DecodeSpec, limits: ReadLimits) -> Any:
    number, clips = _unpacked(table)
    read = partial(read_one, wanted=wanted, source=_reader(limits))
    return _packed((number, [with_source(clip, read) for clip in clips]))


class _Encoder:
    """An actor: builds the encoders once."""

    def __init__(self, names: EncoderNames, missing: str) -> None:
        self.encoders, self.missing = _built(names), missing

    def __call__(self, table: Any) -> Any:
        number, batch = _unpacked(table)
        return _packed((number, encode_batch(batch, self.encoders, missing=self.missing)))
