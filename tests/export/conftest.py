"""One thread and the command line, as the tests of the commands have them."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest
import torch

from avcil.cli.main import main


@pytest.fixture(scope="session", autouse=True)
def one_thread() -> Iterator[None]:
    """Networks this small lose by more."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.fixture(scope="session")
def avcil() -> Callable[..., int]:
    """Run a command; gives its exit code."""

    def command(*words: object) -> int:
        with pytest.raises(SystemExit) as end:
            main([str(word) for word in words])
        return int(end.value.code or 0)

    return command
