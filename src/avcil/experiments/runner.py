"""Who carries out the runs of a plan: an interface, and worker processes on this machine.

A run is an ordinary run directory, so a runner keeps no state of its own: whatever happens to it, a run whose
results.json exists is done, and any other goes on from its last checkpoint.
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
    """Anything that says how to train, such as a plan's `PlannedRun`."""

    @property
    def config(self) -> TrainConfig:
        """What is trained, and where."""
        ...


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """How one run ended."""

    run: Any
    """The `Job` that was given."""
    results: dict[str, Any] | None
    """The content of its results.json; None if it failed."""
    message: str = ""
    """What went wrong."""


class Runner(Protocol):
    """Anything that can carry out runs, in any order and any place that shares the run directories."""

    def outcomes(self, runs: Sequence[Job]) -> Iterator[Outcome]:
        """Carry out `runs`, giving each as it ends; closing the iterator stops what is at work.

        A run that fails is an outcome like another, and must not keep the others from running.
        """
        ...


class LocalRunner:
    """Worker processes on this machine, each of which does one run after another.

    A worker ends itself when this process goes away, however that happens. A worker that dies is reported as
    the failure of its run, and another takes its place.
    """

    def __init__(self, *, jobs: int, threads: int) -> None:
        self.jobs, self.threads = jobs, threads

    def outcomes(self, runs: Sequence[Job]) -> Iterator[Outcome]:
        waiting: queue.SimpleQueue[Job] = queue.SimpleQueue()
        ended: queue.SimpleQueue[Outcome | BaseException] = queue.SimpleQueue()
        for run in runs:
            waiting.put(run)
        worker_threads = [
            _WorkerThread(waiting, ended, self.threads) for _ in range(min(self.jobs, len(runs)))
        ]
        try:
            for hand in worker_threads:
                hand.start()
            for _ in runs:
                outcome = ended.get()
                if isinstance(outcome, BaseException):
                    raise outcome
                yield outcome
        finally:
            for hand in worker_threads:
                hand.stop()
            for hand in worker_threads:
                hand.join()
                hand.close()


class _WorkerThread(threading.Thread):
    """Hands runs to one worker process and waits for its answers."""

    def __init__(
        self,
        waiting: queue.SimpleQueue[Job],
        ended: queue.SimpleQueue[Outcome | BaseException],
        threads: int,
    ) -> None:
        super().__init__(daemon=True)
        self._waiting, self._ended, self._threads = waiting, ended, threads
        self._worker: subprocess.Popen[str] | None = None
        self._stopped = False
        self._starting = threading.Lock()

    def run(self) -> None:
        with contextlib.suppress(queue.Empty):
            while not self._stopped:
                run = self._waiting.get_nowait()
                try:
                    self._ended.put(self._carry_out(run))
                except BaseException as error:
                    self._ended.put(error)
                    return
        self.stop()

    def stop(self) -> None:
        """End the worker; what it was at is left as a kill would leave it, ready to go on."""
        with self._starting:
            self._stopped = True
            if self._worker is not None:
                self._worker.kill()
                self._worker.wait()

    def close(self) -> None:
        """Close the pipes of a worker that is gone."""
        if self._worker is not None:
            for pipe in (self._worker.stdin, self._worker.stdout):
                assert pipe is not None
                with contextlib.suppress(BrokenPipeError):
                    pipe.close()

    def _carry_out(self, run: Job) -> Outcome:
        worker = self._running_worker()
        assert worker.stdin is not None
        assert worker.stdout is not None
        answer = ""
        with contextlib.suppress(BrokenPipeError):
            worker.stdin.write(json.dumps(asdict(run.config), default=str) + "\n")
            worker.stdin.flush()
            answer = worker.stdout.readline()
        if not answer.endswith("\n"):
            return Outcome(run=run, results=None, message=_death(worker.wait()))
        said = json.loads(answer)
        return Outcome(run=run, results=said["results"], message=said["message"])

    def _running_worker(self) -> subprocess.Popen[str]:
        with self._starting:
            if self._stopped:
                raise AvcilError("stopped")
            if self._worker is None or self._worker.poll() is not None:
                self.close()
                command = [sys.executable, "-P", "-m", "avcil.experiments.worker", str(self._threads)]
                pipe = subprocess.PIPE
                self._worker = subprocess.Popen(command, stdin=pipe, stdout=pipe, encoding="utf-8")
            return self._worker


def _death(code: int) -> str:
    """What a worker's exit status says.

    >>> _death(-9)
    'its process was ended by SIGKILL, as the system does when memory runs out: try fewer --jobs'
    """
    if code < 0:
        killed = code == -signal.SIGKILL
        hint = ", as the system does when memory runs out: try fewer --jobs" if killed else ""
        return f"its process was ended by {signal.Signals(-code).name}{hint}"
    return f"its process ended by itself with exit code {code}"
