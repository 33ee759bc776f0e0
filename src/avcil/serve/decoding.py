"""Decoding of what people send: in worker processes with limits of memory, time, packets and file size."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from avcil.errors import AvcilError, InputError
from avcil.inference.clip_features import ClipFeatures, ClipReader
from avcil.media.reader import ClipSession, ReaderPool, ReadLimits
from avcil.serve.limits import Limits
from avcil.workers.process import StoppedError

GRACE_SECONDS = 2.0
"""After the time of a clip is over, until its worker process is ended."""
OTHERS = 2
"""Worker processes besides those for questions: one for the teaching, one for the pictures of the page."""


class UploadReader:
    """Worker processes that are kept running, so that no upload waits for one to start."""

    def __init__(self, limits: Limits) -> None:
        """Start the processes."""
        self.limits = limits
        read_limits = ReadLimits(
            seconds=limits.decode_seconds,
            megabytes=limits.decode_megabytes,
            packets=limits.decode_packets,
            grace_seconds=GRACE_SECONDS,
        )
        self.pool = ReaderPool(read_limits, limits.workers + OTHERS)
        self.pool.start()

    @contextmanager
    def clip(self) -> Iterator[ClipSession]:
        """A worker process for all calls that concern one clip; a new one is started at once where it died."""
        with self.pool.reader() as reader:
            try:
                yield ClipSession(reader)
            finally:
                with suppress(StoppedError):
                    reader.start()

    @contextmanager
    def checked(self, path: Path) -> Iterator[ClipSession]:
        """The same for a clip that people sent.

        Raises:
            MediaError: It is not a media file.
            InputError: It is too long.
        """
        with self.clip() as session:
            seconds = session.probe(path).duration
            if seconds > self.limits.seconds:
                raise InputError(
                    f"{path}: the clip lasts {seconds:.0f} s; at most {self.limits.seconds:.0f} s are taken. Cut it"
                )
            yield session

    def features(self, paths: Iterable[Path], reader: ClipReader) -> Iterator[ClipFeatures | AvcilError]:
        """Features of each clip that people sent, or what is wrong with it, in order."""
        for path in paths:
            try:
                with self.checked(path) as session:
                    found = reader.features(path, media=session)
            except AvcilError as error:
                yield error
            else:
                yield found

    def close(self) -> None:
        """End the processes."""
        self.pool.stop()
        self.pool.close()
