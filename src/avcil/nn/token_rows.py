"""Lazy indexing: rows of a tensor in memory that are gathered block by block when they are used.

A batch of 24 clips of 8 x 196 x 768 has 115 MB in float32. With the tensor in CPU memory, attention gathers and
converts blocks of two clips, which fit into the cache.

B clips, T time slices, S spatial tokens, D width.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from avcil.nn.workspace import BufferCheckout


def gathered(tokens: Tokens | None) -> Tensor | None:
    """The tokens (B, T, S, D) as one tensor; None stays None."""
    return tokens.gather() if isinstance(tokens, TokenRows) else tokens


class TokenRows:
    """`pool[rows]` (B, T, S, D) in `dtype`. Other operations than attention use a gathered copy."""

    def __init__(self, pool: Tensor, rows: Tensor, dtype: torch.dtype) -> None:
        self.pool, self.rows, self.dtype = pool, rows, dtype

    @property
    def shape(self) -> torch.Size:
        """(B, T, S, D)"""
        return torch.Size((len(self.rows), *self.pool.shape[1:]))

    @property
    def device(self) -> torch.device:
        """Device of the pool."""
        return self.pool.device

    @property
    def is_cuda(self) -> bool:
        """Always False: batches on a GPU are gathered completely."""
        return self.pool.is_cuda

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, part: slice) -> TokenRows:
        """The rows of a slice, without copying."""
        return TokenRows(self.pool, self.rows[part], self.dtype)

    def gather(self) -> Tensor:
        """A copy (B, T, S, D)."""
        return self.pool[self.rows].to(self.dtype)

    def into(self, out: Tensor) -> Tensor:
        """Copy into `out` (B, T, S, D), which has the same dtype."""
        if self.pool.dtype == self.dtype:
            return torch.index_select(self.pool, 0, self.rows, out=out)
        return out.copy_(torch.index_select(self.pool, 0, self.rows))

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):  # requested by copy and pickle
            raise AttributeError(name)
        return getattr(self.gather(), name)

    @classmethod
    def __torch_function__(cls, function: Any, _types: Any, args: Any = (), kwargs: Any = None) -> Any:
        named = {name: _gathered(value) for name, value in (kwargs or {}).items()}
        return function(*_gathered(args), **named)


def _gathered(value: Any) -> Any:
    """Replace rows by gathered copies, also in lists and tuples."""
    if isinstance(value, TokenRows):
        return value.gather()
    return type(value)(map(_gathered, value)) if type(value) in (list, tuple) else value


Tokens = Tensor | TokenRows


def block_of(tokens: Tokens, block: slice, buffer: BufferCheckout | None) -> Tensor:
    """The tokens or maps (C, T, S, D) of a block; rows of a pool are copied into `buffer`."""
    if not isinstance(tokens, TokenRows):
        return tokens[block]
    assert buffer is not None
    return tokens[block].into(buffer.tensor[: block.stop - block.start])
