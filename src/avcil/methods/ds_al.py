"""DS-AL: analytic learning with a second stream for what the first leaves. Zhuang et al., AAAI 2024.

    main:          h = ReLU(z W / sqrt(P)),   Theta = (H^T H + gamma I)^-1 H^T Y
    compensation:  k = tanh(z W / sqrt(P)),   of each step's clips: targets Y - H Theta, columns of old classes set to 0
    score = h Theta + c k Phi,   Phi = (K^T K + gamma_c I)^-1 K^T targets

W is the same in both. All sums go over the clips of all steps; each step's targets are those of its own Theta and are
not computed again. So the compensation depends on how classes are grouped in steps. The method `rls` has a compensation
for each modality and leave-one-out residuals instead.

n clips of the current step, C classes.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

from avcil.closed_form.embedding import EmbeddingConfig, Scaling
from avcil.closed_form.joined_embedding import Block
from avcil.closed_form.model import LinearHead
from avcil.closed_form.recursive_least_squares import RecursiveRidge
from avcil.errors import InputError
from avcil.methods._stepwise_method import StepwiseMethod, prefixed, under
from avcil.methods._views import View


@dataclass(frozen=True, kw_only=True)
class DsAlOptions:
    """Options of DS-AL."""

    features: int = 2000
    """M, random features of each stream. Memory is 16 M M bytes; the published number is 8192 (1.1 GB)."""
    penalty: float = 0.1
    """gamma of the main stream, for good, as published."""
    compensation_penalty: float = 0.1
    """gamma_c of the compensation, for good, as published."""
    compensation: float = 0.6
    """c, the weight of the compensation (published for CIFAR-100)."""
    normalise: Scaling = "encoder"
    """encoder: features are scaled by constants of the encoders, then each modality to one length; first-step: by mean
    and deviation of the first step's clips, also used where the constants are unknown; length: each modality to one
    length; both: first-step, then length."""

    def __post_init__(self) -> None:
        if self.features < 1:
            raise InputError(f"option features must be 1 or more; not {self.features}")
        for name in ("penalty", "compensation_penalty"):
            if not getattr(self, name) > 0:
                raise InputError(f"option {name} must be above 0; not {getattr(self, name)}")


class DsAl(StepwiseMethod):
    """Dual-stream analytic learning."""

    name = "ds-al"
    summary = "analytic learning with a compensation stream for what the first leaves (DS-AL, AAAI 2024)"
    Options = DsAlOptions

    streams: tuple[RecursiveRidge, ...] = ()
    """Main and compensation."""

    def blocks(self, vectors: int) -> list[Block]:
        shared = {
            "normalise": self.scaling(to_length=True),
            "features": self.options.features,
            "seed": self.seed,
        }
        every = tuple(range(vectors))
        return [(EmbeddingConfig(activation=name, **shared), every) for name in ("relu", "tanh")]

    def grow(self, count: int) -> None:
        self.flush()
        super().grow(count)
        for stream in self.streams:
            stream.grow(count)

    def partial_fit(self, parts: tuple[Tensor, ...], labels: Tensor) -> None:
        known = self.figures["settled_classes"] if self.embedding is not None else 0
        if self.embedding is None:
            self.embedding = self.fit_embedding(parts)
            self.views = self.make_views()
            penalties = (self.options.penalty, self.options.compensation_penalty)
            self.streams = tuple(RecursiveRidge(self.options.features, penalty) for penalty in penalties)
            for stream in self.streams:
                stream.grow(self.classes)
        main, compensation = self.streams
        h, k = (self.embedding.of_block(number, parts) for number in range(2))
        targets = F.one_hot(labels, self.classes).double()
        main.add(h, targets)
        is_new = torch.arange(self.classes) >= known
        left = (targets - h @ main.theta) * is_new
        compensation.add(k, left)
        scores = targets - main.leave_one_out_residual(h, targets)
        scores = scores + self.options.compensation * (left - compensation.leave_one_out_residual(k, left))
        self.views[0].calibration.add(scores, labels)
        self.figures["settled_classes"] = self.classes

    def head(self, view: View) -> LinearHead:
        main, compensation = self.streams
        return LinearHead(
            columns=view.columns,
            weight=torch.cat([main.theta, self.options.compensation * compensation.theta]),
            bias=torch.zeros(self.classes, dtype=torch.float64),
            inverse_temperature=view.calibration.inverse_temperature,
        )

    def drop(self, number: int) -> None:
        for stream in self.streams:
            stream.drop(number)
        self.classes -= 1
        self.figures["settled_classes"] -= 1

    def tensors(self) -> dict[str, Tensor]:
        saved = self.common_tensors()
        for number, stream in enumerate(self.streams):
            saved |= prefixed(f"stream{number}", stream.tensors())
        return saved

    def load(self, tensors: dict[str, Tensor]) -> None:
        self.load_common(tensors)
        self.streams = tuple(RecursiveRidge.from_tensors(under(f"stream{n}", tensors)) for n in range(2))
        self.classes = self.streams[0].classes
        shapes = {tuple(stream.theta.shape) for stream in self.streams}
        if shapes != {(self.options.features, self.classes)}:
            raise InputError(f"the saved streams are of shapes {sorted(shapes)}, which do not fit")

    def report(self) -> dict[str, float]:
        """The figures, and the bytes that are kept from step to step."""
        assert self.embedding is not None
        kept = sum(stream.bytes for stream in self.streams) + self.embedding.bytes + self.views[0].bytes
        return self.figures | {
            "sharpness": self.views[0].calibration.inverse_temperature,
            "bytes": float(kept),
        }
