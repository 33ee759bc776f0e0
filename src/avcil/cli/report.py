"""`avcil report`: one HTML page about finished runs."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from tyro.conf import Positional


@dataclass(frozen=True, kw_only=True)
class Args:
    """Write one HTML page about runs: accuracies, forgetting, confusion, what the model looks at."""

    runs: Positional[tuple[Path, ...]]
    """Run directories, as `avcil train` leaves them. Runs that differ in the seed alone are averaged."""
    out: Path
    """The HTML file to write. It needs nothing beside it, so it can be sent as it is."""
    examples: int = 4
    """Clips whose attention is drawn, of the first audio-visual run given; 0 draws none."""


def run(args: Args) -> None:
    """Read the runs, explain a few clips of the first audio-visual one, write the page."""
    from avcil.errors import InputError
    from avcil.evaluation.report import write_report
    from avcil.evaluation.run_files import read_runs

    if args.examples < 0:
        raise InputError(f"--examples must be 0 or more; not {args.examples}")
    runs = read_runs(args.runs)
    explained = next((run for run in runs if run.modality == "audio-visual"), None)
    examples, note = [], None
    if args.examples and explained is None:
        note = "none of these runs has both sound and picture, and so audio-guided attention"
    elif args.examples:
        from avcil.serving.explain import attention_examples

        examples, note = attention_examples(explained.folder, args.examples)
    write_report(runs, args.out, attention_examples=examples, attention_run=explained, attention_note=note)
    print(
        f"{args.out} ({args.out.stat().st_size / 1e6:.1f} MB): {len(runs)} run{'s' if len(runs) > 1 else ''}"
    )
