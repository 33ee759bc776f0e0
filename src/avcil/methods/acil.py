"""ACIL: ridge regression on random features with a fixed penalty. Zhuang et al., NeurIPS 2022.

    h = ReLU(z W / sqrt(P)),   Theta = (H^T H + gamma I)^-1 H^T Y

ACIL computes Theta recursively. The result is the solution above for any order and grouping of the clips, also if a
step has clips of known classes (GACL, NeurIPS 2024). Here it is computed from moments, as by `ranpac` with a fixed
penalty; it is equal up to rounding, and clips can be forgotten. Published: gamma 0.1 and 8192 random features of a
network trained on the first step; here, the random features are computed from the features of the frozen encoders.
"""

from __future__ import annotations

from dataclasses import dataclass

from avcil.methods.ranpac import Ranpac, RanpacOptions
from avcil.utils.options import check_range


@dataclass(frozen=True, kw_only=True)
class AcilOptions(RanpacOptions):
    """Options of ACIL: those of RanPAC-AV, with another default penalty."""

    ridge: float = 0.1
    """gamma, the penalty of all steps; above 0."""

    def __post_init__(self) -> None:
        super().__post_init__()
        check_range(self, "ridge", above=0)


class Acil(Ranpac):
    """Analytic learning."""

    name = "acil"
    summary = "ridge regression on random features with a fixed penalty; exemplar-free (NeurIPS 2022)"
    Options = AcilOptions
