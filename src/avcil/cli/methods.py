"""avcil methods: list the methods and their options."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

import tyro


@dataclass(frozen=True, kw_only=True)
class Args:
    """List the methods, or show the options of the named methods."""

    names: Annotated[tuple[str, ...], tyro.conf.Positional] = ()
    """Methods to show with their options. Default: list all methods."""


def run(args: Args) -> None:
    """Print the list, or the options of the given methods."""
    from avcil.methods.registry import METHODS, load_method
    from avcil.utils.options import describe_options
    from avcil.utils.text_table import text_table

    if not args.names:
        methods, problems = METHODS.usable()
        rows = [[name, METHODS.described(name, method.summary)] for name, method in methods.items()]
        print(text_table(rows, names=2))
        for problem in problems:
            print(f"\ncannot be used: {problem}")
        print("\navcil methods NAME shows a method's options; give them to avcil train as --set NAME=VALUE")
        return
    for name in args.names:
        method = load_method(name)
        print(f"{name}: {METHODS.described(name, method.summary)}")
        print(f"  modalities: {', '.join(method.modalities)}; exemplars: {method.rehearsal}")
        print("\n".join(describe_options(method.Options)))
