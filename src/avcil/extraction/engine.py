"""The engine of an extraction: this machine, or a Ray cluster (`ray_engine`)."""

from __future__ import annotations

from collections.abc import Generator, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Protocol

from avcil.data.clips import Clip
from avcil.extraction.batch_size import measure_batch_size
from avcil.extraction.encoding import Encoders
from avcil.extraction.outcome import ClipOutcome, encode_batch
from avcil.extraction.read_pool import read_clips_ahead
from avcil.media.reader import ReadLimits


class Engine(Protocol):
    """Reads and encodes batches of clips."""

    @property
    def encoders(self) -> Encoders:
        """The encoders of the store."""

    def best_batch_size(self) -> int:
        """The best batch size on the machine that encodes."""

    def outcomes(self, batches: Sequence[list[Clip]], *, missing: str) -> Generator[list[ClipOutcome]]:
        """The outcomes of each batch, in any order; see `extract` for `missing`."""


@dataclass(frozen=True, kw_only=True)
class LocalEngine:
    """Encodes in this process; workers read at most one batch ahead."""

    encoders: Encoders
    limits: ReadLimits
    workers: int
    """Number of clips read in parallel."""
    isolate: bool = True
    """Whether to read in worker processes."""

    def best_batch_size(self) -> int:
        """See `Engine`."""
        return measure_batch_size(self.encoders)

    def outcomes(self, batches: Sequence[list[Clip]], *, missing: str) -> Generator[list[ClipOutcome]]:
        """See `Engine`; in the order of the batches."""
        stream = read_clips_ahead(
            (clip for batch in batches for clip in batch),
            self.encoders.decode_spec,
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
