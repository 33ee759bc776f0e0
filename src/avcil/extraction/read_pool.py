"""Clips read ahead by several worker processes or threads."""

from __future__ import annotations

from collections.abc import Generator, Iterable
from functools import partial

from avcil.data.clips import Clip
from avcil.extraction.read_ahead import DecodeSpec, ReadClip, read_ahead, read_one, with_source
from avcil.media.reader import ReaderPool, ReadLimits


def read_clips_ahead(
    clips: Iterable[Clip], wanted: DecodeSpec, limits: ReadLimits, *, workers: int, ahead: int, isolate: bool
) -> Generator[ReadClip]:
    """Yield the clips as read, in order.

    Args:
        clips: What to read.
        wanted: What is read of each clip.
        limits: What one clip may use; the memory limit holds only where `isolate` is true.
        workers: Clips read at once.
        ahead: Most clips in memory that have not been taken yet.
        isolate: Decode in worker processes, which protects this process from hostile files; else in threads.

    Raises:
        AvcilError: A worker process could not start.
    """
    if not isolate:
        read = partial(read_one, wanted=wanted, timeout=limits.seconds)
        yield from read_ahead(clips, partial(with_source, read=read), workers=workers, ahead=ahead)
        return
    pool = ReaderPool(limits, workers)
    read = partial(with_source, read=partial(read_in_pool, pool, wanted=wanted))
    stream = read_ahead(clips, read, workers=workers, ahead=ahead)
    try:
        yield from stream
    finally:
        pool.stop()
        stream.close()
        pool.close()


def read_in_pool(pool: ReaderPool, clip: Clip, wanted: DecodeSpec) -> ReadClip:
    """The clip as read by whichever process of the pool is free."""
    with pool.reader() as reader:
        return read_one(clip, wanted, source=reader)
