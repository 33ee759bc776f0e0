"""The vector of a clip from which statistics are computed: pooling, standardization, random features.

B clips, T time slices, S spatial tokens, audio width Da, visual width Dv, pooled width P, M features:

    x = [a, v]                     a (Da); v (Dv): the mean of the tokens over T and S
    z = (x - mean) / deviation     from constants of the encoders or from the first step; or scaled to a fixed length
    h = phi(z W / sqrt(P) + b)     W (P, M) ~ N(0, 1), drawn once and not trained

All computations are in float64, so that a clip's vector depends on its batch only by rounding at 10^-16.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any, Literal, get_args

import torch
from torch import Tensor
from torch.nn import functional as F

from avcil.data.modality import Modality
from avcil.utils import checks
from avcil.utils.rng import generator

Normalize = Literal["all-clips", "encoder", "encoder-length", "first-step", "length", "both"]
"""Scaling of features:

- all-clips: mean and standard deviation of all learned clips, applied by the method; the embedding's own scaling only
  serves numerical precision;
- encoder: center and scale that are shipped with the encoders;
- encoder-length: the same, then each modality's vector is scaled to length sqrt(width);
- first-step: mean and standard deviation of the clips of the first step, so that the order of the classes matters;
- length: each modality's vector is scaled to length sqrt(width);
- both: first-step, then length.
"""
Scaling = Literal["encoder", "first-step", "length", "both"]
"""Values that users can choose; `encoder` means `first-step` if the constants are unknown."""
STANDARDIZING = ("all-clips", "encoder", "encoder-length", "first-step", "both")
TO_LENGTH = ("encoder-length", "length", "both")
FROM_ENCODER = ("encoder", "encoder-length")
FROM_FIRST_STEP = ("first-step", "both")
Standard = tuple[Tensor, Tensor]
"""Center and scale of a vector, (P,) each."""
Pooling = Literal["mean", "mean-deviation"]
"""Pooling of visual tokens over T and S: the mean, or mean and standard deviation."""
Activation = Literal["relu", "gelu", "tanh", "fourier", "none"]
"""phi; `fourier` is sqrt(2 / M) cos(.), which approximates a Gaussian kernel; `none`: h = z, no projection."""
_MIN_DEVIATION = 1e-6
_MEDIAN_CLIPS = 1000
"""Maximum number of clips for the median distance, if the constants of the encoder are not used."""


def pool(
    audio: Tensor | None, visual: Tensor | None, modality: Modality, pooling: Pooling
) -> tuple[Tensor, ...]:
    """The vectors of clips, in float64.

    Args:
        audio: (B, Da), or None.
        visual: (B, T, S, Dv), or None.
        modality: The modalities to use.
        pooling: How to pool visual tokens.

    Returns:
        Audio (B, Da), the mean of the visual tokens (B, Dv), and their standard deviation (B, Dv), as far as requested.
    """
    parts = []
    if modality.has_audio:
        assert audio is not None
        parts.append(audio.double())
    if modality.has_visual:
        assert visual is not None
        tokens = visual.double().flatten(1, 2)
        parts.append(tokens.mean(dim=1))
        if pooling == "mean-deviation":
            difference = tokens - parts[-1][:, None]
            parts.append(difference.square_().mean(dim=1).sqrt())
    return tuple(parts)


def vector_count(modality: Modality, pooling: Pooling) -> int:
    """Number of vectors that `pool` returns."""
    return modality.has_audio + modality.has_visual * (2 if pooling == "mean-deviation" else 1)


@dataclass(frozen=True, kw_only=True)
class EmbeddingConfig:
    """Configuration of an embedding."""

    normalize: Normalize
    activation: Activation
    features: int
    """M; not used with the activation `none`."""
    seed: int
    purpose: str = "projection"
    """Distinguishes several projections with the same seed."""


class Embedding:
    """Standardization and random features of the vectors of one or more modalities."""

    def __init__(self, config: EmbeddingConfig, widths: tuple[int, ...], tensors: dict[str, Tensor]) -> None:
        self.config, self.widths, self._tensors = config, widths, tensors

    @classmethod
    def fit(
        cls, config: EmbeddingConfig, parts: tuple[Tensor, ...], standards: Sequence[Standard] | None = None
    ) -> Embedding:
        """Determine the scaling of the features, and draw W.

        Args:
            config: The configuration.
            parts: Pooled vectors of the first step.
            standards: The encoders' constants for each vector; None if unknown.
        """
        widths = tuple(part.shape[1] for part in parts)
        tensors: dict[str, Tensor] = {}
        if standards is not None and config.normalize in ("all-clips", *FROM_ENCODER):
            centers, scales = zip(*standards, strict=True)
            tensors = {
                "mean": torch.cat(centers).double(),
                "inverse_deviation": 1 / torch.cat(scales).double(),
            }
        elif config.normalize in STANDARDIZING:
            joined = torch.cat(parts, dim=1)
            deviation = joined.std(dim=0, correction=0)
            varies = deviation > _MIN_DEVIATION
            tensors["mean"] = joined.mean(dim=0)
            tensors["inverse_deviation"] = torch.where(
                varies,
                1 / deviation.clamp(min=_MIN_DEVIATION),
                1.0 if config.normalize == "all-clips" else 0.0,
            )
        new = cls(config, widths, tensors)
        if config.activation != "none":
            new._draw(new.standardized(parts))
        return new

    def _draw(self, first: Tensor) -> None:
        """Draw W in float32, which halves its size, and for Fourier features b.

        The width of the Fourier kernel is a typical distance between clips.
        """
        draw = generator(self.config.seed, self.config.purpose)
        weight = torch.randn(first.shape[1], self.config.features, generator=draw)
        if self.config.activation == "fourier":
            # The distance between uncorrelated vectors of length sqrt(P) is sqrt(2 P).
            distance = (
                math.sqrt(2 * first.shape[1])
                if self.config.normalize == "encoder-length"
                else _median_distance(first)
            )
            weight *= math.sqrt(first.shape[1]) / distance  # compensates for 1 / sqrt(P) in __call__
            self._tensors["offset"] = 2 * math.pi * torch.rand(self.config.features, generator=draw)
        self._tensors["weight"] = weight

    @property
    def width(self) -> int:
        """M"""
        return sum(self.widths) if self.config.activation == "none" else self.config.features

    def standardized(self, parts: tuple[Tensor, ...]) -> Tensor:
        """z (B, P)"""
        joined = torch.cat(parts, dim=1).double()
        if self.config.normalize in STANDARDIZING:
            joined = (joined - self._tensors["mean"]) * self._tensors["inverse_deviation"]
        if self.config.normalize not in TO_LENGTH:
            return joined
        pieces = joined.split(list(self.widths), dim=1)
        return torch.cat([math.sqrt(piece.shape[1]) * F.normalize(piece, dim=1) for piece in pieces], dim=1)

    def __call__(self, parts: tuple[Tensor, ...]) -> Tensor:
        """h (B, M)"""
        return self.of_standardized(self.standardized(parts))

    def of_standardized(self, z: Tensor) -> Tensor:
        """h (B, M) of standardized vectors z (B, P)."""
        if self.config.activation == "none":
            return z
        h = z @ (self._tensors["weight"].double() / math.sqrt(z.shape[1]))
        if self.config.activation == "relu":
            return h.relu_()
        if self.config.activation == "gelu":
            return F.gelu(h)
        if self.config.activation == "tanh":
            return h.tanh_()
        return math.sqrt(2 / self.config.features) * (h + self._tensors["offset"].double()).cos_()

    def to_config(self) -> dict[str, Any]:
        """The configuration as JSON."""
        return {**asdict(self.config), "widths": list(self.widths)}

    def tensors(self) -> dict[str, Tensor]:
        """The tensors to save."""
        return dict(self._tensors)

    @classmethod
    def from_config(cls, config: dict[str, Any], tensors: dict[str, Tensor]) -> Embedding:
        """Restore from `to_config` and `tensors`.

        Raises:
            InputError: They are invalid or inconsistent.
        """
        if "normalize" not in config and "normalise" in config:  # earlier models
            config = config | {"normalize": config["normalise"]}
        parsed = EmbeddingConfig(
            normalize=checks.choice(config, "normalize", get_args(Normalize)),
            activation=checks.choice(config, "activation", get_args(Activation)),
            features=checks.whole_number(config, "features"),
            seed=checks.whole_number(config, "seed", most=2**63 - 1),
            purpose=str(config.get("purpose", "projection")),
        )
        new = cls(parsed, tuple(checks.whole_numbers(config, "widths", least=1)), dict(tensors))
        new.check()
        return new

    def check(self) -> None:
        """Raise InputError unless the tensors have the names and shapes that the configuration requires."""
        width = sum(self.widths)
        shapes: dict[str, tuple[int, ...]] = {}
        if self.config.normalize in STANDARDIZING:
            shapes |= {"mean": (width,), "inverse_deviation": (width,)}
        if self.config.activation != "none":
            shapes["weight"] = (width, self.config.features)
        if self.config.activation == "fourier":
            shapes["offset"] = (self.config.features,)
        for name, shape in shapes.items():
            checks.tensor(self._tensors, name, shape)
        checks.no_others(self._tensors, shapes)

    @property
    def bytes(self) -> int:
        """Size of the tensors."""
        return sum(tensor.numel() * tensor.element_size() for tensor in self._tensors.values())


def _median_distance(points: Tensor) -> float:
    """Median Euclidean distance between points (n, P), a common width of Gaussian kernels.

    >>> _median_distance(torch.tensor([[0.0], [3.0]]))
    3.0
    """
    # Sorting makes the choice independent of the order of the clips.
    order = points.sum(dim=1).argsort()
    chosen = points[order[torch.linspace(0, len(points) - 1, min(len(points), _MEDIAN_CLIPS)).long()]]
    distances = torch.pdist(chosen)
    distances = distances[distances > 0]
    return float(distances.median()) if len(distances) else 1.0
