"""A worker process as its parent sees it: started on demand, limited in time, replaced when it dies.

A request is one line of JSON. Each reply is one line of JSON, the head, followed by the bytes of its arrays. Nothing
is pickled: a worker that an attacker has taken over can send wrong numbers, but no objects. The worker gets three
pipes and a small environment, and no other open file of its parent.
"""

from __future__ import annotations

import contextlib
import json
import math
import os
import resource
import select
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Generator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from avcil.errors import AvcilError

START_SECONDS = 120.0
"""Time that a worker may take to start on a busy machine."""
MAX_HEAD_BYTES = 2**20
"""Longest head of a reply."""
DTYPES = ("uint8", "float32", "float64")
"""Element types that a reply may contain."""
ENVIRONMENT = ("PATH", "HOME", "TMPDIR", "TZ", "LANG", "LD_LIBRARY_PATH", "LD_PRELOAD", "VIRTUAL_ENV")
"""Variables that a worker inherits, besides those that start with LC_ or PYTHON."""


class WorkerError(AvcilError):
    """A worker could not start; the message contains what it printed."""


class WorkerDiedError(AvcilError):
    """A worker ended while it was working on a request, or its reply was malformed."""


class WorkerTimeoutError(AvcilError):
    """A worker took longer than it may, and was ended."""


class StoppedError(AvcilError):
    """`stop` was called."""


@dataclass
class Allowance:
    """Seconds that the parent may still wait for a worker; several requests can share one allowance."""

    seconds: float

    def spend(self, seconds: float) -> None:
        """Count waiting time."""
        self.seconds -= seconds


@dataclass(frozen=True, eq=False)
class Reply:
    """One reply of a worker."""

    value: Any
    """JSON."""
    arrays: dict[str, np.ndarray] = field(default_factory=dict)
    error: dict[str, str] | None = None
    """`kind` and `message` of an error that the worker raised; `value` is then None."""


