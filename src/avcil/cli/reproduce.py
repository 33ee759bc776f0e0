"""avcil reproduce: train many runs in parallel and write tables of their results."""

from __future__ import annotations

import sys

from avcil.experiments.config import ReproduceConfig as Args

__all__ = ["Args", "run"]


def run(args: Args) -> int:
    """Print the plan, or train the runs and print the tables. Returns 1 if a run failed."""
    from avcil.experiments.reproduce import describe_plan, failures_text, reproduce

    if args.dry_run:
        print(describe_plan(args))
        return 0
    done = reproduce(args)
    print(done.text)
    print(f"Written to {args.out}: table.txt, .md, .tex, .html; results.csv, summary.json; timing.txt, .csv")
    if args.plot:
        print(f"Charts: {', '.join(f'{name}.svg, .png, .csv' for name in args.plot)}; also in table.html")
    if done.failed:
        print(f"avcil: {failures_text(done.failed)}", file=sys.stderr)
        return 1
    return 0
