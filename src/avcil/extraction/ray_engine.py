"""Extraction on a Ray cluster: Ray Data runs tasks that read batches and a pool of actors that encode them.

Readers use CPUs, encoders GPUs if there are any. Ray Data scales both, requests nodes from the autoscaler, applies
backpressure to readers, and repeats the work of dead workers and nodes. Only the calling process writes to the store,
so each clip is committed once. Nodes need the media files at the same paths, and the same weights. Needs the extra
`[distributed]`.
"""

from __future__ import annotations

import logging
import os
import pickle
import warnings
from collections.abc import Generator, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import lru_cache, partial
from typing import Any

from avcil.data.clips import Clip
from avcil.errors import AvcilError, InputError
from avcil.extraction.batch_size import measure_batch_size
from avcil.extraction.encoding import EncoderOptions, Encoders
from avcil.extraction.outcome import ClipOutcome, encode_batch
from avcil.extraction.read_ahead import DecodeSpec, read_one, with_source
from avcil.media.reader import ReaderProcess, ReadLimits
from avcil.utils.cores import available_cores

RETRIES = 5
"""Number of times that Ray repeats a batch whose worker or node died."""
MAX_PASSES = 3
"""Number of passes over failed batches, since Ray's retries are soon used up while an actor restarts."""

_SINGLE_ROWS = {"batch_size": 1, "batch_format": "pyarrow"}


@contextmanager
def on_cluster(options: EncoderOptions, limits: ReadLimits, address: str) -> Iterator[ClusterEngine]:
    """Connect to the cluster at `address` (see `ray.init`) for an extraction.

    Raises:
        InputError: There is no cluster, or the encoders cannot be built or run there.
    """
    if not options.are_names:
        raise InputError("on a Ray cluster, encoders must be given by name, since its workers build them")
    from avcil.utils.ray_cluster import connected

    os.environ.setdefault("RAY_BACKEND_LOG_LEVEL", "fatal")  # the C++ core logs restarted actors as errors
    with connected(address, threads=_threads()) as ray:
        _silence(ray)
        encoders = replace(options, device="cpu", precision=None).build()  # for the manifest, without a GPU
        resolved = _with_device(options, encoders, has_gpu=ray.cluster_resources().get("GPU", 0) > 0)
        yield ClusterEngine(ray=ray, options=resolved, encoders=encoders, limits=limits)


def _with_device(options: EncoderOptions, encoders: Encoders, *, has_gpu: bool) -> EncoderOptions:
    """The options with device and precision, so that they are the same for all workers and in the manifest."""
    if not encoders.can_use_gpu:
        encoders.to(options.device, options.precision)  # raises InputError if either is given
        return options
    if options.device not in (None, "cpu", "cuda"):
        raise InputError(
            f"on a Ray cluster, the device must be cpu or cuda, not {options.device!r}: Ray selects the GPU"
        )
    device = options.device or ("cuda" if has_gpu else "cpu")
    precision = options.precision or ("bfloat16" if device == "cuda" else "float32")
    encoders.to("cpu", precision)
    return replace(options, device=device, precision=precision)


def _silence(ray: Any) -> None:
    """Hide tracebacks of repeated tasks in the terminal; batches that fail in the end are listed as failures."""
    import ray.data

    for handler in logging.getLogger("ray.data").handlers:
        if isinstance(handler, logging.StreamHandler):  # the terminal; the log file in Ray's folder remains
            handler.setLevel(logging.CRITICAL)
    warnings.filterwarnings("ignore", message="The minimum number of concurrent actors")  # the last batches
    context = ray.data.DataContext.get_current()
    context.enable_progress_bars = context.print_on_execution_start = False
    context.max_errored_blocks = -1


