"""Symmetric products in tiles and packed storage equal the plain computations."""

from __future__ import annotations

import pytest
import torch

from avcil.closed_form import Moments, symmetric
from avcil.closed_form.recursive_least_squares import RecursiveRidge


@pytest.fixture(autouse=True)
def small_tiles(monkeypatch):
    """Matrices of 23 rows have several tiles; the last one is narrow."""
    monkeypatch.setattr(symmetric, "TILE", 5)


def numbers(*shape: int) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(0), dtype=torch.float64)


@pytest.mark.parametrize("width", [1, 5, 23])
@pytest.mark.parametrize("factor", [1.0, -0.5])
def test_product(width, factor):
    """Added in place, and exactly symmetric."""
    rows = numbers(7, width)
    matrix = rows.T @ rows + torch.eye(width, dtype=torch.float64)
    expected = matrix + factor * rows.T @ rows
    symmetric.mirror(matrix)
    symmetric.add_product(matrix, rows, rows, factor=factor)
    torch.testing.assert_close(matrix, expected, rtol=1e-13, atol=1e-13)
    assert torch.equal(matrix, matrix.T)


@pytest.mark.parametrize("width", [0, 1, 5, 23])
def test_packed(width):
    """Half of the values, with the diagonal once, give the matrix bit for bit."""
    matrix = numbers(width, width)
    symmetric.mirror(matrix)
    assert torch.equal(matrix, matrix.T)
    half = symmetric.packed(matrix)
    assert len(half) == width * (width + 1) // 2
    assert torch.equal(symmetric.unpacked(half, width), matrix)


def test_statistics_of_several_tiles():
    """Moments and recursion with more features than a tile has, compared with plain sums."""
    features, labels = numbers(60, 23), torch.arange(60) % 3
    moments, recursive = Moments(23), RecursiveRidge(23, 2.0)
    for statistics in (moments, recursive):
        statistics.add_classes(3)
    targets = torch.eye(3, dtype=torch.float64)[labels]
    for rows in torch.arange(60).split(17):
        moments.add(features[rows], labels[rows])
        recursive.add(features[rows], targets[rows])
    gram = features.T @ features
    torch.testing.assert_close(moments.gram, gram, rtol=1e-12, atol=1e-12)
    inverse = torch.linalg.inv(gram + 2 * torch.eye(23, dtype=torch.float64))
    torch.testing.assert_close(recursive.inverse, inverse, rtol=1e-9, atol=1e-12)
    torch.testing.assert_close(recursive.theta, inverse @ features.T @ targets, rtol=1e-9, atol=1e-12)


def test_input_matrix_is_not_changed():
    """The penalty is added to a copy."""
    matrix = torch.ones(3, 3)
    assert symmetric.with_diagonal(matrix, 2.0).diagonal().tolist() == [3.0, 3.0, 3.0]
    assert matrix.diagonal().tolist() == [1.0, 1.0, 1.0]
