"""Starting a worker process, sending requests to it, and replacing it when it dies.

A request is one line of JSON. A reply is one line of JSON, the header, followed by the bytes of its arrays. Nothing is
pickled, so a compromised worker can send wrong numbers but no objects. The worker inherits three pipes, a few
environment variables, and no other open file.
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
"""Maximum time for a worker to start."""
MAX_HEADER_BYTES = 2**20
"""Maximum size of a reply's header."""
DTYPES = ("uint8", "float32", "float64")
"""Allowed dtypes of arrays."""
ENVIRONMENT = ("PATH", "HOME", "TMPDIR", "TZ", "LANG", "LD_LIBRARY_PATH", "LD_PRELOAD", "VIRTUAL_ENV")
"""Environment variables that a worker inherits, in addition to LC_* and PYTHON*."""


class WorkerError(AvcilError):
    """A worker could not start; the message contains its output."""


class WorkerDiedError(AvcilError):
    """A worker ended during a request, or its reply was malformed."""


class WorkerTimeoutError(AvcilError):
    """A worker exceeded its time limit and was killed."""


class StoppedError(AvcilError):
    """`stop` was called."""


@dataclass
class Allowance:
    """Remaining seconds of waiting for a worker; several requests can share one allowance."""

    seconds: float

    def spend(self, seconds: float) -> None:
        """Subtract waiting time."""
        self.seconds -= seconds


@dataclass(frozen=True, eq=False)
class Reply:
    """A reply of a worker."""

    value: Any
    """A JSON value."""
    arrays: dict[str, np.ndarray] = field(default_factory=dict)
    error: dict[str, str] | None = None
    """`kind` and `message` of an exception; `value` is then None."""


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
        self._buffer = bytearray()
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
            self._buffer, self._ready = bytearray(), False
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

    def call(self, request: Mapping[str, Any], allowance: Allowance) -> Generator[Reply]:
        """Send a request and yield its replies.

        If the generator is closed before the last reply, the process is killed: the remaining replies would otherwise
        be taken for replies to the next request.

        Raises:
            WorkerError: The process could not start.
            WorkerDiedError: It died.
            WorkerTimeoutError: The allowance is used up.
            StoppedError: `stop` was called before the request.
        """
        self._wait_until_ready()
        complete = False
        try:
            self._send(request)
            while not complete:
                reply, has_more, is_last = self._reply(allowance)
                complete = not has_more
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
            arrays, remaining = {}, self.reply_bytes
            for name, (dtype, shape) in head["arrays"].items():
                size = _array_bytes(dtype, shape)
                remaining -= size
                if remaining < 0:
                    raise ValueError("more bytes than a reply may contain")
                arrays[name] = np.empty(shape, dtype)
                self._fill(arrays[name].reshape(-1).view(np.uint8).data, allowance)
            reply = Reply(head["value"], arrays, head.get("error"))
            return reply, bool(head.get("more")), bool(head.get("is_last"))
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise WorkerDiedError(f"sent a malformed reply ({type(error).__name__})") from None

    def _line(self, allowance: Allowance) -> bytes:
        while b"\n" not in self._buffer:
            if len(self._buffer) > MAX_HEADER_BYTES:
                raise ValueError("the header is too long")
            self._buffer += self._read_some(1 << 16, allowance)
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

    def _read_some(self, most: int, allowance: Allowance) -> bytes:
        """Read up to `most` bytes; EOFError if the worker has ended, TimeoutError if the allowance is used up."""
        got = os.read(self._readable(allowance), most)
        if not got:
            raise EOFError
        return got

    def _readable(self, allowance: Allowance) -> int:
        """Wait for output of the worker and return its descriptor; TimeoutError if the allowance is used up."""
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
        """The last 4000 bytes of the worker's standard error."""
        if self._stderr is None:
            return ""
        size = os.fstat(self._stderr).st_size
        return os.pread(self._stderr, 4000, max(0, size - 4000)).decode(errors="replace")

    def _death(self) -> str:
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


def _array_bytes(dtype: str, shape: Sequence[int]) -> int:
    """Size of an array; ValueError if the dtype or shape is not allowed."""
    if dtype not in DTYPES or not all(isinstance(n, int) and n >= 0 for n in shape):
        raise ValueError("not an array that a reply may contain")
    return math.prod(shape) * np.dtype(dtype).itemsize


def _worker_environment(environment: Mapping[str, str]) -> dict[str, str]:
    """The environment of a worker: no tokens or passwords; one thread for numerical libraries."""
    variables = {
        name: value
        for name, value in environment.items()
        if name in ENVIRONMENT or name.startswith(("LC_", "PYTHON", "COVERAGE_"))
    }
    return variables | {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}
