"""Starting a worker process, sending requests to it, and replacing it when it dies.

A request is one line of JSON; `reply_stream` describes replies. The worker inherits three pipes, a few environment
variables, and no other open file.
"""

from __future__ import annotations

import contextlib
import json
import os
import resource
import select
import signal
import subprocess
import sys
import threading
from collections.abc import Generator, Mapping, Sequence
from typing import Any

from avcil.errors import AvcilError
from avcil.workers.reply_stream import MalformedReply, Reply, ReplyStream, TimeBudget

_START_SECONDS = 120.0
"""Maximum time for a worker to start."""
_INHERITED_VARIABLES = (
    "PATH",
    "HOME",
    "TMPDIR",
    "TZ",
    "LANG",
    "LD_LIBRARY_PATH",
    "LD_PRELOAD",
    "VIRTUAL_ENV",
)
"""Environment variables that a worker inherits, in addition to LC_* and PYTHON*."""


class WorkerError(AvcilError):
    """A worker could not start; the message contains its output."""


class WorkerDiedError(AvcilError):
    """A worker ended during a request, or its reply was malformed."""


class WorkerTimeoutError(AvcilError):
    """A worker exceeded its time limit and was killed."""


class StoppedError(AvcilError):
    """`stop` was called."""


class WorkerProcess:
    """A worker process. Not thread-safe, except for `stop`."""

    def __init__(self, module: str, arguments: Sequence[str] = (), *, reply_bytes: int = 2**32) -> None:
        """The process is started by the first request, or by `start`.

        Args:
            module: The module to run with `python -m`; its `main` calls `avcil.workers.child.answer_requests`.
            arguments: Command line arguments of the worker.
            reply_bytes: Maximum total size of the arrays of one reply.
        """
        self.module, self.arguments, self.reply_bytes = module, list(arguments), reply_bytes
        self._process: subprocess.Popen[bytes] | None = None
        self._replies: ReplyStream | None = None
        self._stderr: int | None = None
        self._ready = self._stopped = False
        self._lock = threading.Lock()

    @property
    def pid(self) -> int | None:
        """Process id; None if it is not running."""
        return None if self._process is None else self._process.pid

    def start(self) -> None:
        """Start the process without waiting until it is ready; replace one that died between requests."""
        if sys.platform != "linux":
            raise AvcilError(
                "avcil decodes media files in worker processes, which need Linux. "
                "Use a Linux virtual machine, WSL 2 or a container"
            )
        if self._process is not None and self._process.poll() is not None:
            self._end()
        with self._lock:
            if self._stopped:
                raise StoppedError("reading was stopped")
            if self._process is not None:
                return
            self._ready = False
            # in memory: works with a full disk, and is bounded by the worker's file size limit
            self._stderr = os.memfd_create("worker-stderr")
            self._process = subprocess.Popen(
                [sys.executable, "-P", "-m", self.module, *self.arguments],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=self._stderr,
                env=_worker_environment(os.environ),
                start_new_session=True,  # Ctrl-C must reach the parent only
            )
            assert self._process.stdout is not None
            self._replies = ReplyStream(self._process.stdout.fileno(), max_bytes=self.reply_bytes)

    def call(self, request: Mapping[str, Any], time_budget: TimeBudget) -> Generator[Reply]:
        """Send a request and yield its replies.

        If the generator is closed before the last reply, the process is killed: the remaining replies would otherwise
        be taken for replies to the next request.

        Raises:
            WorkerError: The process could not start.
            WorkerDiedError: It died.
            WorkerTimeoutError: The time_budget is used up.
            StoppedError: `stop` was called before the request.
        """
        replies = self._wait_until_ready()
        complete = False
        try:
            self._send(request)
            while not complete:
                reply = replies.read(time_budget)
                complete = not reply.has_more
                if complete and reply.worker_exits:
                    self._end()
                yield reply
        except MalformedReply as error:
            raise WorkerDiedError(f"sent a malformed reply ({error})") from None
        except TimeoutError:
            raise WorkerTimeoutError("the worker took too long") from None
        except (EOFError, BrokenPipeError):
            raise WorkerDiedError(self._exit_description()) from None
        finally:
            if not complete and self._process is not None:
                self._end()

    def _wait_until_ready(self) -> ReplyStream:
        """Start the process if necessary, and wait for its first line."""
        self.start()
        replies = self._replies
        assert replies is not None
        if self._ready:
            return replies
        try:
            replies.read_line(TimeBudget(_START_SECONDS))
        except TimeoutError:
            self._end()
            raise WorkerError(f"a worker process did not start within {_START_SECONDS:g} s") from None
        except (EOFError, MalformedReply):
            if self._stopped:
                raise StoppedError("reading was stopped") from None
            raise self._start_error() from None
        self._ready = True
        return replies

    def _start_error(self) -> WorkerError:
        printed = self._stderr_tail()
        how = self._exit_description()
        last = printed.strip().splitlines()[-1] if printed.strip() else "it printed nothing"
        limit = resource.getrlimit(resource.RLIMIT_AS)[0]
        hint = ""
        if limit != resource.RLIM_INFINITY:
            hint = f". The address space is limited to {limit >> 20} MB (ulimit -v); raise the limit or remove it"
        return WorkerError(f"a worker process could not start: it {how}: {last}{hint}")

    def _send(self, request: Mapping[str, Any]) -> None:
        assert self._process is not None
        assert self._process.stdin is not None
        self._process.stdin.write(json.dumps(request).encode() + b"\n")
        self._process.stdin.flush()

    def _stderr_tail(self) -> str:
        """The last 4000 bytes of the worker's standard error."""
        if self._stderr is None:
            return ""
        size = os.fstat(self._stderr).st_size
        return os.pread(self._stderr, 4000, max(0, size - 4000)).decode(errors="replace")

    def _exit_description(self) -> str:
        """How the worker ended: the predicate of a sentence."""
        code = self._end()
        if code >= 0:
            return f"ended with exit code {code}"
        with contextlib.suppress(ValueError):
            return f"was ended by {signal.Signals(-code).name}"
        return f"was ended by signal {-code}"

    def _end(self) -> int:
        """Kill the process if it still runs, and return its exit code."""
        with self._lock:
            process, self._process = self._process, None
            descriptor, self._stderr = self._stderr, None
        assert process is not None
        if process.poll() is None:
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(1.0 if self._has_closed_output(process) else 0)
        process.kill()
        code = process.wait()
        for pipe in (process.stdin, process.stdout):
            assert pipe is not None
            with contextlib.suppress(OSError):
                pipe.close()
        if descriptor is not None:
            os.close(descriptor)
        return code

    @staticmethod
    def _has_closed_output(process: subprocess.Popen[bytes]) -> bool:
        """Whether the worker has closed its output, so that it is about to exit by itself."""
        waiting = select.poll()
        waiting.register(process.stdout, select.POLLHUP)  # type: ignore[arg-type]
        return bool(waiting.poll(0))

    def stop(self) -> None:
        """Kill the worker permanently; a thread that waits for it gets an error immediately."""
        with self._lock:
            self._stopped = True
            if self._process is not None:
                self._process.kill()

    def close(self) -> None:
        """Kill a worker that no thread uses, and close its pipes."""
        self.stop()
        if self._process is not None:
            self._end()


def _worker_environment(environment: Mapping[str, str]) -> dict[str, str]:
    """The environment of a worker: no tokens or passwords; one thread for numerical libraries."""
    variables = {
        name: value
        for name, value in environment.items()
        if name in _INHERITED_VARIABLES or name.startswith(("LC_", "PYTHON", "COVERAGE_"))
    }
    return variables | {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}
