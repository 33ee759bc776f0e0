"""Randomness as a pure function of the seed and of what it is for.

No generator lives longer than one use: the shuffle of step 3, epoch 7 is the same whether the run came there in
one go or was killed and started again, and does not depend on how much chance was used before.
"""

from __future__ import annotations

import contextlib
import hashlib
from collections.abc import Iterator

import torch


def derive_seed(seed: int, *purpose: str | int) -> int:
    """A 63-bit seed for one purpose, such as `derive_seed(0, "shuffle", step, epoch)`.

    >>> derive_seed(0, "shuffle", 1) == derive_seed(0, "shuffle", 2)
    False
    """
    digest = hashlib.sha256(repr((seed, *purpose)).encode()).digest()
    return int.from_bytes(digest[:8], "little") >> 1


def generator(seed: int, *purpose: str | int) -> torch.Generator:
    """A fresh CPU generator for one purpose."""
    return torch.Generator().manual_seed(derive_seed(seed, *purpose))


@contextlib.contextmanager
def seeded(seed: int, *purpose: str | int) -> Iterator[None]:
    """Run a block, such as the making of layers, under its own seed; the global generator is left as it was."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(derive_seed(seed, *purpose))
        yield
