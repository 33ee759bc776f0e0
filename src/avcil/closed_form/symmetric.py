"""In-place updates of large symmetric matrices; only the upper triangle is computed and saved.

M rows; n clips. A matrix is exactly symmetric after each update.
"""

from __future__ import annotations

import torch
from torch import Tensor

TILE = 512
"""Rows processed together."""


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
    """Copy the upper triangle to the lower one."""
    for start in range(0, len(matrix), TILE):
        tile = slice(start, start + TILE)
        corner = matrix[tile, tile].triu()
        matrix[tile, tile] = corner + corner.triu(1).T
        matrix[start + TILE :, tile] = matrix[tile, start + TILE :].T


def inverse_of_cholesky(factor: Tensor) -> Tensor:
    """The inverse (M, M), exactly symmetric, of the matrix with the lower Cholesky factor `factor`."""
    inverse = torch.cholesky_inverse(factor)
    mirror(inverse)
    return inverse


def packed(matrix: Tensor) -> Tensor:
    """The upper triangle row by row: M (M + 1) / 2 numbers."""
    return torch.cat([row[number:] for number, row in enumerate(matrix)]) if len(matrix) else matrix.flatten()


def unpacked(numbers: Tensor, width: int) -> Tensor:
    """The inverse of `packed`; `width` is M."""
    matrix = numbers.new_zeros(width, width)
    for row, values in enumerate(numbers.split([width - row for row in range(width)])):
        matrix[row, row:] = values
    mirror(matrix)
    return matrix


def with_diagonal(matrix: Tensor, addition: Tensor | float) -> Tensor:
    """A copy with `addition`, (M,) or a number, added to the diagonal."""
    result = matrix.clone()
    result.diagonal().add_(addition)
    return result
