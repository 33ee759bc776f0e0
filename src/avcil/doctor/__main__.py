"""`python -m avcil.doctor`: all checks; works also if a library of the command line is missing.

With the name of a check as argument: its results as JSON, for `examination.run_apart`.
"""

from __future__ import annotations

import json
import os
import signal
import sys
from dataclasses import asdict
from typing import Any

from avcil.doctor.checks import find_checks
from avcil.doctor.examination import guarded, print_report

THIS_MACHINE = ("localhost", "127.0.0.1", "::1", "", None)


def refuse_network(event: str, arguments: tuple[Any, ...]) -> None:
    """Audit hook: let nothing in this process contact another machine."""
    if event == "socket.getaddrinfo":
        host = arguments[0]
    elif event == "socket.connect" and isinstance(arguments[1], tuple):
        host = arguments[1][0]
    else:
        return
    if host not in THIS_MACHINE:
        raise ConnectionRefusedError(f"avcil doctor contacts no other machine, so not {host}")


def main(words: list[str]) -> int:
    """Returns the exit code."""
    if not words:
        signal.signal(signal.SIGPIPE, signal.SIG_DFL)  # `| head` ends it
        return print_report(find_checks())
    (what,) = words
    output = os.dup(1)
    os.dup2(2, 1)  # libraries that print must not change the JSON
    if what != "ray":  # whose processes contact each other under the machine's address
        sys.addaudithook(refuse_network)
    check = next(check for check in find_checks(ray=True) if check.what == what)
    with os.fdopen(output, "w", encoding="utf-8") as file:
        json.dump([asdict(result) for result in guarded(check)], file)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
