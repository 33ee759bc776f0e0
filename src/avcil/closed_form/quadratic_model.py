"""A closed-form model whose scores are Mahalanobis distances with a matrix for each class, as in FeCAM.

B clips, P features, C classes:   score_c = -s (h - mu_c)^T A_c (h - mu_c)
"""

from __future__ import annotations

import torch
from torch import Tensor

from avcil.closed_form.single_head_model import SingleHeadModel
from avcil.closed_form.symmetric import packed, unpacked
from avcil.utils import checks


class QuadraticModel(SingleHeadModel):
    """Its weights: class means (C, P), and symmetric matrices A (C, P, P), of which the upper triangles are saved."""

    @property
    def classes(self) -> int:
        return len(self.means)

    @property
    def means(self) -> Tensor:
        """(C, P)"""
        return self.weights["means"]

    @property
    def matrices(self) -> Tensor:
        """A (C, P, P)"""
        return self.weights["matrices"]

    @staticmethod
    def raw_scores(features: Tensor, weights: dict[str, Tensor]) -> Tensor:
        scores = []
        for mean, matrix in zip(weights["means"], weights["matrices"], strict=True):
            difference = features - mean
            scores.append(-((difference @ matrix) * difference).sum(dim=1))
        return torch.stack(scores, dim=1)

    def tensors(self) -> dict[str, Tensor]:
        return super().tensors() | {"matrices": torch.stack([packed(matrix) for matrix in self.matrices])}

    @classmethod
    def check(cls, tensors: dict[str, Tensor], *, classes: int, sizes: list[int]) -> dict[str, Tensor]:
        width = sum(sizes)
        checks.no_others(tensors, ["means", "matrices"])
        means = checks.tensor(tensors, "means", (classes, width), dtypes=checks.DOUBLE)
        triangles = checks.tensor(
            tensors, "matrices", (classes, width * (width + 1) // 2), dtypes=checks.DOUBLE
        )
        return {
            "means": means,
            "matrices": torch.stack([unpacked(triangle, width) for triangle in triangles]),
        }
