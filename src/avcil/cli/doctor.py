"""avcil doctor: check the installation."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, kw_only=True)
class Args:
    """Test each part of avcil with a small example. Prints ok, missing or broken for each, with advice. The exit
    code is 1 if a required part is missing or broken. Needs no network."""

    out: Path = Path("runs")
    """The folder for runs: test whether it is writable, and how much space is free."""
    ray: bool = False
    """Also start Ray on this machine, which takes several seconds."""
    json: bool = False
    """Print JSON: works, and a list of results with the keys status, name, detail, advice and required."""


def run(args: Args) -> int:
    """Print what is found."""
    from avcil.doctor.checks import find_checks
    from avcil.doctor.examination import print_report

    return print_report(find_checks(args.out, ray=args.ray), as_json=args.json)
