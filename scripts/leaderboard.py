"""Measure all methods on all streams and write docs/leaderboard.md with its figures.

    python scripts/leaderboard.py WORK [--data NAME=STORE:CLASSES_PER_STEP ...] [--orders 0 1 2 3 4]
        [--stream-orders 0 1 2] [--epochs 20] [--methods ...] [--streams ...] [--out docs]

Without --data, the clips of `avcil demo` are rendered and extracted into WORK. Runs are kept in WORK, and the same
command continues an interrupted measurement. Class-incremental learning is measured with --orders, the other streams
with --stream-orders.
"""

from __future__ import annotations

import argparse
import shlex
import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import matplotlib
from matplotlib import pyplot as plt
from matplotlib.lines import Line2D
from matplotlib.ticker import MaxNLocator

from avcil.data.clips import read_clips, write_clips
from avcil.data.modality import Modality
from avcil.data.scan import scan
from avcil.datasets.synthetic.clips import render_demo_clips
from avcil.errors import AvcilError, InputError
from avcil.experiments.config import ReproduceConfig
from avcil.experiments.footprint import footprint
from avcil.experiments.plan import make_plan
from avcil.experiments.reproduce import reproduce
from avcil.experiments.results import DatasetResults, Group
from avcil.extraction.extract import extract
from avcil.features import FeatureStore
from avcil.reporting.table import mean_std_text, metric_title
from avcil.streams.registry import parse_stream

METHODS = (
    "fine-tuning", "lwf", "ewc", "er", "der-plus-plus", "gdumb", "icarl-fc", "icarl-nme", "wa", "bic", "ss-il",
    "afc-nme", "afc-lsc", "av-cil:lambda_instance=0.1", "joint", "ncm", "fecam", "slda", "randumb", "ranpac", "acil",
    "ds-al", "rls", "blade",
)  # fmt: skip
STREAMS = ("few-shot", "online", "blurry", "recurring", "missing-modality", "class-removal")
SETTINGS = {"batch_size": 32, "exemplar_batch_size": 32, "exemplars_per_class": (4,)}
METRICS = {"average_incremental_accuracy": "average", "last_accuracy": "last", "forgetting": "forgetting"}


@dataclass(frozen=True)
class Data:
    """A feature store, and the number of classes of a step; 0: the store holds domains."""

    name: str
    store: Path
    classes_per_step: int

    @classmethod
    def parse(cls, text: str) -> Data:
        """NAME=STORE:CLASSES_PER_STEP."""
        name, _, rest = text.partition("=")
        store, _, classes = rest.rpartition(":")
        return cls(name, Path(store), int(classes))

    @property
    def clips(self) -> str:
        """Number of clips and classes, for people."""
        store = FeatureStore(self.store)
        counts = {split: sum(clip.split == split for clip in store.clips) for split in ("train", "test")}
        return f"{len(store.labels)} classes, {counts['train']} training and {counts['test']} test clips"


def demo_data(work: Path) -> Data:
    """The store of the clips of `avcil demo`; made if it is not there."""
    clips = work / "demo-clips"
    if not (work / "demo.csv").exists():
        render_demo_clips(clips)
        write_clips(work / "demo.csv", scan(clips).clips)
    extract(read_clips(work / "demo.csv"), work / "demo")
    return Data("demo", work / "demo", 4)


def configuration(
    data: Data, streams: Sequence[str], orders: Sequence[int], options: argparse.Namespace, **more: object
) -> ReproduceConfig:
    """The runs of some streams on a data set."""
    uses_steps = any(parse_stream(stream).kind.uses_steps for stream in streams)
    return ReproduceConfig(
        features=(data.store,),
        out=options.work / f"{data.name}-{'streams' if len(streams) > 1 else streams[0].partition(',')[0]}",
        streams=tuple(streams),
        methods=tuple(options.methods),
        modalities=(Modality.AUDIO_VISUAL,),
        classes_per_step=(data.classes_per_step,) if uses_steps and data.classes_per_step else (),
        seeds=(0,),
        class_order_seeds=tuple(orders),
        epochs=options.epochs,
        jobs=options.jobs,
        **(SETTINGS | more),  # type: ignore[arg-type]
    )


def command(data: Data, stream: str, orders: Sequence[int], options: argparse.Namespace) -> str:
    """The `avcil reproduce` command that measures the rows of one table."""
    words = ["avcil", "reproduce", data.name, "--out", "table", "--streams", stream]
    kind = parse_stream(stream).kind
    if kind.uses_steps:
        words += ["--classes-per-step", str(data.classes_per_step)]
    words += ["--modalities", "audio-visual", "--seeds", "0", "--class-order-seeds", *map(str, orders)]
    for name, value in {"epochs": options.epochs, **SETTINGS}.items():
        if name not in kind.settings():
            values = value if isinstance(value, tuple) else (value,)
            words += [f"--{name.replace('_', '-')}", *map(str, values)]
    return shlex.join([*words, "--methods"]) + " METHOD"


