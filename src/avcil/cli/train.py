"""avcil train: train a method step by step on a feature store."""

from __future__ import annotations

from avcil.training.config import TrainConfig as Args

__all__ = ["Args", "run"]


def run(args: Args) -> None:
    """Train, and print the results."""
    from avcil.reporting.table import stream_facts, summary_table
    from avcil.runs.run_files import read_run
    from avcil.training.distributed import ProcessGroup
    from avcil.training.resolve import unused_options
    from avcil.training.run import train
    from avcil.training.tracking import where

    if (unused := unused_options(args)) and ProcessGroup.from_environment().is_first:
        print(f"{args.method} does not use {', '.join(unused)}")
    results = train(args)
    if not ProcessGroup.from_environment().is_first:
        return
    print(summary_table([read_run(args.out)]))
    if metrics := results.get("stream_metrics"):
        print(
            f"{args.stream}: " + ", ".join(f"{name} {value}" for name, value in stream_facts(metrics)) + "\n"
        )
    print(f"{results['seconds']:.1f} s of training; the model is in {args.out / 'model'}")
    if args.track is not None:
        print(f"Training metrics: {where(args.track, args.out)}")
    print(f"Next: avcil predict {args.out} CLIP...    avcil report {args.out} --out report.html")
