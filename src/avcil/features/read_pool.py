"""Clips read by several readers at once, each a process of its own or a thread of this one."""

from __future__ import annotations

import queue
from collections.abc import Iterable, Iterator
from functools import partial

from avcil.clips import Clip
from avcil.features.reader_process import Limits, ReaderProcess
from avcil.features.reading import ReadClip, Wanted, read_ahead, read_one


class ReaderPool:
    """Readers for so many threads at once, in processes of their own."""

    def __init__(self, wanted: Wanted, limits: Limits, workers: int) -> None:
        self.wanted = wanted
        self._readers = [ReaderProcess(limits) for _ in range(workers)]
        self._idle: queue.SimpleQueue[ReaderProcess] = queue.SimpleQueue()
        for reader in self._readers:
            self._idle.put(reader)

    def read(self, clip: Clip) -> ReadClip:
        """The clip as read by whichever reader is free."""
        reader = self._idle.get()
        try:
            return reader.read(clip, self.wanted)
        finally:
            self._idle.put(reader)

    def stop(self) -> None:
        """End all readers, so that no thread waits for one any more."""
        for reader in self._readers:
            reader.stop()

    def close(self) -> None:
        """Let go of them, once no thread waits."""
        for reader in self._readers:
            reader.close()


def read_clips_ahead(
    clips: Iterable[Clip], wanted: Wanted, limits: Limits, *, workers: int, ahead: int, isolate: bool
) -> Iterator[ReadClip]:
    """The clips as read, in order, at most `ahead` in memory before they are taken.

    `isolate`: by processes of their own, which a hostile file cannot take this one with; else by threads of this
    process, where `limits.megabytes` cannot be kept.
    """
    if not isolate:
        read = partial(read_one, wanted=wanted, timeout=limits.seconds)
        yield from read_ahead(clips, read, workers=workers, ahead=ahead)
        return
    pool = ReaderPool(wanted, limits, workers)
    stream = read_ahead(clips, pool.read, workers=workers, ahead=ahead)
    try:
        yield from stream
    finally:
        pool.stop()
        stream.close()
        pool.close()
