"""Resampling of audio with FFmpeg."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from av.error import BlockingIOError as NotYet
from av.filter import Graph

BLOCK = 16_384
"""Samples per output frame; with small blocks, Python takes more time than FFmpeg."""


class Resampler:
    """Converts audio to another sample rate and to packed float32.

    The filter graph of PyAV's `AudioResampler`, without the threads that it starts (one per core) and does not use.
    """

    def __init__(self, first: Any, rate: int) -> None:
        """
        Args:
            first: The first PyAV frame; all others have the same format.
            rate: Output sample rate in Hz.
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
        """Process a frame and yield complete output frames of `BLOCK` samples; None flushes the rest."""
        self._graph.push(frame)
        while True:
            try:
                yield self._graph.pull()
            except (NotYet, EOFError):
                return
