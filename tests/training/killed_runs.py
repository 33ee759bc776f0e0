"""Runs `avcil train` several times in processes that kill themselves at given events; started by
test_kill.py.  An event is a call that changes the state after a kill: a file written, renamed, removed or
truncated, a line logged, an optimizer step. Arguments: the command's words as JSON, the folder of the
runs, and the plan as JSON, a list of lists: for each run the events at which its successive processes are
killed. Prints one line per run with the signals that ended them."""

from __future__ import annotations

import json
import os
import signal
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

import avcil.cli.train  # this and the next two imports are shared by all processes
import avcil.reporting.table
import avcil.training.run  # noqa: F401
from avcil.cli.main import main
from avcil.runs.run_directory import RunDirectory
from avcil.training.adam import Adam

EVENTS = [
    (os, "fsync"),
    (os, "replace"),
    (os, "rename"),
    (os, "truncate"),
    (Path, "unlink"),
    (RunDirectory, "log"),
    (Adam, "step"),
]


def arm(countdown: int) -> None:
    """Kill this process at event number `countdown`; a line being logged is truncated."""
    left = [countdown]

    def deadly(call: Callable[..., Any], name: str) -> Callable[..., Any]:
        def wrapped(*args: Any, **kwargs: Any) -> Any:
            left[0] -= 1
            if left[0] == 0:
                if name == "log":
                    with open(args[0].path / "metrics.jsonl", "a") as file:
                        file.write(json.dumps(args[1].to_dict())[:20])
                os.kill(os.getpid(), signal.SIGKILL)
            return call(*args, **kwargs)

        return wrapped

    for owner, name in EVENTS:
        setattr(owner, name, deadly(getattr(owner, name), name))


def in_child(words: list[str], countdown: int) -> int:
    """Run the command in a forked process; returns the signal that ended it, or 0 for success."""
    child = os.fork()
    if child == 0:
        code = 1
        try:
            arm(countdown)
            os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
            main(words)
        except SystemExit as end:
            code = int(end.code or 0)
        finally:
            os._exit(code)
    status = os.waitpid(child, 0)[1]
    return os.WTERMSIG(status) if os.WIFSIGNALED(status) else os.waitstatus_to_exitcode(status)


if __name__ == "__main__":
    torch.set_num_threads(1)
    if "--track" in sys.argv[1]:
        import torch.utils.tensorboard
    command, folder, plan = json.loads(sys.argv[1]), sys.argv[2], json.loads(sys.argv[3])
    for number, deaths in enumerate(plan):
        out = ["--out", f"{folder}/{number}"]
        print(json.dumps([in_child([*command, *out], death) for death in [*deaths, 0]]), flush=True)
