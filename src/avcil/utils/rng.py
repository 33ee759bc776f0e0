"""Random numbers as a pure function of a seed and a purpose.

No generator is kept between uses. So the shuffle of step 3, epoch 7 is the same in an interrupted and resumed run, and
does not depend on how many random numbers were drawn before.
"""

from __future__ import annotations

import contextlib
import hashlib
from collections.abc import Iterator

import torch


def _derive_seed(seed: int, *purpose: str | int) -> int:
    """A 63-bit seed for a purpose, as in `derive_seed(0, "shuffle", step, epoch)`.

    >>> _derive_seed(0, "shuffle", 1) == _derive_seed(0, "shuffle", 2)
    False
    """
    digest = hashlib.sha256(repr((seed, *purpose)).encode()).digest()
    return int.from_bytes(digest[:8], "little") >> 1


def generator(seed: int, *purpose: str | int) -> torch.Generator:
    """A new CPU generator for a purpose."""
    return torch.Generator().manual_seed(_derive_seed(seed, *purpose))


@contextlib.contextmanager
def seeded(seed: int, *purpose: str | int) -> Iterator[None]:
    """Seed PyTorch's global CPU generator within a block, for example to initialize layers; restore it afterwards."""
    with torch.random.fork_rng(devices=[]):
        # torch.manual_seed would also seed the generators of all devices
        torch.default_generator.manual_seed(_derive_seed(seed, *purpose))
        yield
