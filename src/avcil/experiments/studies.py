"""Studies by name: the rows, columns and conditions of their tables."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from avcil.data.modality import Modality
from avcil.experiments.method_specs import AV_CIL_CLASSIFIERS, PAPER_METHODS

_REHEARSAL = ("icarl-nme", "ss-il", "afc-nme", "av-cil")


@dataclass(frozen=True, kw_only=True)
class Study:
    """The table of a study."""

    summary: str
    methods: tuple[str, ...]
    """Default rows."""
    modalities: tuple[Modality, ...] = (Modality.AUDIO, Modality.VISUAL, Modality.AUDIO_VISUAL)
    """Default columns."""
    other_modalities: bool = True
    """Whether other modalities are allowed. Ablations of audio-visual losses need both modalities."""
    exemplars: Callable[[int], Sequence[int]] | None = None
    """Numbers of exemplars to compare, from the default number."""
    classes_per_step: Callable[[int], Sequence[int]] | None = None
    """Step sizes to compare, from the number of classes."""


def _exemplar_counts(default: int) -> list[int]:
    """A quarter, a half, all and twice of the default number of exemplars.

    >>> _exemplar_counts(340)
    [85, 170, 340, 680]
    """
    return sorted({max(1, default // 4), max(1, default // 2), default, 2 * default})


def step_sizes(classes: int) -> list[int]:
    """Divisors of the number of classes that give 2 to 20 steps of at least 2 classes.

    >>> step_sizes(28)
    [2, 4, 7, 14]
    """
    return [d for d in range(2, classes) if classes % d == 0 and 2 <= classes // d <= 20]


_BOTH = (Modality.AUDIO_VISUAL,)
STUDIES = {
    "comparison": Study(summary="the paper's methods in each modality", methods=PAPER_METHODS),
    "ablation-d-avsc": Study(
        summary="AV-CIL without the instance-aware or class-aware similarity, or both",
        methods=("av-cil", "av-cil-no-instance", "av-cil-no-class", "av-cil-no-d-avsc"),
        modalities=_BOTH,
        other_modalities=False,
    ),
    "ablation-vad": Study(
        summary="AV-CIL without spatial or temporal attention distillation, or both",
        methods=("av-cil", "av-cil-no-spatial", "av-cil-no-temporal", "av-cil-no-vad"),
        modalities=_BOTH,
        other_modalities=False,
    ),
    "classifiers": Study(
        summary="AV-CIL with its head or another classifier, with and without D-AVSC and VAD",
        methods=tuple(
            f"{base}:classifier={name}"
            for base in ("av-cil", "av-cil-no-d-avsc", "av-cil-no-vad", "av-cil-neither")
            for name in ("head", *AV_CIL_CLASSIFIERS)
        ),
        modalities=_BOTH,
        other_modalities=False,
    ),
    "memory-size": Study(
        summary="rehearsal methods with a quarter of the exemplars to twice as many",
        methods=_REHEARSAL,
        modalities=_BOTH,
        exemplars=_exemplar_counts,
    ),
    "step-size": Study(
        summary="methods with the classes divided into fewer or more steps",
        methods=PAPER_METHODS,
        modalities=_BOTH,
        classes_per_step=step_sizes,
    ),
}
