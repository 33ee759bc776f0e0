"""avcil demo: run all steps in minutes, on rendered clips."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from avcil.errors import InputError


@dataclass(frozen=True, kw_only=True)
class Args:
    """Render clips, extract features, train fine-tuning, AV-CIL, BLADE and joint training, print a table, predict
    clips, and write a report."""

    out: Path = Path("runs/demo")
    """Output folder. The same command resumes an interrupted demo."""
    seed: int = 0
    """Random seed of clips and training."""
    epochs: int = 40
    """Number of epochs in each step."""

    def __post_init__(self) -> None:
        if self.epochs < 1:
            raise InputError(f"--epochs must be 1 or more; not {self.epochs}")
        if self.seed < 0:
            raise InputError(f"--seed must be 0 or more; not {self.seed}")


def run(args: Args) -> None:
    """Run the demo."""
    from avcil.experiments.demo import demo

    demo(args.out, seed=args.seed, epochs=args.epochs)
