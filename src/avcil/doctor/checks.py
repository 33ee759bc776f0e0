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

    name: str
    """The name of the result if the check itself fails."""
    run: Callable[[], Iterable[CheckResult]]
    required: bool = True
    in_subprocess: bool = True
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
        Check(name="python", run=packages.python, in_subprocess=False),
        Check(name="packages", run=packages.required_packages, in_subprocess=False),
        Check(name="imports", run=packages.imports),
        Check(name="machine", run=machine.machine),
        Check(name="runs", run=partial(machine.runs_folder, out), in_subprocess=False),
        Check(name="decode", run=media.decoding),
        Check(name="encoders", run=media.encoders),
        Check(name="attention", run=attention.attention),
        Check(name="gpu", run=attention.gpu, required=False),
        Check(name="conflicts", run=packages.conflicts, required=False),
        Check(name="transformers", run=media.transformers_encoders, required=False),
        *([Check(name="ray", run=machine.ray_cluster, required=False)] if ray else []),
        *(
            Check(name=f"extra {name}", run=partial(packages.extra_packages, name), required=False)
            for name in packages.extra_names()
        ),
    ]
