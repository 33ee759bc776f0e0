"""Reading a clip in a process of its own, so that a hostile file ends that process and not the job.

FFmpeg is C code that meets whatever people have on their disks. A reader may take so much memory and time for a clip
and no more; one that dies or does not answer in time is replaced, and its clip is listed with the reason. A reader
ends by itself when its parent is gone.

A request is a line of JSON; an answer is a line of JSON, then the bytes of the frames (F, H, W, 3) and of the sound
(N,). Nothing is pickled.
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
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

from avcil.clips import Clip
from avcil.errors import AvcilError, InputError
from avcil.features.reading import ReadClip, Wanted, read_one

GRACE_SECONDS = 10.0
"""How long a reader may stay silent after its own clock has run out, before it is ended."""
START_SECONDS = 120.0
"""How long a reader may take to start, on a machine with much else to do."""


@dataclass(frozen=True, kw_only=True)
class Limits:
    """What reading one clip may take."""

    seconds: float = 300.0
    """Of wall time."""
    megabytes: int = 2048
    """Of memory, over what a reader takes before its first clip."""

    def __post_init__(self) -> None:
        if not 0 < self.seconds < float("inf"):
            raise InputError(f"seconds for a clip must be a number above 0; not {self.seconds}")
        if self.megabytes < 1:
            raise InputError(f"megabytes for a clip must be 1 or more; not {self.megabytes}")


class ReaderProcess:
    """A reader, started when it is first asked; for one thread at a time."""

    def __init__(self, limits: Limits) -> None:
        self.limits = limits
        self._process: subprocess.Popen[bytes] | None = None
        self._stopped = False
        self._starting = threading.Lock()

    def read(self, clip: Clip, wanted: Wanted) -> ReadClip:
        """The clip as read; a reader that dies, or is silent for too long, gives the reason."""
        process = self._running()
        assert process.stdin is not None
        request = {**asdict(clip), "path": str(clip.path)}
        moment = time.monotonic() + self.limits.seconds + GRACE_SECONDS
        try:
            process.stdin.write(json.dumps([request, asdict(wanted)]).encode() + b"\n")
            process.stdin.flush()
            return self._answer(clip, moment)
        except TimeoutError:
            self._end()
            return ReadClip(clip=clip, reason=f"gave up after {self.limits.seconds:g} s")
        except (EOFError, BrokenPipeError):
            return ReadClip(clip=clip, reason=self._death())

    def _running(self) -> subprocess.Popen[bytes]:
        with self._starting:
            if self._stopped:
                raise AvcilError("reading was stopped")
            if self._process is None:
                words = [sys.executable, "-P", "-m", "avcil.features.reader_process"]
                process = subprocess.Popen(
                    [*words, str(self.limits.megabytes), str(self.limits.seconds)],
                    stdin=subprocess.PIPE,
                    stdout=subprocess.PIPE,
                    start_new_session=True,  # Ctrl-C is for the parent, which decides what it means
                )
                self._process = process
                self._buffer = bytearray()
                self._line(time.monotonic() + START_SECONDS)
            return self._process

    def _answer(self, clip: Clip, moment: float) -> ReadClip:
        head = json.loads(self._line(moment))
        parts = {}
        for name, dtype in (("frames", np.uint8), ("sound", np.float32)):
            if head[name] is not None:
                array = np.empty(head[name], dtype)
                self._fill(memoryview(array.reshape(-1).view(np.uint8)), moment)
                parts[name] = array
        if head["is_last"]:
            self._end()
        return ReadClip(clip=clip, reason=head["reason"], **parts)

    def _line(self, moment: float) -> bytes:
        while b"\n" not in self._buffer:
            self._buffer += self._some(1 << 16, moment)
        line, _, self._buffer = self._buffer.partition(b"\n")
        return bytes(line)

    def _fill(self, into: memoryview, moment: float) -> None:
        begun = min(len(into), len(self._buffer))
        into[:begun] = self._buffer[:begun]
        del self._buffer[:begun]
        while begun < len(into):
            got = self._some(len(into) - begun, moment)
            into[begun : begun + len(got)] = got
            begun += len(got)

    def _some(self, most: int, moment: float) -> bytes:
        """Up to `most` bytes of the reader's; EOFError where it is gone, TimeoutError where it is silent."""
        assert self._process is not None
        assert self._process.stdout is not None
        descriptor = self._process.stdout.fileno()
        waiting = select.poll()
        waiting.register(descriptor, select.POLLIN | select.POLLHUP)
        if not waiting.poll(max(0.0, moment - time.monotonic()) * 1000):
            raise TimeoutError
        got = os.read(descriptor, most)
        if not got:
            raise EOFError
        return got

    def _death(self) -> str:
        """Why the reader is gone; another takes its place at the next clip."""
        code = self._end()
        if code >= 0:
            return f"the reader of the clip ended with exit code {code}"
        with contextlib.suppress(ValueError):
            return f"the reader of the clip was ended by {signal.Signals(-code).name}"
        return f"the reader of the clip was ended by signal {-code}"

    def _end(self) -> int:
        """Its exit code, once it is gone; called by the thread that reads, or when none does."""
        process, self._process = self._process, None
        assert process is not None
        process.kill()
        code = process.wait()
        for pipe in (process.stdin, process.stdout):
            assert pipe is not None
            with contextlib.suppress(OSError):
                pipe.close()
        return code

    def stop(self) -> None:
        """End the reader for good, whatever it is at; who waits for it is answered at once."""
        with self._starting:
            self._stopped = True
            if self._process is not None:
                self._process.kill()

    def close(self) -> None:
        """Let go of a reader that nobody waits for."""
        self.stop()
        if self._process is not None:
            self._end()


