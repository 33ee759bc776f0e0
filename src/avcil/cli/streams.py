"""avcil streams: the orders in which clips can arrive, and the options of each."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

import tyro


@dataclass(frozen=True, kw_only=True)
class Args:
    """List the streams, or show the options of the named streams."""

    names: Annotated[tuple[str, ...], tyro.conf.Positional] = ()
    """Streams to show with their options. Default: list all streams."""


def run(args: Args) -> None:
    """Print the list, or the options of the named streams."""
    from avcil.streams.registry import STREAMS
    from avcil.utils.options import describe_options
    from avcil.utils.text_table import text_table

    if not args.names:
        kinds, problems = STREAMS.usable()
        print(
            text_table(
                [[name, STREAMS.described(name, kind.summary)] for name, kind in kinds.items()], names=2
            )
        )
        for problem in problems:
            print(f"\ncannot be used: {problem}")
        print(
            "\navcil streams NAME shows the options of a stream. Give them as NAME,OPTION=VALUE to avcil train "
            "--stream or avcil reproduce --streams"
        )
        return
    for name in args.names:
        kind = STREAMS.load(name)
        steps = "--classes-per-step, --steps or --benchmark" if kind.uses_steps else "the stream itself"
        print(f"{name}: {STREAMS.described(name, kind.summary)}\n  tasks are defined by {steps}")
        if prescribed := kind(kind.Options()).settings():
            print(
                "  fixed options: " + ", ".join(f"--{k.replace('_', '-')} {v}" for k, v in prescribed.items())
            )
        print("\n".join(describe_options(kind.Options)))
