"""Who does the work of an extraction: this machine, here, or a Ray cluster (ray_extract.py)."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Protocol

from avcil.data.clips import Clip
from avcil.extraction.encoding import Encoders
from avcil.extraction.outcome import ClipOutcome, encode_batch
from avcil.extraction.read_pool import read_clips_ahead
from avcil.media.reader import ReadLimits


class Engine(Protocol):
    """Reads and encodes batches of clips somewhere."""

    @property
    def encoders(self) -> Encoders:
        """Those that the store is made with."""

    def best_batch_size(self) -> int:
        """Measured where the encoders work."""

    def outcomes(self, batches: Sequence[list[Clip]], *, missing: str) -> Iterator[list[ClipOutcome]]:
        """Each batch's outcomes, in any order of batches; `missing` as `extract` takes it."""


@dataclass(frozen=True, kw_only=True)
class Here:
    """This process encodes, readers run at most a batch ahead of it."""

    encoders: Encoders
    limits: ReadLimits
    workers: int
    """Clips read at once."""
    isolate: bool = True
    """Read in processes of their own."""

    def best_batch_size(self) -> int:
        """Tried on the device at hand."""
        return self.encoders.best_batch_size()

    def outcomes(self, batches: Sequence[list[Clip]], *, missing: str) -> Iterator[list[ClipOutcome]]:
        """In the order of the batches."""
        stream = read_clips_ahead(
            (clip for batch in batches for clip in batch),
            self.encoders.wanted,
            self.limits,
            workers=self.workers,
            ahead=self.workers + max(map(len, batches), default=0),
            isolate=self.isolate,
        )
        try:
            for batch in batches:
                yield encode_batch(list(islice(stream, len(batch))), self.encoders, missing=missing)
        finally:
            stream.close()
