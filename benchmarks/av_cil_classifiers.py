"""Contribution of AV-CIL's two losses, with its own head and with classifiers that compare all classes.

    python benchmarks/av_cil_classifiers.py words51-noisy --classes-per-step 3 --exemplars-per-class 4 --epochs 20

Trains AV-CIL with and without D-AVSC and VAD. After each step, all classifiers of `avcil train --set classifier=...`
predict the test clips with the same network; `bic`, which holds out training clips, has a separate run. Prints a table
of the accuracy after the last step and on average over steps, and writes classifiers.json.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from pathlib import Path

import torch
from torch.nn import functional as F

from avcil.features import FeatureStore
from avcil.methods import _head_classifiers
from avcil.methods.av_cil import AvCil
from avcil.methods.step import Step
from avcil.nn.network import Network
from avcil.training.config import TrainConfig
from avcil.training.run import Run

WITHOUT_D_AVSC = ("lambda_instance=0", "lambda_class=0")
WITHOUT_VAD = ("vad_spatial=false", "vad_temporal=false")
SETTINGS = {
    "D-AVSC and VAD": (),
    "without D-AVSC": WITHOUT_D_AVSC,
    "without VAD": WITHOUT_VAD,
    "neither": (*WITHOUT_D_AVSC, *WITHOUT_VAD),
}
LINEAR: list[dict[str, tuple[torch.Tensor, torch.Tensor]]] = []
"""Of each step of the run at work: classifiers on the features h."""


class AllClassifiers(AvCil):
    """AV-CIL that also computes the predictions of the classifiers that it does not use."""

    name = "av-cil-all-classifiers"

    def end_step(self, step: Step) -> None:
        super().end_step(step)
        self.statistics = _head_classifiers.add_step(self.statistics, step)
        assert step.next_exemplars is not None
        LINEAR.append(
            {
                "wa": _head_classifiers.aligned_head(step),
                "blade-exemplars": _head_classifiers.exemplar_classifier(step, step.next_exemplars),
                "blade-statistics": _head_classifiers.blade_classifier(self.statistics),
            }
        )


def accuracies(run: Run) -> dict[str, list[float]]:
    """Accuracy of each classifier after each step, on the test clips of all seen classes."""
    linear = sys.modules[type(run.trainer.method).__module__].LINEAR
    result: dict[str, list[float]] = {}
    for index, classifiers in enumerate(linear):
        tensors, state = run.directory.step_tensors(index), run.directory.steps_done()[index]
        kept = {name: t for name, t in tensors.items() if not name.startswith("method.")}
        head = {"kind": "linear", "width": kept["head.weight"].shape[1], "classes": len(kept["head.bias"])}
        config = run.trainer.network.to_config() | {"head": head, "classifier": "head"}
        network = Network.from_config(config, kept).eval()
        rows = [row for task in range(index + 1) for row in run.data.rows("test", task)]
        h, y = features(network, run, rows)
        means = [
            F.normalize(features(network, run, run.data.rows_of_ids(ids))[0], dim=1).mean(dim=0)
            for ids in (state.exemplars[label] for label in run.benchmark.classes[: network.classes])
        ]
        scores = {"head": network.head(h), "nme": -torch.cdist(F.normalize(h, dim=1), torch.stack(means))}
        scores |= {
            name: h.double() @ weight.double().T + bias for name, (weight, bias) in classifiers.items()
        }
        for name, values in scores.items():
            result.setdefault(name, []).append(float((values.argmax(dim=1) == y).double().mean()))
    linear.clear()
    return result


def features(network: Network, run: Run, rows: list[int]) -> tuple[torch.Tensor, torch.Tensor]:
    """h (n, D) and labels of rows of the store."""
    table = run.data.table(rows)
    with torch.no_grad():
        return torch.cat([network(*taken).feature for _, taken in table.all()]), table.labels


def measured(options: argparse.Namespace, settings: tuple[str, ...], order: int) -> dict[str, list[float]]:
    """All classifiers of one setting and class order."""
    slug = "-".join(settings).replace("=", "-") or "whole"
    result: dict[str, list[float]] = {}
    if "lambda_instance=0" not in settings:
        settings = (*settings, f"lambda_instance={options.lambda_instance}")
    for method, extra in ((__file__, ()), ("av-cil", ("classifier=bic",))):
        if extra and options.without_bic:
            continue
        config = TrainConfig(
            features=options.store,
            out=options.out / f"{slug}.{'bic' if extra else 'all'}.order-{order}",
            method=method,
            set=(*settings, *extra),
            classes_per_step=options.classes_per_step,
            class_order_seed=order,
            exemplars_per_class=options.exemplars_per_class,
            epochs=options.epochs,
            batch_size=options.batch_size,
            exemplar_batch_size=options.exemplar_batch_size,
            checkpoint_seconds=1e9,
        )
        run = Run(config, quiet=True)
        results = run.finish()
        if extra:
            result["bic"] = results.accuracy_per_step
        else:
            result |= accuracies(run)
    return result


def main() -> None:
    """Run all settings and print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("store", type=Path)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--classes-per-step", type=int, default=3)
    parser.add_argument("--exemplars-per-class", type=int, default=4)
    parser.add_argument("--epochs", type=int, default=20)
    parser.add_argument("--batch-size", type=int, default=24)
    parser.add_argument("--exemplar-batch-size", type=int, default=32)
    parser.add_argument("--lambda-instance", type=float, default=0.1)
    parser.add_argument(
        "--without-bic", action="store_true", help="leave out the runs of bic, half of the time"
    )
    parser.add_argument("--class-order-seeds", type=int, nargs="+", default=[0])
    options = parser.parse_args()
    options.out.mkdir(parents=True, exist_ok=True)
    FeatureStore(options.store)
    table: dict[str, dict[str, list[list[float]]]] = {}
    for order in options.class_order_seeds:
        for name, settings in SETTINGS.items():
            started = time.monotonic()
            for classifier, steps in measured(options, settings, order).items():
                table.setdefault(classifier, {}).setdefault(name, []).append(steps)
            print(f"order {order}, {name}: {time.monotonic() - started:.0f} s", file=sys.stderr, flush=True)
            (options.out / "classifiers.json").write_text(json.dumps(table, indent=1))
    print("| classifier | " + " | ".join(SETTINGS) + " |\n|---|" + "---|" * len(SETTINGS))
    for classifier, by_setting in table.items():
        cells = []
        for runs in by_setting.values():
            last = sum(run[-1] for run in runs) / len(runs)
            average = sum(sum(run) / len(run) for run in runs) / len(runs)
            cells.append(f"{100 * last:.1f} / {100 * average:.1f}")
        print(f"| {classifier} | " + " | ".join(cells) + " |")


if __name__ == "__main__":
    main()
