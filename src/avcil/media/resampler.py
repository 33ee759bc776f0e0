"""Sound at another sample rate, by FFmpeg's resampler."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from av.error import BlockingIOError as NotYet
from av.filter import Graph

BLOCK = 16_384
"""Samples that it gives at once; small blocks cost more in Python than in FFmpeg."""


class Resampler:
    """Brings sound to another rate, and its samples to packed float32.

    FFmpeg's filter graph as PyAV's `AudioResampler` builds it, but without the threads that every such graph starts
    (one a core) and that this filter does not use.
    """

    def __init__(self, first: Any, rate: int) -> None:
        """
        Args:
            first: The first PyAV frame, whose format all others have.
            rate: Hertz of what comes out.
        """
        self._graph = Graph()
        self._graph.threads = 1
        time_base = {} if first.time_base is None else {"time_base": str(first.time_base)}
        layout = first.layout.name
        source = self._graph.add(
            "abuffer",
            sample_rate=str(first.sample_rate),
            sample_fmt=first.format.name,
            channel_layout=layout,
            **time_base,
        )
        form = self._graph.add("aformat", sample_rates=str(rate), sample_fmts="flt", channel_layouts=layout)
        self._graph.link_nodes(source, form, self._graph.add("abuffersink"))
        self._graph.configure()
        self._graph.set_audio_frame_size(BLOCK)

    def resample(self, frame: Any) -> Iterator[Any]:
        """Frames of `BLOCK` samples that are complete once `frame` is in; None gives what is left."""
        self._graph.push(frame)
        while True:
            try:
                yield self._graph.pull()
            except (NotYet, EOFError):
                return
