"""Run checks, the risky ones in processes of their own: one that fails, crashes or hangs does not stop the others."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace

from avcil.doctor.checks import Check, TrialOptions, find_checks
from avcil.doctor.finding import CheckResult
from avcil.errors import AvcilError

AT_ONCE = 2
"""Processes side by side; each takes memory for PyTorch."""
REINSTALL = "reinstall the package of that file (pip install --force-reinstall --no-deps NAME)"
REPORT = "please report it, with the output of: avcil doctor --json"


def examine(wishes: TrialOptions) -> Iterator[CheckResult]:
    """Everything that is found, in the order of the checks, as it comes; last, whether a check asked for a network."""
    checks = find_checks(wishes)
    asked: list[str] = []
    with ThreadPoolExecutor(AT_ONCE) as pool:
        apart = {check.what: pool.submit(run_apart, check, wishes) for check in checks if check.apart}
        for check in checks:
            if check.apart:
                result = apart[check.what].result()
                asked += [f"{check.what} ({host})" for host in result.hosts]
                yield from result.findings
            else:
                yield from guarded(check)
    yield _network(asked)


def guarded(check: Check) -> list[CheckResult]:
    """A check's findings; what it raises as a finding."""
    found: list[CheckResult] = []
    try:
        found.extend(check.run())
    except AvcilError as error:  # which says itself what to do
        found.append(replace(_failed(check, str(error)), advice=""))
    except Exception as error:
        reason = " ".join(str(error).split()) or "no word why"
        found.append(_failed(check, f"{type(error).__name__}: {reason}"))
    return found


@dataclass(frozen=True)
class Result:
    """What a process found."""

    findings: Sequence[CheckResult]
    hosts: Sequence[str] = ()
    """Other machines that it asked for, which was not let through."""


def run_apart(check: Check, wishes: TrialOptions) -> Result:
    """Run a check in a process of its own and take its findings."""
    words = [sys.executable, "-P", "-X", "faulthandler", "-m", "avcil.doctor"]
    words += [check.what, str(wishes.out), str(int(wishes.ray))]
    same_modules = {"PYTHONPATH": os.pathsep.join(filter(None, sys.path))}  # as this process finds
    try:
        done = subprocess.run(
            words,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            errors="replace",
            timeout=check.limit,
            env=os.environ | same_modules,
        )
    except subprocess.TimeoutExpired:
        return Result([_failed(check, f"no answer within {check.limit:.0f} s")])
    if done.returncode:
        return Result([_failed(check, _end_of(done))])
    try:
        told = json.loads(done.stdout)
    except json.JSONDecodeError:
        return Result([_failed(check, f"said nothing that can be read: {done.stdout[:80]!r}")])
    return Result([CheckResult(**found) for found in told["findings"]], told["hosts"])


def _end_of(done: subprocess.CompletedProcess[str]) -> str:
    """How a process ended: where it crashed, else its last word."""
    lines = [line.strip() for line in done.stderr.splitlines() if line.strip()]
    where = next((line for line in lines if line.startswith('File "')), None)
    if done.returncode < 0:
        return f"crashed with {signal.Signals(-done.returncode).name}{f' in {where}' if where else ''}"
    return f"ended with {done.returncode}{f': {lines[-1]}' if lines else ''}"


def _failed(check: Check, figure: str) -> CheckResult:
    missing = "ModuleNotFoundError" in figure
    crash = "crashed with" in figure
    advice = (
        "install what is missing above" if missing else f"{REINSTALL}; else {REPORT}" if crash else REPORT
    )
    return CheckResult(status="broken", what=check.what, figure=figure, advice=advice, core=check.core)


def _network(asked: Sequence[str]) -> CheckResult:
    if asked:
        figure = f"asked for by {', '.join(asked)}, though nothing here needs it"
        return CheckResult(status="broken", what="network", figure=figure, advice=REPORT, core=False)
    return CheckResult(
        status="ok", what="network", figure="not needed: none of the above asked for it", core=False
    )
