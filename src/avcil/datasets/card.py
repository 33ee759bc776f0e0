"""Description of a benchmark as text: classes, steps, clips, exemplars, epochs, and leaks between splits."""

from __future__ import annotations

from avcil.data.clips import SPLITS
from avcil.datasets.protocols import MODALITIES, PROTOCOLS
from avcil.datasets.published import PublishedBenchmark
from avcil.utils.text_table import text_table


def overview() -> str:
    """A table of all published benchmarks; needs no split files."""
    rows = [
        [p.name, p.classes, p.classes_per_step, p.steps, p.exemplars, *(p.clips[split] for split in SPLITS)]
        for p in PROTOCOLS.values()
    ]
    header = ["name", "classes", "per step", "steps", "exemplars", *SPLITS]
    return f"{text_table(rows, header)}\nShow one with: avcil benchmark show NAME"


def card(
    benchmark: PublishedBenchmark, classes_per_step: int | None = None, class_order_seed: int | None = None
) -> str:
    """Describe a benchmark as text."""
    parts = [_head(benchmark), _leak(benchmark), _steps(benchmark, classes_per_step, class_order_seed)]
    return "\n\n".join([*parts, _epochs(benchmark)])


def _head(benchmark: PublishedBenchmark) -> str:
    p = benchmark.protocol
    return "\n".join(
        [
            f"{p.title} ({p.name})",
            f"  {p.classes} classes, {p.classes_per_step} per step, {p.steps} steps; {p.exemplars} exemplars",
            f"  clips: {', '.join(f'{p.clips[split]} {split}' for split in SPLITS)}",
            "  Adam, learning rate 1e-3, weight decay 1e-4; each step uses the epoch with the best validation",
            "  accuracy over all classes seen, and is tested on these classes without task ids.",
            "  Source: Pian et al., ICCV 2023 (arXiv 2308.11073), and its release.",
        ]
    )


def _leak(benchmark: PublishedBenchmark) -> str:
    leak, removed = benchmark.leak(), benchmark.removed
    if any(removed.values()):
        return (
            f"Leak: {removed['test']} test and {removed['val']} validation clips of the release "
            "are left out, since\n"
            "  their video also has a training clip. Report the results of vs100-ci as well, which has these clips."
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
    rows = [
        [number if position == 0 else "", label, *(counts[label][split] for split in SPLITS)]
        for number, step in enumerate(benchmark.steps(classes_per_step, class_order_seed).steps)
        for position, label in enumerate(step)
    ]
    order = (
        "order of the released class numbers"
        if class_order_seed is None
        else f"order seed {class_order_seed}"
    )
    return f"Classes ({order})\n" + text_table(rows, ["step", "class", *SPLITS], names=2, indent=2)


def _epochs(benchmark: PublishedBenchmark) -> str:
    rows = [
        [method, *(epochs.get(modality, "-") for modality in MODALITIES)]
        for method, epochs in benchmark.protocol.epochs.items()
    ]
    return "Epochs per step\n" + text_table(rows, ["method", *MODALITIES], indent=2)
