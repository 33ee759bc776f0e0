"""ACIL: ridge regression on random features with a fixed penalty. Zhuang et al., NeurIPS 2022.

    h = ReLU(z W / sqrt(P)),   Theta = (H^T H + gamma I)^-1 H^T Y

ACIL computes Theta by a recursion that never looks back; its result is this one, whatever the order and grouping of
the clips, also where a step brings clips of known classes (GACL, NeurIPS 2024). That is `ranpac` with a fixed penalty:
moments are kept and solved, which is the same to rounding, and clips can be forgotten. Published: gamma 0.1 and 8192
random features of a network trained on the first step; here of the frozen encoders' features.
"""

from __future__ import annotations

from dataclasses import dataclass

from avcil.errors import InputError
from avcil.methods.ranpac import Ranpac, RanpacOptions


@dataclass(frozen=True, kw_only=True)
class AcilOptions(RanpacOptions):
    """Options of ACIL: those of RanPAC-AV, with another default penalty."""

    ridge: float = 0.1
    """gamma, the penalty of all steps; above 0."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if not self.ridge > 0:
            raise InputError(f"option ridge of method acil must be above 0; not {self.ridge}")


class Acil(Ranpac):
    """Analytic learning."""

    name = "acil"
    summary = "analytic learning: ridge regression on random features with a fixed penalty; exemplar-free (ACIL, GACL)"
    Options = AcilOptions