class WorkerProcess:
    """One worker process, for one thread at a time (`stop` may be called from any thread)."""

    def __init__(self, module: str, arguments: Sequence[str] = (), *, reply_bytes: int = 2**32) -> None:
        """Prepare a worker without starting it.

        Args:
            module: The module to run with `python -m`; its `main` calls `avcil.workers.child.answer_requests`.
            arguments: Command line arguments of the worker.
            reply_bytes: Most bytes that the arrays of one reply may take.
        """
        self.module, self.arguments, self.reply_bytes = module, list(arguments), reply_bytes
        self._process: subprocess.Popen[bytes] | None = None
        self._buffer = bytearray()
        self._stderr: int | None = None
        self._ready = self._stopped = False
        self._lock = threading.Lock()

    @property
    def pid(self) -> int | None:
        """Process id; None where it is not running."""
        return None if self._process is None else self._process.pid

    def start(self) -> None:
        """Start the process without waiting until it is ready; one that died between requests is replaced."""
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
            self._buffer, self._ready = bytearray(), False
            # in memory, so that a full disk does not matter; the worker's file-size limit bounds it
            self._stderr = os.memfd_create("worker-stderr")
            self._process = subprocess.Popen(
                [sys.executable, "-P", "-m", self.module, *self.arguments],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=self._stderr,
                env=worker_environment(os.environ),
                start_new_session=True,  # Ctrl-C is for the parent, which decides what to do
            )

    def call(self, request: Mapping[str, Any], allowance: Allowance) -> Generator[Reply]:
        """Send a request and yield its replies.

        A generator that is closed before its last reply ends the process, since the rest of the replies would
        otherwise be taken for those of the next request.

        Raises:
            WorkerError: The process could not start.
            WorkerDiedError: It died.
            WorkerTimeoutError: The allowance was used up.
            StoppedError: `stop` was called before the request.
        """
        self._wait_until_ready()
        complete = False
        try:
            self._send(request)
            while not complete:
                reply, more, is_last = self._reply(allowance)
                complete = not more
                if complete and is_last:
                    self._end()
                yield reply
        except TimeoutError:
            raise WorkerTimeoutError("the worker took too long") from None
        except (EOFError, BrokenPipeError):
            raise WorkerDiedError(self._death()) from None
        finally:
            if not complete and self._process is not None:
                self._end()

    def _wait_until_ready(self) -> None:
        self.start()
        if self._ready:
            return
        try:
            self._line(Allowance(START_SECONDS))
        except TimeoutError:
            self._end()
            raise WorkerError(f"a worker process did not start within {START_SECONDS:g} s") from None
        except (EOFError, ValueError):
            if self._stopped:
                raise StoppedError("reading was stopped") from None
            raise self._start_error() from None
        self._ready = True

    def _start_error(self) -> WorkerError:
        printed = self._printed()
        death = self._death()
        last = printed.strip().splitlines()[-1] if printed.strip() else "it printed nothing"
        limit = resource.getrlimit(resource.RLIMIT_AS)[0]
        hint = ""
        if limit != resource.RLIM_INFINITY:
            hint = f". The address space is limited to {limit >> 20} MB (ulimit -v); raise the limit or remove it"
        return WorkerError(f"a worker process could not start: it {death}: {last}{hint}")

    def _send(self, request: Mapping[str, Any]) -> None:
        assert self._process is not None
        assert self._process.stdin is not None
        self._process.stdin.write(json.dumps(request).encode() + b"\n")
        self._process.stdin.flush()

    def _reply(self, allowance: Allowance) -> tuple[Reply, bool, bool]:
        """The next reply, whether more follow, and whether the worker ends after it."""
        try:
            head = json.loads(self._line(allowance))
            arrays, left = {}, self.reply_bytes
            for name, (dtype, shape) in head["arrays"].items():
                size = _array_bytes(dtype, shape)
                left -= size
                if left < 0:
                    raise ValueError("more bytes than a reply may contain")
                arrays[name] = np.empty(shape, dtype)
                self._fill(arrays[name].reshape(-1).view(np.uint8).data, allowance)
            reply = Reply(head["value"], arrays, head.get("error"))
            return reply, bool(head.get("more")), bool(head.get("is_last"))
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise WorkerDiedError(f"sent a malformed reply ({type(error).__name__})") from None

    def _line(self, allowance: Allowance) -> bytes:
        while b"\n" not in self._buffer:
            if len(self._buffer) > MAX_HEAD_BYTES:
                raise ValueError("the head is too long")
            self._buffer += self._some(1 << 16, allowance)
        line, _, self._buffer = self._buffer.partition(b"\n")
        return bytes(line)

    def _fill(self, into: memoryview, allowance: Allowance) -> None:
        filled = min(len(into), len(self._buffer))
        into[:filled] = self._buffer[:filled]
        del self._buffer[:filled]
        while filled < len(into):
            got = os.readv(self._readable(allowance), [into[filled:]])
            if not got:
                raise EOFError
            filled += got

    def _some(self, most: int, allowance: Allowance) -> bytes:
        """Up to `most` bytes; EOFError where the worker is gone, TimeoutError where the allowance is used up."""
        got = os.read(self._readable(allowance), most)
        if not got:
            raise EOFError
        return got

    def _readable(self, allowance: Allowance) -> int:
        """The descriptor of the worker's output once it can be read; TimeoutError where the allowance is used up."""
        assert self._process is not None
        assert self._process.stdout is not None
        descriptor = self._process.stdout.fileno()
        waiting = select.poll()
        waiting.register(descriptor, select.POLLIN | select.POLLHUP)
        began = time.monotonic()
        ready = waiting.poll(max(0.0, allowance.seconds) * 1000)
        allowance.spend(time.monotonic() - began)
        if not ready:
            raise TimeoutError
        return descriptor

    def _printed(self) -> str:
        """The end of what the worker wrote to its standard error."""
        if self._stderr is None:
            return ""
        size = os.fstat(self._stderr).st_size
        return os.pread(self._stderr, 4000, max(0, size - 4000)).decode(errors="replace")

    def _death(self) -> str:
        """How the worker ended, as a clause without its subject."""
        code = self._end()
        if code >= 0:
            return f"ended with exit code {code}"
        with contextlib.suppress(ValueError):
            return f"was ended by {signal.Signals(-code).name}"
        return f"was ended by signal {-code}"

    def _end(self) -> int:
        """End the process and give its exit code."""
        with self._lock:
            process, self._process = self._process, None
            descriptor, self._stderr = self._stderr, None
        assert process is not None
        if process.poll() is None:
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(1.0 if self._at_end(process) else 0)
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
    def _at_end(process: subprocess.Popen[bytes]) -> bool:
        """Whether the worker has closed its output: it is ending by itself, with an exit code to report."""
        waiting = select.poll()
        waiting.register(process.stdout, select.POLLHUP)  # type: ignore[arg-type]
        return bool(waiting.poll(0))

    def stop(self) -> None:
        """End the worker for good, whatever it does; a thread that waits for it gets an error at once."""
        with self._lock:
            self._stopped = True
            if self._process is not None:
                self._process.kill()

    def close(self) -> None:
        """End a worker that no thread uses, and release its pipes."""
        self.stop()
        if self._process is not None:
            self._end()


def _array_bytes(dtype: str, shape: Sequence[int]) -> int:
    """Size of an array; ValueError for one that no worker sends."""
    if dtype not in DTYPES or not all(isinstance(n, int) and n >= 0 for n in shape):
        raise ValueError("not an array that a reply may contain")
    return math.prod(shape) * np.dtype(dtype).itemsize


def worker_environment(environment: Mapping[str, str]) -> dict[str, str]:
    """The variables that a worker inherits: no tokens, no passwords; one thread for numerical libraries."""
    kept = {
        name: value
        for name, value in environment.items()
        if name in ENVIRONMENT or name.startswith(("LC_", "PYTHON", "COVERAGE_"))
    }
    return kept | {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}
