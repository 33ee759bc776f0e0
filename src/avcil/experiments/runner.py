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
        pending: queue.SimpleQueue[Job] = queue.SimpleQueue()
        finished: queue.SimpleQueue[Outcome | BaseException] = queue.SimpleQueue()
        for run in runs:
            pending.put(run)
        workers = [_WorkerThread(pending, finished, self.threads) for _ in range(min(self.jobs, len(runs)))]
        try:
            for worker in workers:
                worker.start()
            for _ in runs:
                outcome = finished.get()
                if isinstance(outcome, BaseException):
                    raise outcome
                yield outcome
        finally:
            for worker in workers:
                worker.stop()
            for worker in workers:
                worker.join()
                worker.close()


class _WorkerThread(threading.Thread):
    """Sends runs to one worker process and waits for its replies."""

    def __init__(
        self,
        pending: queue.SimpleQueue[Job],
        finished: queue.SimpleQueue[Outcome | BaseException],
        threads: int,
    ) -> None:
        super().__init__(daemon=True)
        self._pending, self._finished, self._threads = pending, finished, threads
        self._worker: subprocess.Popen[str] | None = None
        self._stopped = False
        self._start_lock = threading.Lock()

    def run(self) -> None:
        with contextlib.suppress(queue.Empty):
            while not self._stopped:
                run = self._pending.get_nowait()
                try:
                    self._finished.put(self._train(run))
                except BaseException as error:
                    self._finished.put(error)
                    return
        self.stop()

    def stop(self) -> None:
        """Kill the worker process; its run can be resumed."""
        with self._start_lock:
            self._stopped = True
            if self._worker is not None:
                self._worker.kill()
                self._worker.wait()

    def close(self) -> None:
        """Close the pipes of a worker process that has ended."""
        if self._worker is not None:
            for pipe in (self._worker.stdin, self._worker.stdout):
                assert pipe is not None
                with contextlib.suppress(BrokenPipeError):
                    pipe.close()

    def _train(self, run: Job) -> Outcome:
        worker = self._running_worker()
        assert worker.stdin is not None
        assert worker.stdout is not None
        line = ""
        with contextlib.suppress(BrokenPipeError):
            worker.stdin.write(json.dumps(asdict(run.config), default=str) + "\n")
            worker.stdin.flush()
            line = worker.stdout.readline()
        if not line.endswith("\n"):
            return Outcome(run=run, results=None, message=_exit_reason(worker.wait()))
        return Outcome(run=run, **json.loads(line))

    def _running_worker(self) -> subprocess.Popen[str]:
        with self._start_lock:
            if self._stopped:
                raise AvcilError("stopped")
            if self._worker is None or self._worker.poll() is not None:
                self.close()
                command = [sys.executable, "-P", "-m", "avcil.experiments.worker", str(self._threads)]
                pipe = subprocess.PIPE
                self._worker = subprocess.Popen(command, stdin=pipe, stdout=pipe, encoding="utf-8")
            return self._worker


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
