"""avcil doctor: what is installed, what works, what to do about the rest."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, kw_only=True)
class Args:
    """Try everything that avcil does with something small: a line each, ok, missing or broken, and what to do. Exits
    with 1 if something that avcil cannot do without is missing or broken. Needs no network."""

    out: Path = Path("runs")
    """The folder that runs go into: whether it can be written, and how much room there is."""
    ray: bool = False
    """Start Ray on this machine, too, which takes seconds."""
    json: bool = False
    """Print JSON for programs: works, and findings with status, what, figure, advice, core."""


def run(args: Args) -> int:
    """Print what is found."""
    from avcil.doctor.checks import TrialOptions
    from avcil.doctor.report import print_report

    return print_report(TrialOptions(out=args.out, ray=args.ray), as_json=args.json)
