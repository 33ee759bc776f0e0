"""Everything that `avcil doctor` looks at, in the order in which it says so."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from avcil.doctor.attention import attention
from avcil.doctor.cluster import ray_cluster
from avcil.doctor.decoding import decoding
from avcil.doctor.encoders import built_in_encoders, transformers_encoders
from avcil.doctor.finding import CheckResult
from avcil.doctor.gpu import gpu
from avcil.doctor.machine import machine
from avcil.doctor.packages import (
    extra_names,
    extra_packages,
    imports,
    intruders,
    python,
    required_packages,
)
from avcil.doctor.runs_folder import runs_folder


@dataclass(frozen=True, kw_only=True)
class TrialOptions:
    """What the user asked for."""

    out: Path = Path("runs")
    """The folder that runs go into."""
    ray: bool = False
    """Whether to start Ray."""


@dataclass(frozen=True, kw_only=True)
class Check:
    """Something to try."""

    what: str
    """The name that its findings bear where it fails as a whole."""
    run: Callable[[], Iterable[CheckResult]]
    core: bool = True
    apart: bool = True
    """Whether it runs in a process of its own, because what it tries may crash or hang."""
    limit: float = 120.0
    """Seconds that it may take there."""


def find_checks(wishes: TrialOptions) -> list[Check]:
    """The checks. Building the list imports nothing heavy."""
    return [
        Check(what="python", run=python, apart=False),
        Check(what="packages", run=required_packages, apart=False),
        Check(what="imports", run=imports),
        Check(what="machine", run=machine),
        Check(what="runs", run=partial(runs_folder, wishes.out), apart=False),
        Check(what="decode", run=decoding),
        Check(what="encoders", run=built_in_encoders),
        Check(what="attention", run=attention),
        Check(what="gpu", run=gpu, core=False),
        Check(what="intruders", run=intruders, core=False),
        Check(what="transformers", run=transformers_encoders, core=False),
        Check(what="ray", run=partial(ray_cluster, wishes.ray), core=False),
        *(
            Check(what=f"extra {name}", run=partial(extra_packages, name), core=False)
            for name in extra_names()
        ),
    ]
