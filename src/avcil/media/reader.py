"""Decoding in worker processes, so that a malicious or damaged file cannot harm the program.

FFmpeg is C code, and files may come from anyone. A worker process has limits of memory and time for each clip. A worker
that dies or does not answer in time is replaced, and its clip gets an error.
"""

from __future__ import annotations

import queue
from collections.abc import Generator, Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any, Protocol

from avcil.errors import AvcilError, InputError
from avcil.media.clip import ClipMedia
from avcil.media.container import PROGRAM_ERRORS, MediaError, ProgramError
from avcil.media.messages import Media, unpack
from avcil.media.probe import MediaInfo
from avcil.media.windows import ClipWindow
from avcil.utils.frame_sampling import FrameSampling
from avcil.workers.process import WorkerDiedError, WorkerProcess, WorkerTimeoutError
from avcil.workers.reply_stream import TimeBudget

_GRACE_SECONDS = 10.0
"""Seconds after its own time limit until a worker that does not answer is killed."""


class _LimitExceededError(InputError):
    """Reading a file exceeded its limit of time or memory."""


class UnexpectedReadError(AvcilError):
    """Reading a file raised an unexpected exception."""


@dataclass(frozen=True, kw_only=True)
class ReadLimits:
    """Limits for reading one clip."""

    seconds: float = 300.0
    """Wall time."""
    megabytes: int = 2048
    """Memory in addition to what a worker process uses before its first clip."""
    packets: int | None = None
    """Maximum number of packets, including repeated passes over the file; None does not count them."""
    grace_seconds: float = _GRACE_SECONDS
    """Time after `seconds` until a worker process that does not answer is killed."""

    def __post_init__(self) -> None:
        if not 0 < self.seconds < float("inf"):
            raise InputError(f"seconds for a clip must be a number above 0; not {self.seconds}")
        if self.megabytes < 1:
            raise InputError(f"megabytes for a clip must be 1 or more; not {self.megabytes}")


class MediaReader(Protocol):
    """Interface for reading media files in a worker process."""

    def probe(self, path: Path | str) -> MediaInfo:
        """See `avcil.media.probe`."""

    def read_clip(self, path: Path | str, **options: Any) -> ClipMedia:
        """See `avcil.media.read_clip`."""

    def read_windows(
        self,
        path: Path | str,
        spans: Sequence[tuple[float, float]],
        *,
        samplings: Sequence[FrameSampling],
        **options: Any,
    ) -> Iterator[ClipWindow]:
        """See `avcil.media.windows.read_windows`."""