def table(results: DatasetResults, store: FeatureStore) -> str:
    """A Markdown table, the best average first."""
    streams = list(dict.fromkeys(name for group in results.groups for name in group.stream_metrics))
    header = ["method", *METRICS.values(), *(metric_title(name) for name in streams), "kB", "s"]
    groups = [group for group in results.groups if group.runs]
    groups.sort(key=_average, reverse=True)
    rows = [_row(group, [*METRICS, *streams], store) for group in groups]
    lines = [header, ["---", *["---:"] * (len(header) - 1)], *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def _average(group: Group) -> float:
    return sum(run.results.average_incremental_accuracy for run in group.runs) / len(group.runs)


def _row(group: Group, metrics: Sequence[str], store: FeatureStore) -> list[str]:
    cells = []
    for name in metrics:
        value = group.mean_std(name)
        cells.append(f"{value.mean:.0e}" if value and name == "score_distance" else mean_std_text(value))
    sizes = [footprint(run.run.config.out, store).total for run in group.runs]
    seconds = [run.results.seconds for run in group.runs]
    kilobytes, time = (sum(values) / len(values) for values in (sizes, seconds))
    return [f"`{group.row}`", *cells, f"{kilobytes / 1000:,.0f}", f"{time:.1f}"]


def draw_curves(results: DatasetResults, path: Path) -> None:
    """Accuracy after each step, a line for each method; the nine best and AV-CIL are named."""
    matplotlib.rcParams["svg.hashsalt"] = "avcil"  # the same file for the same results
    groups = [group for group in results.groups if group.runs]
    groups.sort(key=lambda group: -_accuracy(group, group.steps - 1))
    figure, axes = plt.subplots(figsize=(8, 5), layout="constrained")
    named = [*groups[:9], *(group for group in groups[9:] if group.row.startswith("av-cil"))]
    for group in reversed(groups):  # the named lines on top
        steps = range(1, group.steps + 1)
        values = [100 * _accuracy(group, step) for step in range(group.steps)]
        style = {"color": "0.8", "linewidth": 0.8}
        if group in named:
            style = {"color": f"C{named.index(group)}", "linewidth": 1.6}
        axes.plot(steps, values, marker="o", markersize=2.5, **style)  # type: ignore[arg-type]
    handles = [
        Line2D([], [], color=f"C{number}", marker="o", markersize=2.5, label=group.row)
        for number, group in enumerate(named)
    ]
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    axes.set(xlabel="step", ylabel="accuracy on the classes seen (%)", ylim=(0, 101))
    axes.legend(handles=handles, fontsize=8, loc="center left", bbox_to_anchor=(1, 0.5), frameon=False)
    figure.savefig(path, metadata={"Date": None})
    plt.close(figure)


def _accuracy(group: Group, step: int) -> float:
    value = group.mean_std("accuracy_per_step", step)
    return 0.0 if value is None else value.mean


def measure(data: Data, options: argparse.Namespace, folder: Path) -> list[str]:
    """The lines of the page for a data set; writes its figures."""
    store = FeatureStore(data.store)
    lines = [f"## {data.name}", "", f"{data.clips}.", ""]
    blocks: list[tuple[Sequence[str], Sequence[int]]] = []
    if data.classes_per_step:
        blocks = [(("class-incremental",), options.orders), (options.streams, options.stream_orders)]
    else:
        blocks = [((options.domains,), options.stream_orders)]
    for streams, orders in blocks:
        if not streams or not orders:
            continue
        is_main = tuple(streams) == ("class-incremental",)
        config = configuration(data, streams, orders, options, plot=("frontier",) if is_main else ())
        done = reproduce(config)
        if done.failed:
            raise AvcilError(f"{len(done.failed)} runs failed; see {config.out}/runs")
        plan = make_plan(config)
        for stream, results in zip(streams, done.datasets, strict=True):
            left_out = sorted(plan.left_out_of(results.dataset))
            lines += [
                f"### {data.name}, {stream}", "", table(results, store), "",
                f"Class orders {', '.join(map(str, orders))}, seed 0. `{command(data, stream, orders, options)}`", "",
                *([f"Left out: {'; '.join(left_out)}.", ""] if left_out else []),
            ]  # fmt: skip
            if is_main:
                draw_curves(results, folder / f"{data.name}-curves.svg")
                shutil.copyfile(config.out / "frontier.svg", folder / f"{data.name}-frontier.svg")
                lines += [
                    f"![Accuracy after each step on {data.name}](leaderboard/{data.name}-curves.svg)", "",
                    f"![Accuracy and cost on {data.name}](leaderboard/{data.name}-frontier.svg)", "",
                ]  # fmt: skip
    return lines


def introduction(options: argparse.Namespace) -> list[str]:
    """The beginning of the page."""
    text = (Path(__file__).parent / "leaderboard.head.md").read_text(encoding="utf-8")
    return [text.format(epochs=options.epochs).rstrip(), ""]


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("work", type=Path)
    parser.add_argument("--data", nargs="+", type=Data.parse, default=[])
    parser.add_argument("--orders", nargs="*", type=int, default=[0, 1, 2, 3, 4])
    parser.add_argument("--stream-orders", nargs="*", type=int, default=[0, 1, 2])
    parser.add_argument("--epochs", type=int, default=20)
    parser.add_argument("--methods", nargs="+", default=list(METHODS))
    parser.add_argument("--streams", nargs="*", default=list(STREAMS))
    parser.add_argument("--domains", default="domain-incremental", help="the stream of stores with domains")
    parser.add_argument("--jobs", type=int)
    parser.add_argument("--out", type=Path, default=Path(__file__).resolve().parents[1] / "docs")
    options = parser.parse_args()
    options.work.mkdir(parents=True, exist_ok=True)
    folder = options.out / "leaderboard"
    folder.mkdir(parents=True, exist_ok=True)
    lines = introduction(options)
    try:
        for data in options.data or [demo_data(options.work)]:
            lines += measure(data, options, folder)
    except (AvcilError, InputError) as error:
        raise SystemExit(f"leaderboard: {error}") from None
    lines.append((Path(__file__).parent / "leaderboard.notes.md").read_text(encoding="utf-8").rstrip())
    (options.out / "leaderboard.md").write_text("\n".join(lines).rstrip() + "\n", encoding="utf-8")
    print(f"written to {options.out / 'leaderboard.md'}")


if __name__ == "__main__":
    main()
