"""A closed-form model with two layers: projections of random features, and ridge regression on their mean, as in AnaCP.

B clips, H projections, D random features of each, P width of a projection, C classes:

    u      = mean over k of h_k Theta_k / |h_k Theta_k|        h_k (D,) the random features of projection k
    scores = s GELU(u V) Theta
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

from avcil.closed_form.single_head_model import SingleHeadModel
from avcil.errors import InputError
from avcil.utils import checks


class ProjectedModel(SingleHeadModel):
    """Its weights: projections Theta_k (H, D, P), random weights V (P, D), float32, and the classifier Theta (D, C).

    The blocks of the embedding are the vectors, of width P, which it does not use, and the H blocks of random features.
    """

    @property
    def classes(self) -> int:
        return self.weights["classifier"].shape[1]

    @staticmethod
    def raw_scores(features: Tensor, weights: dict[str, Tensor]) -> Tensor:
        return hidden_features(features, weights["projections"], weights["hidden"]) @ weights["classifier"]

    @classmethod
    def check(cls, tensors: dict[str, Tensor], *, classes: int, sizes: list[int]) -> dict[str, Tensor]:
        checks.no_others(tensors, ["projections", "hidden", "classifier"])
        width, *random = sizes
        if not random or len(set(random)) > 1:
            raise InputError(
                f"the embedding has blocks of {sizes} features; random features of equal size are needed"
            )
        hidden = tensors.get("hidden", torch.empty(0, 0))
        size = hidden.shape[-1] if hidden.ndim else 0
        return {
            "projections": checks.tensor(
                tensors, "projections", (len(random), random[0], width), dtypes=checks.DOUBLE
            ),
            "hidden": checks.tensor(tensors, "hidden", (width, size), dtypes=(torch.float32,)),
            "classifier": checks.tensor(tensors, "classifier", (size, classes), dtypes=checks.DOUBLE),
        }


def hidden_features(features: Tensor, projections: Tensor, hidden: Tensor) -> Tensor:
    """GELU(u V), (B, D).

    Args:
        features: (B, P + H D), the vectors first.
        projections: Theta_k, (H, D, P).
        hidden: V, (P, D).
    """
    heads, size, width = projections.shape
    blocks = features[:, width:].split([size] * heads, dim=1)
    units = [F.normalize(h @ theta, dim=1) for h, theta in zip(blocks, projections, strict=True)]
    return F.gelu(torch.stack(units).mean(dim=0) @ hidden.double())