def main() -> None:
    """Answer until standard input ends, or a clip took so much memory that a fresh reader should go on."""
    megabytes, seconds = int(sys.argv[1]), float(sys.argv[2])
    answers = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)  # what a library prints is no answer
    import avcil.media  # noqa: F401  before the limit, which counts from here

    budget = _Budget(megabytes)
    answers.write(b"ready\n")
    answers.flush()
    for line in sys.stdin.buffer:
        request, wanted = json.loads(line)
        clip = Clip(**{**request, "path": Path(request["path"])})
        read = read_one(clip, Wanted(**wanted), timeout=seconds)
        if read.reason and budget.is_strained():
            read = ReadClip(clip=clip, reason=f"it takes more memory than the {megabytes} MB that a clip may")
        _write(answers, read, is_last=budget.is_strained())
        if budget.is_strained():
            return


class _Budget:
    """Address space that this process may take over what it has now.

    Where it ends, FFmpeg does not say so: it reports packets that it could not decode. So whatever is wrong with a
    clip after which half of it was taken is put down to memory.
    """

    def __init__(self, megabytes: int) -> None:
        self._most = megabytes * 2**20
        self._began = self._peak()
        resource.setrlimit(resource.RLIMIT_AS, (self._began + self._most, resource.RLIM_INFINITY))

    def is_strained(self) -> bool:
        return self._peak() - self._began > self._most / 2

    def _peak(self) -> int:
        """Bytes of address space at most so far."""
        for line in Path("/proc/self/status").read_text().splitlines():
            if line.startswith("VmPeak:"):
                return int(line.split()[1]) * 1024
        raise AvcilError("/proc/self/status does not say VmPeak; reading clips apart needs Linux")


def _write(answers: BinaryIO, read: ReadClip, *, is_last: bool) -> None:
    head: dict[str, Any] = {"reason": read.reason, "is_last": is_last}
    arrays = {"frames": read.frames, "sound": read.sound}
    head |= {name: None if array is None else list(array.shape) for name, array in arrays.items()}
    answers.write(json.dumps(head).encode() + b"\n")
    for array in arrays.values():
        if array is not None:
            answers.write(np.ascontiguousarray(array).data)
    answers.flush()


if __name__ == "__main__":
    main()
