"""Studies by name: which rows and which conditions each compares."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from avcil.experiments.entries import AV_CIL_CLASSIFIERS, PAPER_METHODS

REHEARSAL = ("icarl-nme", "ss-il", "afc-nme", "av-cil")


@dataclass(frozen=True, kw_only=True)
class Study:
    """What a study varies."""

    summary: str
    methods: tuple[str, ...]
    """The rows, unless --methods says otherwise."""
    modalities: tuple[str, ...] = ("audio", "visual", "audio-visual")
    """The columns, unless --modalities says otherwise."""
    other_modalities: bool = True
    """Whether others make sense: what the ablations take away exists where there are sound and picture."""
    memory: Callable[[int], Sequence[int]] | None = None
    """Memory sizes to compare, from the usual one."""
    classes_per_step: Callable[[int], Sequence[int]] | None = None
    """Step sizes to compare, from the number of classes."""


def memory_sizes(usual: int) -> list[int]:
    """A quarter, a half, the whole and the double of the usual memory.

    >>> memory_sizes(340)
    [85, 170, 340, 680]
    """
    return sorted({max(1, usual // 4), max(1, usual // 2), usual, 2 * usual})


def step_sizes(classes: int) -> list[int]:
    """Every divisor of the number of classes that makes 2 to 20 steps, and not single classes.

    >>> step_sizes(28)
    [2, 4, 7, 14]
    """
    return [d for d in range(2, classes) if classes % d == 0 and 2 <= classes // d <= 20]


BOTH = ("audio-visual",)
STUDIES = {
    "comparison": Study(summary="the paper's methods in each modality", methods=PAPER_METHODS),
    "ablation-d-avsc": Study(
        summary="AV-CIL without the instance-aware or class-aware similarity, or both",
        methods=("av-cil", "av-cil-no-instance", "av-cil-no-class", "av-cil-no-d-avsc"),
        modalities=BOTH,
        other_modalities=False,
    ),
    "ablation-vad": Study(
        summary="AV-CIL without spatial or temporal attention distillation, or both",
        methods=("av-cil", "av-cil-no-spatial", "av-cil-no-temporal", "av-cil-no-vad"),
        modalities=BOTH,
        other_modalities=False,
    ),
    "classifiers": Study(
        summary="AV-CIL with its head or another classifier, with and without its two ideas",
        methods=tuple(
            f"{base}:classifier={name}"
            for base in ("av-cil", "av-cil-no-d-avsc", "av-cil-no-vad", "av-cil-neither")
            for name in ("head", *AV_CIL_CLASSIFIERS)
        ),
        modalities=BOTH,
        other_modalities=False,
    ),
    "memory-size": Study(
        summary="rehearsal methods with a quarter to the double of the memory",
        methods=REHEARSAL,
        modalities=BOTH,
        memory=memory_sizes,
    ),
    "step-size": Study(
        summary="methods with the classes cut into fewer or more steps",
        methods=PAPER_METHODS,
        modalities=BOTH,
        classes_per_step=step_sizes,
    ),
}
