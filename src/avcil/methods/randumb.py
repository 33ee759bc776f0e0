"""RanDumb: random Fourier features, decorrelated, and the nearest class mean. Prabhu et al., NeurIPS 2024.

    phi = sqrt(2 / M) cos(W^T z + b)        a Gaussian kernel
    S = sum_i (phi_i - mu_c(i)) (phi_i - mu_c(i))^T / N,   Sigma = (1 - rho) S + rho tr(S) / M I
    score_c = -(phi - mu_c)^T Sigma^-1 (phi - mu_c) / 2

KLDA (Momeni, Mazumder & Liu, AAAI 2025) is the same classifier on features of a language model. It is implemented as
`slda` with a Fourier kernel and a fixed shrinkage. Published: M = 25000 (RanDumb) and 5000 (KLDA); both select the
shrinkage and the width of the kernel by search. Here, the width is the typical distance between clips.
"""

from __future__ import annotations

from dataclasses import dataclass

from avcil.methods.slda import Slda, SldaOptions
from avcil.utils.options import check_range


@dataclass(frozen=True, kw_only=True)
class RandumbOptions(SldaOptions):
    """Options of RanDumb: those of SLDA, with a fixed shrinkage."""

    shrinkage: float = 0.01
    """rho, above 0 and at most 1."""

    def __post_init__(self) -> None:
        super().__post_init__()
        check_range(self, "shrinkage", above=0)


class Randumb(Slda):
    """Kernel discriminant analysis with fixed shrinkage."""

    name = "randumb"
    summary = "nearest class mean of decorrelated random Fourier features; exemplar-free (NeurIPS 2024)"
    Options = RandumbOptions
