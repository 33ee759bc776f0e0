"""Findings for people, a line each, and for programs."""

from __future__ import annotations

import json

from avcil.doctor.checks import TrialOptions, find_checks
from avcil.doctor.examination import examine
from avcil.doctor.finding import CheckResult


def print_report(wishes: TrialOptions, *, as_json: bool = False) -> int:
    """Print what is found, as it comes; 1 if avcil does not work here, else 0."""
    found: list[CheckResult] = []
    width = max(len("transformers VideoMAEModel"), *(len(check.what) for check in find_checks(wishes)))
    for finding in examine(wishes):
        found.append(finding)
        if not as_json:
            print(finding.line(width), flush=True)
    failing = [finding.what for finding in found if finding.fails]
    if as_json:
        print(json.dumps({"works": not failing, "findings": [f.as_json() for f in found]}, indent=2))
    elif failing:
        print(f"\navcil does not work here yet: {', '.join(failing)}")
    else:
        print("\navcil works here")
    return 1 if failing else 0
