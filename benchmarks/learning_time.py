"""Training time of AV-CIL and BLADE without reading clips, validation, testing and saving.

    python benchmarks/learning_time.py STORE [STORE ...] [--classes-per-step 3] [--epochs 20 100 200] [--rounds 5]

20 epochs a step are those of the comparison in docs/beyond-the-paper.md, 100 the default of `avcil train`, 200 the
paper's. One thread. BLADE runs `--rounds` times, and the median is reported; AV-CIL runs once. "Learning" is that part
of `seconds_by_part` in results.json; "training" adds reading, and validation if it selects the epoch.
"""

from __future__ import annotations

import argparse
import tempfile
from pathlib import Path
from statistics import median

import torch

from avcil.training.config import TrainConfig
from avcil.training.run import train

BATCHES = {"batch_size": 24, "exemplar_batch_size": 32, "exemplars_per_class": 4}
"""Options of AV-CIL in that comparison."""


def seconds_of(store: Path, method: str, classes_per_step: int, **more: object) -> tuple[float, float]:
    """Seconds of learning and of training of one run, whose files are removed."""
    with tempfile.TemporaryDirectory() as folder:
        config = TrainConfig(
            features=store,
            out=Path(folder) / "run",
            method=method,
            classes_per_step=classes_per_step,
            **more,  # type: ignore[arg-type]
        )
        results = train(config, quiet=True)
    return results["seconds_by_part"]["learning"], results["seconds"]


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("stores", type=Path, nargs="+")
    parser.add_argument("--classes-per-step", type=int, default=3)
    parser.add_argument("--epochs", type=int, nargs="+", default=(20, 100, 200))
    parser.add_argument("--rounds", type=int, default=5)
    options = parser.parse_args()
    torch.set_num_threads(1)
    step = options.classes_per_step
    print(
        "| store | epochs | AV-CIL learning, s | training, s | BLADE learning, s | training, s | learning, times |"
    )
    print("| --- | ---: | ---: | ---: | ---: | ---: | ---: |", flush=True)
    for store in options.stores:
        for epochs in options.epochs:
            slow = seconds_of(store, "av-cil", step, epochs=epochs, set=("lambda_instance=0.1",), **BATCHES)
            runs = [seconds_of(store, "blade", step) for _ in range(options.rounds)]
            fast = [median(run[part] for run in runs) for part in range(2)]
            print(
                f"| {store.name} | {epochs} | {slow[0]:.1f} | {slow[1]:.1f} | {fast[0]:.2f} | {fast[1]:.2f} "
                f"| {slow[0] / fast[0]:.0f} |",
                flush=True,
            )


if __name__ == "__main__":
    main()
