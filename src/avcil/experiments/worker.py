"""A worker process: a configuration a line on standard input, an answer a line on standard output.

When standard input ends, whoever asked is gone, and the worker ends at once, in the midst of a run or not: a
run directory outlives any kill. So no worker is left behind that would hold a run's folder.
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
from typing import Any, TextIO

from avcil.errors import AvcilError, InputError
from avcil.training.config import TrainConfig
from avcil.utils.files import write_text

PATHS = ("features", "out", "steps")
"""Fields of `TrainConfig` that JSON has as text."""
PATIENCE_SECONDS = 10.0
"""How long a run's folder may still be held by a worker that is about to notice that its parent is gone."""


def main() -> None:
    """Answer until standard input ends."""
    threads = int(sys.argv[1])
    os.environ["OMP_NUM_THREADS"] = str(threads)
    # Ctrl-C reaches every process of the terminal; the parent alone decides what it means.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    answers = _own_output()
    asked: queue.SimpleQueue[str] = queue.SimpleQueue()
    threading.Thread(target=_listen, args=(asked,), daemon=True).start()
    import torch

    torch.set_num_threads(threads)
    while True:
        answer = run_jobs(config_from(json.loads(asked.get())))
        answers.write(json.dumps(answer) + "\n")
        answers.flush()


def _own_output() -> TextIO:
    """Standard output for answers alone: what a library prints goes to standard error instead."""
    answers = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)
    return answers


def _listen(asked: queue.SimpleQueue[str]) -> None:
    for line in sys.stdin:
        asked.put(line)
    os._exit(0)


def config_from(value: dict[str, Any]) -> TrainConfig:
    """The configuration that JSON holds."""
    paths = {name: Path(value[name]) for name in PATHS if value[name] is not None}
    return TrainConfig(**value | paths | {"set": tuple(value["set"])})


def run_jobs(config: TrainConfig) -> dict[str, Any]:
    """Train; an error is an answer too, and an unexpected one leaves its traceback beside the runs."""
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
    """Until nobody holds the folder; after a while the run itself says who does."""
    from avcil.runs.run_directory import RunDirectory

    end = time.monotonic() + PATIENCE_SECONDS
    while time.monotonic() < end:
        try:
            with RunDirectory(folder).lock():
                return
        except InputError:
            time.sleep(0.1)


if __name__ == "__main__":
    main()
