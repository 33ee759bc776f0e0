"""Reading clips ahead in worker processes or threads."""

from __future__ import annotations

from collections.abc import Generator, Iterable
from functools import partial

from avcil.data.clips import Clip
from avcil.extraction.read_ahead import DecodeSpec, ReadClip, read_one, with_source
from avcil.media.reader import ReaderPool, ReadLimits
from avcil.utils.prefetch import prefetch


def read_clips_ahead(
    clips: Iterable[Clip], spec: DecodeSpec, limits: ReadLimits, *, workers: int, ahead: int, isolate: bool
) -> Generator[ReadClip]:
    """Read clips in parallel and yield them in order.

    Args:
        clips: The clips.
        spec: What to decode.
        limits: Limits for one clip; the memory limit only applies with `isolate`.
        workers: Number of clips read in parallel.
        ahead: Maximum number of clips in memory that have not been consumed.
        isolate: Decode in worker processes, which protects this process from malicious files; otherwise in threads.

    Raises:
        AvcilError: A worker process could not start.
    """
    if not isolate:
        read = partial(read_one, spec=spec, timeout=limits.seconds)
        yield from prefetch(clips, partial(with_source, read=read), workers=workers, depth=ahead)
        return
    pool = ReaderPool(limits, workers)
    read = partial(with_source, read=partial(read_in_pool, pool, spec=spec))
    stream = prefetch(clips, read, workers=workers, depth=ahead)
    try:
        yield from stream
    finally:
        pool.stop()
        stream.close()
        pool.close()


def read_in_pool(pool: ReaderPool, clip: Clip, spec: DecodeSpec) -> ReadClip:
    """Read a clip in a free process of the pool."""
    with pool.reader() as reader:
        return read_one(clip, spec, reader=reader)
