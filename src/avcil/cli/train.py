"""avcil train: a method, step by step, on a feature store."""

from __future__ import annotations

from avcil.training.config import TrainConfig as Args

__all__ = ["Args", "run"]


def run(args: Args) -> None:
    """Train and print what came of it."""
    from avcil.evaluation.run_files import read_run
    from avcil.evaluation.table import summary_table
    from avcil.training.run import train
    from avcil.training.team import Team
    from avcil.training.tracking import where

    results = train(args)
    if not Team.from_environment().is_first:
        return
    print(summary_table([read_run(args.out)]))
    print(f"\n{results['seconds']:.1f} s of training; the recogniser is in {args.out / 'model'}")
    if args.track is not None:
        print(f"Figures of training: {where(args.track, args.out)}")
    print(f"Next: avcil predict {args.out} CLIP...    avcil report {args.out} --out report.html")
