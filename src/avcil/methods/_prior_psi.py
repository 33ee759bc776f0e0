"""The prior of psi of each block of BLADE.

    psi_b = p_b * (s_b + (1 - s_b) * min(1, (N - C) / C)),   s_b = mean over the features j of min(1, 4 v_j / tau_j^2)

p_b depends on the kind of features, v_j is the variance of feature j over all N clips, and tau_j its typical standard
deviation over clips of all kinds, a constant of the encoder. With one clip of each of C classes, moments cannot tell
which blocks separate the classes. A block whose features hardly differ between clips is unlikely to separate them, so
s_b reduces its prior psi. With two or more clips per class on average, there is no reduction.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from avcil.closed_form.mean_variance import variance_share
from avcil.methods._head_state import HeadState

PRIOR_PSI = {"audio": 1.2, "mean": 0.4, "deviation": 0.2}
"""p_b of each kind of features; chosen on validation clips (docs/log.md)."""


def prior_psi(
    state: HeadState,
    *,
    kinds: Sequence[str],
    widths: Sequence[int],
    counts: Tensor,
    variances: Tensor,
    typical_deviations: Mapping[str, Tensor],
) -> list[float]:
    """The prior of psi for each block of a head (B,).

    Constants for the deviation of the tokens are not known, so its features have v and tau of the mean's features.

    Args:
        state: The head.
        kinds: Kind of each vector of a clip: "audio", "mean" or "deviation".
        widths: Number of features of each vector.
        counts: (C,), number of clips of each class.
        variances: v of the features of the head.
        typical_deviations: tau of the features of "audio" and "visual", where known.
    """
    own = [(kind, width) for kind, width in zip(kinds, widths, strict=True) if kind in state.kinds]
    by_kind = dict(zip((kind for kind, _ in own), variances.split([width for _, width in own]), strict=True))
    shares = [
        variance_share(by_kind["audio"], typical_deviations.get("audio"))
        if kind == "audio"
        else variance_share(by_kind["mean"], typical_deviations.get("visual"))
        for kind, _ in own
    ]
    classes = float((counts > 0).sum())
    weight = min(1.0, (float(counts.sum()) - classes) / max(classes, 1.0))
    by_block = torch.cat(shares).split(state.sizes)
    priors = []
    for kind, block in zip(state.kinds, by_block, strict=True):
        share = float(block.mean())
        priors.append(PRIOR_PSI[kind] * (share + (1 - share) * weight))
    return priors
