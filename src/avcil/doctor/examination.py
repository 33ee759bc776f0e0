"""Running the checks and printing the results. A check that fails, crashes or hangs does not stop the others."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict

from avcil.doctor.checks import Check
from avcil.doctor.result import CheckResult
from avcil.errors import AvcilError

_MAX_PROCESSES = 2
"""Processes at the same time; each needs memory for PyTorch."""
_REINSTALL = "reinstall the package of that file (pip install --force-reinstall --no-deps NAME)"
_REPORT = "please report it, with the output of: avcil doctor --json"


def print_report(checks: Sequence[Check], *, as_json: bool = False) -> int:
    """Print each result when it is known; returns the exit code, 1 if avcil does not work here."""
    results: list[CheckResult] = []
    for result in _examine(checks):
        results.append(result)
        if not as_json:
            print(result.line(width=18), flush=True)
    failing = [result.name for result in results if result.fails]
    if as_json:
        print(json.dumps({"works": not failing, "results": [asdict(r) for r in results]}, indent=2))
    else:
        print(f"\navcil does not work here yet: {', '.join(failing)}" if failing else "\navcil works here")
    return 1 if failing else 0


def _examine(checks: Sequence[Check]) -> Iterator[CheckResult]:
    """The results of all checks, in their order."""
    with ThreadPoolExecutor(_MAX_PROCESSES) as pool:
        futures = {
            check.name: pool.submit(run_in_subprocess, check) for check in checks if check.in_subprocess
        }
        for check in checks:
            yield from futures[check.name].result() if check.in_subprocess else run_check(check)


def run_check(check: Check) -> list[CheckResult]:
    """The results of a check; an exception is a result, too."""
    results: list[CheckResult] = []
    try:
        results.extend(check.run())
    except AvcilError as error:  # the message contains advice
        results.append(
            CheckResult(status="broken", name=check.name, detail=str(error), required=check.required)
        )
    except Exception as error:
        results.append(_failed(check, f"{type(error).__name__}: {' '.join(str(error).split())}"))
    return results


def run_in_subprocess(check: Check) -> list[CheckResult]:
    """Run a check in its own process (`__main__.py`)."""
    command = [sys.executable, "-P", "-X", "faulthandler", "-m", "avcil.doctor", check.name]
    same_modules = {"PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    try:
        done = subprocess.run(
            command,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            errors="replace",
            timeout=check.limit,
            env=os.environ | same_modules,
        )
    except subprocess.TimeoutExpired:
        return [_failed(check, f"no answer within {check.limit:.0f} s")]
    if done.returncode:
        return [_failed(check, _end_of(done))]
    return [CheckResult(**fields) for fields in json.loads(done.stdout)]


def _end_of(done: subprocess.CompletedProcess[str]) -> str:
    """How a process ended: where it crashed, or the last line of its output."""
    lines = [line.strip() for line in done.stderr.splitlines() if line.strip()]
    where = next((line for line in lines if line.startswith('File "')), None)
    if done.returncode < 0:
        return f"crashed with {signal.Signals(-done.returncode).name}{f' in {where}' if where else ''}"
    return f"ended with {done.returncode}{f': {lines[-1]}' if lines else ''}"


def _failed(check: Check, detail: str) -> CheckResult:
    if "ModuleNotFoundError" in detail:
        advice = "install what is missing above"
    else:
        advice = f"{_REINSTALL}; else {_REPORT}" if "crashed with" in detail else _REPORT
    return CheckResult(
        status="broken", name=check.name, detail=detail, advice=advice, required=check.required
    )
