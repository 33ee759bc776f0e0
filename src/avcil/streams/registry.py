"""Streams by name: a file `streams/some_name.py` is the stream `some-name`.

Installed packages register streams as entry points of the group `avcil.streams`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from avcil.datasets.benchmark import Benchmark
from avcil.features import StoredClip
from avcil.utils.class_registry import ClassRegistry
from avcil.utils.options import fill_options, split_settings

if TYPE_CHECKING:
    from avcil.streams.base import Stream, StreamType

DEFAULT = "class-incremental"
STREAMS = ClassRegistry(
    package="avcil.streams",
    folder=Path(__file__).parent,
    others={"base", "registry"},
    noun="stream",
    base="StreamType",
)


@dataclass(frozen=True, kw_only=True, eq=False)
class StreamSpec:
    """A kind of stream with its options, as `--stream` names it."""

    name: str
    kind: StreamType

    @property
    def is_default(self) -> bool:
        """Whether it is class-incremental learning."""
        return self.name == DEFAULT

    @property
    def text(self) -> str:
        """The name with all options, such as "few-shot,base=0,ways=5,shots=5"."""
        return ",".join([self.name, *(f"{key}={value}" for key, value in self.options.items())])

    @property
    def short_text(self) -> str:
        """The name with the options that differ from their defaults."""
        defaults = asdict(self.kind.Options())
        given = (f"{key}={value}" for key, value in self.options.items() if value != defaults[key])
        return ",".join([self.name, *given])

    @property
    def options(self) -> dict[str, Any]:
        """All options by name."""
        return asdict(self.kind.options)

    def build(
        self,
        clips: Sequence[StoredClip],
        steps: Benchmark | None,
        *,
        seed: int,
        is_part: Callable[[StoredClip], bool] = lambda clip: True,
    ) -> Stream:
        """The stream over the clips of a store.

        Args:
            clips: All clips of the store, by row.
            steps: The classes of each step, if the stream uses them.
            seed: Seed of all random choices.
            is_part: Whether a clip may be used; the stream is built as if the store did not have the others.
        """
        from avcil.streams.base import UNUSED

        rows = [row for row, clip in enumerate(clips) if is_part(clip)]
        stream = self.kind.build([clips[row] for row in rows], steps, seed=seed)
        tasks = np.full(len(clips), UNUSED, dtype=np.int64)
        tasks[rows] = stream.task_of_row
        hidden = {rows[row]: parts for row, parts in stream.hidden.items()}
        return replace(stream, task_of_row=tasks, hidden=hidden)


def parse_stream(text: str) -> StreamSpec:
    """The stream that `NAME[,OPTION=VALUE...]` names.

    Raises:
        InputError: The name or an option is unknown, or a value does not fit.

    >>> parse_stream("few-shot,shots=3").options
    {'base': 0, 'ways': 5, 'shots': 3}
    """
    name, *words = map(str.strip, text.split(","))
    values = split_settings(words, "options of a stream are NAME,OPTION=VALUE, as in few-shot,shots=5")
    kind = STREAMS.load(name)
    return StreamSpec(name=name, kind=kind(fill_options(kind.Options, values, owner=f"stream {name}")))
