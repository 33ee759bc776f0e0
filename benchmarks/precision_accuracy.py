"""Accuracy of AV-CIL trained in bfloat16 and in float32, over several seeds.

python benchmarks/precision_accuracy.py STORE [--seeds 5] [--device cuda]
"""

from __future__ import annotations

import argparse
import tempfile
from pathlib import Path
from statistics import mean, pstdev, stdev

from avcil.training.config import TrainConfig
from avcil.training.run import train


def accuracy_table(a: argparse.Namespace) -> None:
    """Last and average accuracy of float32 and bfloat16, over seeds, on a real store."""
    print("\n| precision | average, % | last, % |\n| --- | ---: | ---: |")
    for precision in ("float32", "bfloat16"):
        result = []
        for seed in range(a.seeds):
            with tempfile.TemporaryDirectory() as folder:
                config = TrainConfig(
                    features=a.store,
                    out=Path(folder) / "run",
                    method="av-cil",
                    classes_per_step=3,
                    exemplars_per_class=4,
                    epochs=20,
                    batch_size=24,
                    exemplar_batch_size=32,
                    set=("lambda_instance=0.1",),
                    seed=seed,
                    device=a.device,
                    precision=precision,  # type: ignore[arg-type]
                )
                results = train(config, quiet=True)
                result.append((results["average_incremental_accuracy"], results["last_accuracy"]))
        columns = [
            f"{100 * mean(c):.1f} ± {100 * (stdev if len(c) > 1 else pstdev)(c):.1f}"
            for c in zip(*result, strict=True)
        ]
        print(f"| {precision} | {' | '.join(columns)} |", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("store", type=Path)
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--device", choices=["cuda", "cpu"], default="cuda")
    accuracy_table(parser.parse_args())


if __name__ == "__main__":
    main()
