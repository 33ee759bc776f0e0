"""The checks of `avcil doctor`, in the order in which their results are printed."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from avcil.doctor import attention, machine, media, packages
from avcil.doctor.result import CheckResult


@dataclass(frozen=True, kw_only=True)
class Check:
    """A check and how to run it."""

    what: str
    """The name of the result if the check itself fails."""
    run: Callable[[], Iterable[CheckResult]]
    core: bool = True
    apart: bool = True
    """Whether it runs in its own process, because what it tests could crash or hang."""
    limit: float = 120.0
    """Seconds after which that process is stopped."""


def find_checks(out: Path = Path("runs"), *, ray: bool = False) -> list[Check]:
    """All checks. This imports no large package.

    Args:
        out: The folder of runs to test.
        ray: Whether to start Ray.
    """
    return [
        Check(what="python", run=packages.python, apart=False),
        Check(what="packages", run=packages.required_packages, apart=False),
        Check(what="imports", run=packages.imports),
        Check(what="machine", run=machine.machine),
        Check(what="runs", run=partial(machine.runs_folder, out), apart=False),
        Check(what="decode", run=media.decoding),
        Check(what="encoders", run=media.encoders),
        Check(what="attention", run=attention.attention),
        Check(what="gpu", run=attention.gpu, core=False),
        Check(what="conflicts", run=packages.conflicts, core=False),
        Check(what="transformers", run=media.transformers_encoders, core=False),
        *([Check(what="ray", run=machine.ray_cluster, core=False)] if ray else []),
        *(
            Check(what=f"extra {name}", run=partial(packages.extra_packages, name), core=False)
            for name in packages.extra_names()
        ),
    ]
