"""Training several runs: an interface, and worker processes on this machine.

A runner has no state: a run with results.json is finished, and any other run is resumed from its last checkpoint.
"""

from __future__ import annotations

import contextlib
import json
import queue
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import asdict, dataclass
from typing import Any, Protocol

from avcil.errors import AvcilError
from avcil.training.config import TrainConfig


class Job(Protocol):
    """An object with a configuration of training, such as `PlannedRun`."""

    @property
    def config(self) -> TrainConfig: ...


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """The outcome of one run."""

    run: Any
    """The `Job`."""
    results: dict[str, Any] | None
    """The content of results.json; None if the run failed."""
    message: str = ""
    """Why it failed."""


class Runner(Protocol):
    """Trains runs in any order, on any machine that shares the run directories."""

    def outcomes(self, runs: Sequence[Job]) -> Iterator[Outcome]:
        """Train `runs` and yield the outcome of each as it finishes. Closing the iterator stops all runs.

        A failed run is yielded as an outcome and does not stop the others.
        """
        ...


class LocalRunner:
    """Worker processes on this machine, each of which trains one run after another.

    A worker exits when this process ends. When a worker is killed, its run is reported as failed, and a new worker is
    started.
    """

    def __init__(self, *, jobs: int, threads: int) -> None:
        self.jobs, self.threads = jobs, threads

    def outcomes(self, runs: Sequence[Job]) -> Iterator[Outcome]:
        workers = [_Worker(self.threads) for _ in range(min(self.jobs, len(runs)))]
        idle: queue.SimpleQueue[_Worker] = queue.SimpleQueue()
        for worker in workers:
            idle.put(worker)

        def train(run: Job) -> Outcome:
            worker = idle.get()
            try:
                return worker.train(run)
            finally:
                idle.put(worker)

        try:
            with ThreadPoolExecutor(max(1, len(workers))) as threads:
                futures = [threads.submit(train, run) for run in runs]
                try:
                    for future in as_completed(futures):
                        yield future.result()
                finally:
                    threads.shutdown(wait=False, cancel_futures=True)
                    for worker in workers:
                        worker.stop()
        finally:
            for worker in workers:
                worker.close()


class _Worker:
    """A worker process, started when it is first used, and again if it was killed."""

    def __init__(self, threads: int) -> None:
        self._threads = threads
        self._process: subprocess.Popen[str] | None = None
        self._stopped = False
        self._start_lock = threading.Lock()

    def train(self, run: Job) -> Outcome:
        """Send a run to the process and wait for its reply."""
        process = self._running_process()
        assert process.stdin is not None
        assert process.stdout is not None
        line = ""
        with contextlib.suppress(BrokenPipeError):
            process.stdin.write(json.dumps(asdict(run.config), default=str) + "\n")
            process.stdin.flush()
            line = process.stdout.readline()
        if not line.endswith("\n"):
            return Outcome(run=run, results=None, message=_exit_reason(process.wait()))
        return Outcome(run=run, **json.loads(line))

    def stop(self) -> None:
        """Kill the process, from any thread; its run can be resumed."""
        with self._start_lock:
            self._stopped = True
            if self._process is not None:
                self._process.kill()
                self._process.wait()

    def close(self) -> None:
        """Close the pipes of a process that has ended."""
        if self._process is not None:
            for pipe in (self._process.stdin, self._process.stdout):
                assert pipe is not None
                with contextlib.suppress(BrokenPipeError):
                    pipe.close()

    def _running_process(self) -> subprocess.Popen[str]:
        with self._start_lock:
            if self._stopped:
                raise AvcilError("stopped")
            if self._process is None or self._process.poll() is not None:
                self.close()
                command = [sys.executable, "-P", "-m", "avcil.experiments.worker", str(self._threads)]
                pipe = subprocess.PIPE
                self._process = subprocess.Popen(command, stdin=pipe, stdout=pipe, encoding="utf-8")
            return self._process


def _exit_reason(code: int) -> str:
    """Describe the exit code of a worker process.

    >>> _exit_reason(-9)
    'its process was killed by SIGKILL, perhaps because the machine ran out of memory: try fewer --jobs'
    """
    if code < 0:
        is_kill = code == -signal.SIGKILL
        hint = ", perhaps because the machine ran out of memory: try fewer --jobs" if is_kill else ""
        return f"its process was killed by {signal.Signals(-code).name}{hint}"
    return f"its process ended with exit code {code}"
