"""Exemplar memory of rehearsal methods, and selection of exemplars.

A `total` number of clips is divided equally among the classes seen, m = floor(total / classes), or each class has
`per_class` clips. Old classes keep the first m of their exemplars. Source: iCaRL (CVPR 2017); AV-CIL selects at random.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import torch
from torch import Tensor

from avcil.errors import InputError


@dataclass(kw_only=True)
class ExemplarMemory:
    """Clip ids by class name, in the order of selection."""

    total: int | None = None
    """Total number of clips, shared by all classes seen; or None."""
    per_class: int | None = None
    """Number of clips per class; or None."""
    clip_ids: dict[str, list[str]] = field(default_factory=dict)

    def quota(self, classes: int) -> int:
        """m, the number of exemplars per class with `classes` classes.

        >>> ExemplarMemory(total=340).quota(14)
        24
        """
        if self.per_class is not None:
            return self.per_class
        assert self.total is not None
        if self.total < classes:
            raise InputError(
                f"a memory of {self.total} clips is too small for {classes} classes: less than one clip each. "
                f"Give --exemplars {classes} or more, or --exemplars-per-class"
            )
        return self.total // classes

    def shrink(self, quota: int) -> None:
        """Keep the first `quota` clips of every class."""
        for label in self.clip_ids:
            self.clip_ids[label] = self.clip_ids[label][:quota]

    def __len__(self) -> int:
        return sum(map(len, self.clip_ids.values()))


def choose_random(count: int, quota: int, *, generator: torch.Generator) -> list[int]:
    """Positions of `quota` of `count` clips, drawn without repetition; all of them if there are fewer."""
    return torch.randperm(count, generator=generator)[:quota].tolist()


def choose_again(old: int, new: int, quota: int, *, seen: int, generator: torch.Generator) -> list[int]:
    """Positions of `quota` clips among `old` exemplars of a class, followed by `new` clips of the same class.

    If the exemplars are a random sample of the `seen` earlier clips, the result is a random sample of all clips seen so
    far, as in reservoir sampling.
    """
    sample = torch.randperm(seen + new, generator=generator)[:quota]
    from_new = [old + position - seen for position in sample.tolist() if position >= seen]
    from_old = choose_random(old, quota - len(from_new), generator=generator)
    missing = quota - len(from_new) - len(from_old)  # positive if there were fewer exemplars than the quota
    others = [old + i for i in range(new) if old + i not in from_new]
    added = [others[i] for i in choose_random(len(others), max(missing, 0), generator=generator)]
    chosen = from_old + from_new + added
    # In random order, because a smaller quota later keeps the first exemplars.
    return [chosen[i] for i in choose_random(len(chosen), len(chosen), generator=generator)]


def choose_by_herding(features: Tensor, quota: int, *, repeats: bool = False) -> list[int]:
    """Positions of clips, selected greedily so that the mean of the selected clips is nearest to the class mean.

    Args:
        features: (n, D), of the clips of a class; they are normalized to unit length.
        quota: Number of clips to select.
        repeats: Whether a clip may be selected repeatedly, as in the release of AV-CIL.

    Source: iCaRL, algorithm 4 (Welling, ICML 2009).

    >>> choose_by_herding(torch.tensor([[1.0, 0.0], [0.0, 1.0], [1.0, 1.0]]), 1)
    [2]
    """
    unit = torch.nn.functional.normalize(features, dim=1)
    mean, total = unit.mean(dim=0), torch.zeros_like(unit[0])
    chosen: list[int] = []
    is_available = torch.ones(len(unit), dtype=torch.bool)
    for size in range(1, min(quota, len(unit)) + 1):
        distance = ((total + unit) / size - mean).square().sum(dim=1)
        distance[~is_available] = torch.inf
        best = int(distance.argmin())
        chosen.append(best)
        is_available[best] = repeats
        total = total + unit[best]
    return chosen
