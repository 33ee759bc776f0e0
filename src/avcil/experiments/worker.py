"""A worker process: reads one configuration per line from standard input, writes one reply per line.

When standard input ends, the parent process has ended, and the worker exits at once, also during a run. The run can be
resumed, and no worker process keeps the lock of a run directory.
"""

from __future__ import annotations

import json
import os
import queue
import signal
import sys
import threading
import time
import traceback
from pathlib import Path
from typing import Any

from avcil.errors import AvcilError, InputError
from avcil.training.config import TrainConfig
from avcil.utils.files import write_text

_PATHS = ("features", "out", "steps")
"""Fields of `TrainConfig` that are paths."""
_LOCK_TIMEOUT_SECONDS = 10.0
"""How long to wait for the lock of a run directory that a worker of a killed command may still have."""


def main() -> None:
    """Train runs until standard input ends."""
    threads = int(sys.argv[1])
    os.environ["OMP_NUM_THREADS"] = str(threads)
    # The terminal sends Ctrl-C to all processes; the parent handles it and ends the workers.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    # Replies have standard output to themselves: texts that libraries print go to standard error.
    replies = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)
    requests: queue.SimpleQueue[str] = queue.SimpleQueue()
    threading.Thread(target=_read_requests, args=(requests,), daemon=True).start()
    import torch

    torch.set_num_threads(threads)
    while True:
        reply = run_job(config_from(json.loads(requests.get())))
        replies.write(json.dumps(reply) + "\n")
        replies.flush()


def _read_requests(requests: queue.SimpleQueue[str]) -> None:
    for line in sys.stdin:
        requests.put(line)
    os._exit(0)


def config_from(value: dict[str, Any]) -> TrainConfig:
    """A configuration from JSON."""
    paths = {name: Path(value[name]) for name in _PATHS if value[name] is not None}
    return TrainConfig(**value | paths | {"set": tuple(value["set"])})


def run_job(config: TrainConfig) -> dict[str, Any]:
    """Train a run and return its results or an error message; tracebacks are written to the folder failures/."""
    from avcil.training.run import train

    try:
        _wait_for_folder(config.out)
        return {"results": train(config, quiet=True), "message": ""}
    except AvcilError as error:
        return {"results": None, "message": str(error)}
    except Exception as error:
        file = config.out.parent.parent / "failures" / f"{config.out.name}.txt"
        write_text(file, traceback.format_exc())
        return {"results": None, "message": f"unexpected {type(error).__name__}: {error} (traceback: {file})"}


def _wait_for_folder(folder: Path) -> None:
    """Wait until the folder is not locked; after the timeout, training reports the lock."""
    from avcil.runs.run_directory import RunDirectory

    end = time.monotonic() + _LOCK_TIMEOUT_SECONDS
    while time.monotonic() < end:
        try:
            with RunDirectory(folder).lock():
                return
        except InputError:
            time.sleep(0.1)


if __name__ == "__main__":
    main()
