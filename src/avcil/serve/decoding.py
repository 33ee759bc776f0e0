"""Decode uploads in worker processes with limits of memory, time, packets and file size."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from avcil.errors import AvcilError, InputError
from avcil.inference.clip_features import ClipFeatures, ClipReader
from avcil.media.reader import ReaderPool, ReadLimits, TimeLimitedReader
from avcil.serve.limits import ServeLimits
from avcil.workers.process import StoppedError

_GRACE_SECONDS = 2.0
"""Time from the time limit of a clip until its worker process is killed."""
_EXTRA_WORKERS = 2
"""Worker processes in addition to those for predictions: one for learning, one for frames of the page."""


class UploadReader:
    """A pool of running worker processes."""

    def __init__(self, limits: ServeLimits) -> None:
        self.limits = limits
        read_limits = ReadLimits(
            seconds=limits.decode_seconds,
            megabytes=limits.decode_megabytes,
            packets=limits.decode_packets,
            grace_seconds=_GRACE_SECONDS,
        )
        self.pool = ReaderPool(read_limits, limits.workers + _EXTRA_WORKERS)
        self.pool.start()

    @contextmanager
    def clip(self) -> Iterator[TimeLimitedReader]:
        """A worker process for all calls for one clip; it is restarted afterwards if it was killed."""
        with self.pool.reader() as reader:
            try:
                yield TimeLimitedReader(reader)
            finally:
                with suppress(StoppedError):
                    reader.start()

    @contextmanager
    def checked(self, path: Path) -> Iterator[TimeLimitedReader]:
        """A worker process for an uploaded clip.

        Raises:
            MediaError: It is not a media file.
            InputError: It is too long.
        """
        with self.clip() as session:
            seconds = session.probe(path).duration
            if seconds > self.limits.seconds:
                raise InputError(
                    f"{path}: the clip lasts {seconds:.0f} s; the limit is {self.limits.seconds:.0f} s. Shorten it"
                )
            yield session

    def features(self, paths: Iterable[Path], reader: ClipReader) -> Iterator[ClipFeatures | AvcilError]:
        """Yield the features of each uploaded clip in order, or the error of a clip."""
        for path in paths:
            try:
                with self.checked(path) as session:
                    result = reader.features(path, media=session)
            except AvcilError as error:
                yield error
            else:
                yield result

    def close(self) -> None:
        """End the processes."""
        self.pool.stop()
        self.pool.close()
