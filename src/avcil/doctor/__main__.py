"""`python -m avcil.doctor`: all checks, without options, also where the command's own libraries are missing.

With words behind it: one check in this process, its findings as JSON, for `examination.run_apart`.
"""

from __future__ import annotations

import json
import os
import signal
import sys
from pathlib import Path

from avcil.doctor.checks import TrialOptions, find_checks
from avcil.doctor.examination import guarded
from avcil.doctor.no_network import refuse_network
from avcil.doctor.report import print_report


def main(words: list[str]) -> int:
    """The exit code."""
    if not words:
        signal.signal(signal.SIGPIPE, signal.SIG_DFL)  # a reader that goes away, as head does, ends it
        return print_report(TrialOptions())
    what, out, ray = words
    answers = os.dup(1)
    os.dup2(2, 1)  # what libraries print is no answer
    hosts = refuse_network() if what != "ray" else []  # Ray's processes talk to each other
    wishes = TrialOptions(out=Path(out), ray=ray == "1")
    check = next(check for check in find_checks(wishes) if check.what == what)
    findings = [finding.as_json() for finding in guarded(check)]
    with os.fdopen(answers, "w", encoding="utf-8") as file:
        json.dump({"findings": findings, "hosts": sorted(set(hosts))}, file)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
