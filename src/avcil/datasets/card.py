"""A benchmark on one page of text: classes, steps, clips, memory, epochs, and its leak."""

from __future__ import annotations

from avcil.data.clips import SPLITS
from avcil.datasets.protocols import MODALITIES, PROTOCOLS
from avcil.datasets.published import PublishedBenchmark


def overview() -> str:
    """All published benchmarks, a line each; needs no file."""
    lines = [
        f"{'name':<20}{'classes':>8}{'a step':>8}{'steps':>7}{'memory':>8}{'train':>8}{'val':>7}{'test':>7}"
    ]
    for p in PROTOCOLS.values():
        counts = f"{p.clips['train']:>8}{p.clips['val']:>7}{p.clips['test']:>7}"
        lines.append(f"{p.name:<20}{p.classes:>8}{p.classes_per_step:>8}{p.steps:>7}{p.memory:>8}{counts}")
    lines.append("Show one with: avcil benchmark show NAME")
    return "\n".join(lines)


def card(
    benchmark: PublishedBenchmark, classes_per_step: int | None = None, class_order_seed: int | None = None
) -> str:
    """The benchmark for a reader."""
    parts = [_head(benchmark), _leak(benchmark), _steps(benchmark, classes_per_step, class_order_seed)]
    return "\n\n".join([*parts, _epochs(benchmark)])


def _head(benchmark: PublishedBenchmark) -> str:
    p = benchmark.protocol
    return "\n".join(
        [
            f"{p.title} ({p.name})",
            f"  {p.classes} classes, {p.classes_per_step} a step, {p.steps} steps; memory: {p.memory} clips",
            f"  clips: {', '.join(f'{p.clips[split]} {split}' for split in SPLITS)}",
            "  Adam, learning rate 1e-3, weight decay 1e-4; the model of a step is that of the epoch with",
            "  the best validation accuracy over all classes seen; tested after each step on these,",
            "  without task ids. Source: Pian et al., ICCV 2023 (arXiv 2308.11073), and its release.",
        ]
    )


def _leak(benchmark: PublishedBenchmark) -> str:
    leak, removed = benchmark.leak(), benchmark.removed
    if any(removed.values()):
        return (
            f"Leak: {removed['test']} test and {removed['val']} validation clips of the release "
            "are left out:\n"
            "  their video also has a training clip. Report it beside vs100-ci, which keeps them."
        )
    if any(leak.values()):
        p = benchmark.protocol
        return (
            f"Leak: {leak['test']} of {p.clips['test']} test and {leak['val']} of {p.clips['val']} "
            "validation clips are cut from a YouTube\n"
            f"  video that also has a training clip. {p.name}-leak-free leaves them out."
        )
    return "Leak: none; no test or validation clip shares its video with a training clip."


def _steps(benchmark: PublishedBenchmark, classes_per_step: int | None, class_order_seed: int | None) -> str:
    counts = benchmark.counts()
    width = max(map(len, benchmark.classes)) + 2
    lines = [f"  {'step':<6}{'class':<{width}}{'train':>7}{'val':>6}{'test':>6}"]
    for number, step in enumerate(benchmark.steps(classes_per_step, class_order_seed).steps):
        for place, label in enumerate(step):
            shown = "".join(f"{counts[label][split]:>{7 if split == 'train' else 6}}" for split in SPLITS)
            lines.append(f"  {number if place == 0 else '':<6}{label:<{width}}{shown}")
    order = (
        "order of the released class numbers"
        if class_order_seed is None
        else f"order seed {class_order_seed}"
    )
    return f"Classes ({order})\n" + "\n".join(lines)


def _epochs(benchmark: PublishedBenchmark) -> str:
    lines = [f"  {'method':<14}" + "".join(f"{modality:>14}" for modality in MODALITIES)]
    for method, epochs in benchmark.protocol.epochs.items():
        lines.append(
            f"  {method:<14}" + "".join(f"{epochs.get(modality, '-'):>14}" for modality in MODALITIES)
        )
    return "Epochs a step\n" + "\n".join(lines)
