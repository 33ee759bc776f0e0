"""iCaRL: herded exemplars, sigmoid distillation, nearest-mean classifier. Rebuffi et al., CVPR 2017.

    total = CE over all K logits + distillation on the K_old logits

New clips and exemplars are shuffled into one set. The defaults follow iCaRL's paper. The published benchmarks of
AV-CIL follow its authors' release (docs/protocol.md): `distillation=release herding=release validation=classifier`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from torch import Tensor
from torch.nn import functional as F

from avcil.losses import icarl_distillation
from avcil.losses.icarl_distillation import DistillationForm
from avcil.methods._herding_method import HerdingMethod, Validation
from avcil.methods.step import Batch, Step
from avcil.nn.network import NetworkOutput


@dataclass(frozen=True, kw_only=True)
class IcarlOptions:
    """Hyper-parameters; the defaults are iCaRL as published."""

    classifier: Literal["nme", "fc"] = "nme"
    """Classifier after a step: the nearest class mean of exemplars (nme), or the head."""
    distillation: DistillationForm = "original"
    """original: as published, with no gradient for an unchanged model; release: as in AV-CIL's release, which
    applies the sigmoid twice."""
    herding: Literal["distinct", "release"] = "distinct"
    """distinct: no exemplar is selected twice; release: as in AV-CIL's release, which may select a clip repeatedly."""
    validation: Validation = "head"
    """Classifier for validation after each epoch: the head, or that of the option `classifier`, as in AV-CIL's
    release. The latter needs a pass over the training clips after each epoch, to select exemplars of new classes."""


class Icarl(HerdingMethod):
    """Rehearsal with herding and, optionally, the nearest-mean classifier."""

    name = "icarl"
    summary = "rehearsal with herding; classifies by the nearest exemplar mean or the head (CVPR 2017)"
    learns_known_classes = True
    Options = IcarlOptions

    def loss(self, output: NetworkOutput, batch: Batch, step: Step) -> dict[str, Tensor]:
        terms = {"cross_entropy": F.cross_entropy(output.logits, batch.labels)}
        if step.teacher is not None:
            terms["distillation"] = icarl_distillation(
                output.logits[:, : step.known], step.teacher.logits(batch), form=self.options.distillation
            )
        return terms
