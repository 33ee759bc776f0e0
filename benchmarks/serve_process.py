"""A real `avcil serve` process for the benchmarks, on loopback only."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path


class ServerProcess:
    """A running server."""

    def __init__(self, run: Path, *arguments: str, temporary: Path) -> None:
        """Start it and wait until it listens."""
        environment = os.environ | {"TMPDIR": str(temporary), "TMP": "", "TEMP": ""}
        command = [sys.executable, "-m", "avcil", "serve", str(run), "--port", "0", *arguments]
        start = time.monotonic()
        self.errors = open(temporary.with_name("errors.txt"), "ab")  # noqa: SIM115
        self.process = subprocess.Popen(
            command, stdout=subprocess.PIPE, stderr=self.errors, env=environment, text=True
        )
        assert self.process.stdout is not None
        line = self.process.stdout.readline()
        result = re.search(r"http://\S+", line)
        if result is None:
            raise SystemExit(f"the server did not start: {line!r}; see {self.errors.name}")
        self.url, self.seconds_to_start = result[0], time.monotonic() - start

    def stop(self, how: int = signal.SIGTERM) -> int:
        """Send a signal and return the exit code."""
        self.process.send_signal(how)
        code = self.process.wait(300)
        assert self.process.stdout is not None
        self.process.stdout.close()
        self.errors.close()
        return code

    def memory(self) -> float:
        """MB of resident memory of the server and its worker processes."""
        pids = [self.process.pid, *_children(self.process.pid)]
        pages = sum(int(Path(f"/proc/{pid}/statm").read_text().split()[1]) for pid in pids)
        return pages * os.sysconf("SC_PAGE_SIZE") / 2**20


def _children(parent: int) -> list[int]:
    result = []
    for task in Path(f"/proc/{parent}/task").iterdir():
        result += map(int, (task / "children").read_text().split())
    return result
