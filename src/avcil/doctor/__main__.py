"""`python -m avcil.doctor`: all checks; works also if a library of the command line is missing.

With the name of a check as argument: its results as JSON, for `examination.run_in_subprocess`.
"""

from __future__ import annotations

import json
import os
import signal
import sys
from dataclasses import asdict
from typing import Any

from avcil.doctor.checks import find_checks
from avcil.doctor.examination import print_report, run_check

_THIS_MACHINE = ("localhost", "127.0.0.1", "::1", "", None)


def refuse_network(event: str, arguments: tuple[Any, ...]) -> None:
    """Audit hook: let nothing in this process contact another machine."""
    if event == "socket.getaddrinfo":
        host = arguments[0]
    elif event == "socket.connect" and isinstance(arguments[1], tuple):
        host = arguments[1][0]
    else:
        return
    if host not in _THIS_MACHINE:
        raise ConnectionRefusedError(f"avcil doctor contacts no other machine, so not {host}")


def main(arguments: list[str]) -> int:
    """Returns the exit code."""
    if not arguments:
        signal.signal(signal.SIGPIPE, signal.SIG_DFL)  # `| head` ends it
        return print_report(find_checks())
    (name,) = arguments
    output = os.dup(1)
    os.dup2(2, 1)  # libraries that print must not change the JSON
    if name != "ray":  # whose processes contact each other under the machine's address
        sys.addaudithook(refuse_network)
    check = next(check for check in find_checks(ray=True) if check.name == name)
    with os.fdopen(output, "w", encoding="utf-8") as file:
        json.dump([asdict(result) for result in run_check(check)], file)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
