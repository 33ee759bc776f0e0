"""Symmetric matrices that are as large as memory allows: changed in place, half of the work, half of them saved.

M rows; n clips. A matrix is symmetric to the last bit after every change, so that its upper triangle is all of it.
"""

from __future__ import annotations

import torch
from torch import Tensor

TILE = 512
"""Rows that are worked on at once."""


def add_product(matrix: Tensor, left: Tensor, right: Tensor, *, factor: float = 1.0) -> None:
    """matrix (M, M) += factor left^T right, for left and right (n, M) whose product is symmetric.

    >>> matrix = torch.eye(2)
    >>> rows = torch.tensor([[1.0, 2.0]])
    >>> add_product(matrix, rows, rows)
    >>> matrix.tolist()
    [[2.0, 2.0], [2.0, 5.0]]
    """
    for start in range(0, len(matrix), TILE):
        tile = slice(start, start + TILE)
        matrix[tile, start:].addmm_(left[:, tile].T, right[:, start:], alpha=factor)
    mirror(matrix)


def mirror(matrix: Tensor) -> None:
    """Make the lower triangle that of the upper one."""
    for start in range(0, len(matrix), TILE):
        tile = slice(start, start + TILE)
        corner = matrix[tile, tile].triu()
        matrix[tile, tile] = corner + corner.triu(1).T
        matrix[start + TILE :, tile] = matrix[tile, start + TILE :].T


def packed(matrix: Tensor) -> Tensor:
    """The upper triangle, row after row: M (M + 1) / 2 numbers."""
    return torch.cat([row[number:] for number, row in enumerate(matrix)]) if len(matrix) else matrix.flatten()


def unpacked(numbers: Tensor, width: int) -> Tensor:
    """What `packed` packed, bit for bit; `width` is M."""
    matrix = numbers.new_zeros(width, width)
    for row, values in enumerate(numbers.split([width - row for row in range(width)])):
        matrix[row, row:] = values
    mirror(matrix)
    return matrix


def with_diagonal(matrix: Tensor, addition: Tensor | float) -> Tensor:
    """A copy with `addition`, (M,) or one number, on the diagonal."""
    result = matrix.clone()
    result.diagonal().add_(addition)
    return result