@dataclass(frozen=True, kw_only=True)
class ClusterEngine:
    """The engine on a Ray cluster."""

    ray: Any
    """The module `ray`, connected."""
    options: EncoderOptions
    """With device and precision."""
    encoders: Encoders
    """On the CPU of this machine."""
    limits: ReadLimits

    @property
    def _resources(self) -> tuple[dict[str, float], dict[str, float]]:
        """Resources of a reader and of an encoder.

        On a GPU, an encoder needs no CPU, so that readers cannot block it. Otherwise, both use half a core, so that one
        of each fits on one core.
        """
        if self.options.device == "cuda":
            return {"num_cpus": 1}, {"num_gpus": 1}
        return {"num_cpus": 0.5}, {"num_cpus": 0.5}

    def best_batch_size(self) -> int:
        """See `Engine`; measured by a worker."""
        _, share = self._resources
        measure = self.ray.remote(**share)(_best_batch_size)
        try:
            return self.ray.get(measure.remote(self.options))
        except self.ray.exceptions.RayError as error:
            raise _cluster_error(error) from error

    def outcomes(self, batches: Sequence[list[Clip]], *, missing: str) -> Generator[list[ClipOutcome]]:
        """See `Engine`; batches that failed in all passes come last."""
        pending = dict(enumerate(batches))
        for _ in range(MAX_PASSES):
            if pending:
                yield from self._pass(pending, missing)
        reason = f"the workers that read or encoded its batch died in all {MAX_PASSES} passes"
        for batch in pending.values():
            yield [ClipOutcome(clip=clip, failure=reason) for clip in batch]

    def _pass(self, pending: dict[int, list[Clip]], missing: str) -> Generator[list[ClipOutcome]]:
        """Process the batches in `pending`, and remove the finished ones from it."""
        try:
            for table in self._pipeline(pending, missing).iter_batches(**_SINGLE_ROWS):
                number, outcomes = _unpacked(table)
                if pending.pop(number, None) is not None:
                    yield outcomes
        except self.ray.exceptions.RayError as error:
            raise _cluster_error(error) from error

    def _pipeline(self, batches: Mapping[int, list[Clip]], missing: str) -> Any:
        """A Ray dataset with one row and one block per batch, so that each task processes one batch."""
        data = self.ray.data
        rows = [
            _packed((number, [_with_absolute_path(clip) for clip in batch]))
            for number, batch in batches.items()
        ]
        reader, encoder = self._resources
        with warnings.catch_warnings():  # the only way to limit retries before Ray 2.64
            warnings.filterwarnings("ignore", message="`ray_remote_args` is deprecated")
            read = data.from_arrow(rows).map_batches(
                _read_batch,
                fn_args=(self.encoders.decode_spec, self.limits),
                max_retries=RETRIES,
                **reader,
                **_SINGLE_ROWS,
            )
            return read.map_batches(
                _Encoder,
                fn_constructor_args=(self.options, missing),
                compute=data.ActorPoolStrategy(min_size=1),
                max_restarts=-1,
                max_task_retries=RETRIES,
                **encoder,
                **_SINGLE_ROWS,
            )


def _cluster_error(error: BaseException) -> AvcilError:
    """The error for encoders that cannot be built on a node, for example; Ray reports the cause last."""
    lines = str(error).strip().splitlines() or [type(error).__name__]
    cause = lines[-1].removeprefix("avcil.errors.InputError: ").rstrip(".")
    return AvcilError(
        f"the cluster stopped: {cause}. Stored clips are kept; fix this on its nodes, and run the same command again"
    )


def _threads() -> int:
    """Threads of numerical libraries, also in the workers: the last bits of products depend on their number."""
    return int(os.environ.get("OMP_NUM_THREADS") or available_cores())


def _with_absolute_path(clip: Clip) -> Clip:
    """Workers have other working directories."""
    return replace(clip, path=clip.path.absolute())


def _best_batch_size(options: EncoderOptions) -> int:
    return measure_batch_size(_built(options))


def _built(options: EncoderOptions) -> Encoders:
    import torch

    torch.set_num_threads(int(os.environ.get("OMP_NUM_THREADS", "1")))
    return options.build()


@lru_cache(maxsize=1)
def _reader(limits: ReadLimits) -> ReaderProcess:
    """The reader process of this worker."""
    return ReaderProcess(limits)


def _packed(value: object) -> Any:
    """A table with one row and one column that contains the pickled object."""
    import pyarrow

    return pyarrow.table({"row": pyarrow.array([pickle.dumps(value, protocol=5)], pyarrow.large_binary())})


def _unpacked(table: Any) -> Any:
    """The object. Pickle is safe here, since both ends belong to the same job; Ray itself uses it."""
    return pickle.loads(table["row"][0].as_buffer())


def _read_batch(table: Any, spec: DecodeSpec, limits: ReadLimits) -> Any:
    number, clips = _unpacked(table)
    read = partial(read_one, spec=spec, reader=_reader(limits))
    return _packed((number, [with_source(clip, read) for clip in clips]))


class _Encoder:
    """The actor that encodes; it builds the encoders once."""

    def __init__(self, options: EncoderOptions, missing: str) -> None:
        self.encoders, self.missing = _built(options), missing

    def __call__(self, table: Any) -> Any:
        number, batch = _unpacked(table)
        return _packed((number, encode_batch(batch, self.encoders, missing=self.missing)))