class ReaderProcess:
    """A worker process that decodes files. Not thread-safe; started when first used.

    The methods have the names, results and errors of functions of `avcil.media`. They also raise `_LimitExceededError`,
    and `ProgramError` or `UnexpectedReadError` for other exceptions in the worker.
    """

    def __init__(self, limits: ReadLimits) -> None:
        self.limits = limits
        arguments = [str(limits.megabytes), str(limits.seconds + limits.grace_seconds)]
        self._worker = WorkerProcess(
            "avcil.media.reader_worker", arguments, reply_bytes=limits.megabytes * 2**20
        )

    @property
    def pid(self) -> int | None:
        """Process id; None if it is not running."""
        return self._worker.pid

    def start(self) -> None:
        """Start the process without waiting until it is ready."""
        self._worker.start()

    def stop(self) -> None:
        """Kill the process permanently, from any thread; a thread that waits for it gets an error immediately."""
        self._worker.stop()

    def close(self) -> None:
        """Kill a process that no thread uses."""
        self._worker.close()

    def new_time_budget(self) -> TimeBudget:
        """A new time limit for one clip; several calls for the same clip can share it."""
        return TimeBudget(self.limits.seconds + self.limits.grace_seconds)

    def probe(self, path: Path | str, *, time_budget: TimeBudget | None = None) -> MediaInfo:
        """See `avcil.media.probe`."""
        return self._one(MediaInfo, "probe", path, time_budget)

    def read_clip(
        self,
        path: Path | str,
        *,
        extra_samplings: Sequence[FrameSampling] = (),
        time_budget: TimeBudget | None = None,
        **options: Any,
    ) -> ClipMedia:
        """See `avcil.media.read_clip`."""
        options |= {"extra_samplings": [asdict(sampling) for sampling in extra_samplings]}
        return self._one(ClipMedia, "read_clip", path, time_budget, **options)

    def read_windows(
        self,
        path: Path | str,
        spans: Sequence[tuple[float, float]],
        *,
        samplings: Sequence[FrameSampling],
        time_budget: TimeBudget | None = None,
        **options: Any,
    ) -> Iterator[ClipWindow]:
        """See `avcil.media.windows.read_windows`, except that time between windows does not count."""
        options |= {"spans": list(spans), "samplings": [asdict(sampling) for sampling in samplings]}
        with closing(self._results(ClipWindow, "read_windows", path, time_budget, **options)) as windows:
            yield from windows

    def _one(
        self,
        kind: type[Media],
        operation: str,
        path: Path | str,
        time_budget: TimeBudget | None,
        **options: Any,
    ) -> Media:
        options["timeout"] = self._timeout(time_budget)
        (result,) = self._results(kind, operation, path, time_budget, **options)
        return result

    def _timeout(self, time_budget: TimeBudget | None) -> float:
        """The time limit inside the worker, whose error has a better message."""
        if time_budget is None:
            return self.limits.seconds
        return max(0.01, min(self.limits.seconds, time_budget.seconds - self.limits.grace_seconds))

    def _results(
        self,
        kind: type[Media],
        operation: str,
        path: Path | str,
        time_budget: TimeBudget | None,
        **options: Any,
    ) -> Generator[Media]:
        """The results of an operation; raises the exception of an error reply."""
        path = Path(path)
        request = {"operation": operation, "path": str(path), "max_packets": self.limits.packets, **options}
        try:
            with closing(self._worker.call(request, time_budget or self.new_time_budget())) as replies:
                for reply in replies:
                    if reply.error is not None:
                        raise _error(path, reply.error)
                    if reply.value is not None:
                        yield unpack(kind, reply.value, reply.arrays)
        except WorkerTimeoutError:
            raise _LimitExceededError(
                f"{path}: reading was stopped after {self.limits.seconds:g} s"
            ) from None
        except WorkerDiedError as error:
            raise MediaError(f"{path}: the process that reads the clip {error}") from None


def _error(path: Path, error: dict[str, str]) -> AvcilError:
    kind, message = error["kind"], error["message"]
    if kind == "memory":
        return _LimitExceededError(f"{path}: it needs more memory than the limit for a clip, {message} MB")
    if kind == MediaError.__name__:
        return MediaError(message)
    if kind != "unexpected":
        return InputError(message)
    if message.partition(":")[0] in {each.__name__ for each in PROGRAM_ERRORS}:
        return ProgramError(path, message)
    return UnexpectedReadError(f"{path}: {message}")


class TimeLimitedReader:
    """A `MediaReader` for one clip: all calls together have the time limit of one clip."""

    def __init__(self, reader: ReaderProcess) -> None:
        time_budget = reader.new_time_budget()
        self.probe = partial(reader.probe, time_budget=time_budget)
        self.read_clip = partial(reader.read_clip, time_budget=time_budget)
        self.read_windows = partial(reader.read_windows, time_budget=time_budget)


class ReaderPool:
    """Several reader processes, shared by threads."""

    def __init__(self, limits: ReadLimits, workers: int) -> None:
        """The `workers` processes are started when they are first used."""
        self.limits = limits
        self._readers = [ReaderProcess(limits) for _ in range(workers)]
        self._idle: queue.SimpleQueue[ReaderProcess] = queue.SimpleQueue()
        for reader in self._readers:
            self._idle.put(reader)

    def start(self) -> None:
        """Start all processes without waiting for them."""
        for reader in self._readers:
            reader.start()

    @contextmanager
    def reader(self) -> Iterator[ReaderProcess]:
        """Take a free process, or wait for one."""
        reader = self._idle.get()
        try:
            yield reader
        finally:
            self._idle.put(reader)

    @property
    def pids(self) -> list[int]:
        """Process ids of the running processes."""
        return [reader.pid for reader in self._readers if reader.pid is not None]

    def stop(self) -> None:
        """Kill all processes; threads that wait for one get an error."""
        for reader in self._readers:
            reader.stop()

    def close(self) -> None:
        """Close the processes after all threads have released them."""
        for reader in self._readers:
            reader.close()
