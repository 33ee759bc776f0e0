"""Measure all methods on all streams and write docs/leaderboard.md with its figures.

    python scripts/leaderboard.py WORK [--data NAME=STORE:CLASSES_PER_STEP ...] [--orders 0 1 2 3 4]
        [--stream-orders 0 1 2] [--exemplars 1 2 4 8 16] [--epochs 20] [--methods ...] [--streams ...] [--out docs]

The section of each data set is stored in WORK, and the page consists of all sections there. So data sets can be
measured one after another, also with different options.

Without --data, the clips of `avcil demo` are rendered and extracted into WORK. Runs are stored in WORK, and the same
command continues an interrupted measurement. Class-incremental learning is measured with --orders, the other streams
with --stream-orders. --exemplars are the numbers of exemplars per class of the comparison at equal bytes, which is
measured with the first of --orders.
"""

from __future__ import annotations

import argparse
import shlex
from collections.abc import Iterator, Sequence
from pathlib import Path

from data_sets import DEMO, DataSet, clip_list
from leaderboard_figures import draw_costs, draw_curves
from leaderboard_summary import Averages, averages, summary

from avcil.data.clips import read_clips
from avcil.data.modality import Modality
from avcil.errors import AvcilError, InputError
from avcil.experiments.config import ReproduceConfig
from avcil.experiments.footprint import footprint
from avcil.experiments.pareto import Point, pareto_front, points_of
from avcil.experiments.reproduce import Reproduction, reproduce
from avcil.experiments.results import DatasetResults, Group
from avcil.extraction.extract import extract
from avcil.features import FeatureStore
from avcil.reporting.table import mean_std_text, metric_title
from avcil.streams.registry import parse_stream
from avcil.utils.files import write_json, write_text
from avcil.utils.text_table import markdown_table

METHODS = (
    "fine-tuning", "lwf", "ewc", "er", "der-plus-plus", "gdumb", "icarl-fc", "icarl-nme", "wa", "bic", "ss-il",
    "podnet", "podnet:nca=paper", "afc-nme", "afc-lsc", "av-cil:lambda_instance=0.1", "joint", "ncm", "fecam", "slda",
    "randumb", "ranpac", "acil", "ds-al", "rls", "anacp", "blade",
)  # fmt: skip
STREAMS = ("few-shot", "online", "blurry", "recurring", "missing-modality", "class-removal")
SETTINGS = {"batch_size": 32, "exemplar_batch_size": 32, "exemplars_per_class": (4,)}
METRICS = {"average_incremental_accuracy": "average", "last_accuracy": "last", "forgetting": "forgetting"}


def demo_data(work: Path) -> DataSet:
    """The feature store of the clips of `avcil demo`; made if it does not exist."""
    extract(read_clips(clip_list(work, DEMO, Path(DEMO))), work / DEMO)
    return DataSet(DEMO, work / DEMO, 4)


def clip_counts(store: FeatureStore) -> str:
    """The numbers of classes and clips as text."""
    counts = {split: sum(clip.split == split for clip in store.clips) for split in ("train", "test")}
    return f"{len(store.labels)} classes, {counts['train']} training and {counts['test']} test clips"


def configuration(
    data: DataSet,
    streams: Sequence[str],
    orders: Sequence[int],
    options: argparse.Namespace,
    *,
    name: str,
    **more: object,
) -> ReproduceConfig:
    """The runs of some streams on a data set, in the folder DATA-NAME of `options.work`."""
    uses_steps = any(parse_stream(stream).kind.uses_steps for stream in streams)
    return ReproduceConfig(
        features=(data.path,),
        out=options.work / f"{data.name}-{name}",
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


def command(data: DataSet, stream: str, orders: Sequence[int], options: argparse.Namespace) -> str:
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
    return markdown_table(header, rows)


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


def finished(config: ReproduceConfig) -> Reproduction:
    """Train the runs that are not finished; AvcilError if one fails."""
    done = reproduce(config)
    if done.failed:
        raise AvcilError(f"{len(done.failed)} runs failed; see {config.out}/runs")
    return done


def stream_sections(
    data: DataSet,
    streams: Sequence[str],
    orders: Sequence[int],
    options: argparse.Namespace,
    *,
    name: str,
    found: Averages,
) -> Iterator[str]:
    """Lines of a section for each stream: table, command, and the methods that cannot take part.

    The averages are added to `found`.
    """
    config = configuration(data, streams, orders, options, name=name)
    store, done = FeatureStore(data.path), finished(config)
    for stream, results in zip(streams, done.datasets, strict=True):
        found[parse_stream(stream).name] = averages(results)
        yield from (f"### {data.name}, {stream}", "", table(results, store), "")
        yield f"Class orders {', '.join(map(str, orders))}, seed 0. `{command(data, stream, orders, options)}`"
        yield ""
        for text in done.plan.left_out_of(results.dataset):
            yield from (f"Left out: {text}.", "")
        if stream == "class-incremental":
            draw_curves(results, options.out / "leaderboard" / f"{data.name}-curves.svg")
            yield from (f"![Accuracy after each step on {data.name}](leaderboard/{data.name}-curves.svg)", "")


def equal_bytes_section(data: DataSet, options: argparse.Namespace) -> Iterator[str]:
    """Lines of the comparison of methods with several numbers of exemplars."""
    counts = tuple(options.exemplars)
    streams, orders = ("class-incremental",), options.orders[:1]
    config = configuration(data, streams, orders, options, name="exemplars", exemplars_per_class=counts)
    done = finished(config)
    points = points_of(done.plan, done.datasets)
    yield from (f"### {data.name}, accuracy at equal bytes", "", cost_table(points, counts), "")
    yield (
        "Accuracy in percent after the last step and, in parentheses, kB stored between steps, by number of exemplars "
        f"per class. Class order {orders[0]}, seed 0."
    )
    front = ", ".join(f"`{point.row}` ({cost_cell(point)})" for point in pareto_front(points, "bytes"))
    yield (
        "Pareto front: entries that are more accurate than every other entry of at most the same size (without "
        f"`joint`): {front}."
    )
    yield ""
    draw_costs(points, options.out / "leaderboard" / f"{data.name}-costs.svg")
    yield from (f"![Accuracy and stored bytes on {data.name}](leaderboard/{data.name}-costs.svg)", "")


def cost_table(points: Sequence[Point], counts: Sequence[int]) -> str:
    """A row for each method, a column for each number of exemplars; the highest accuracy first."""
    cells: dict[str, dict[str, Point]] = {}
    for point in points:
        cells.setdefault(point.entry, {})[point.condition] = point
    columns = ["", *(f"exemplars per class {count}" for count in counts)]
    rows = [
        [f"`{entry}`", *(cost_cell(found[name]) if name in found else "" for name in columns)]
        for entry, found in sorted(
            cells.items(), key=lambda item: -max(point.accuracy.mean for point in item[1].values())
        )
    ]
    return markdown_table(["method", "no exemplars", *map(str, counts)], rows)


def cost_cell(point: Point) -> str:
    """Accuracy in %, and kB."""
    return f"{100 * point.accuracy.mean:.1f} ({point.bytes / 1000:,.0f})"


def measure(data: DataSet, options: argparse.Namespace, found: Averages) -> Iterator[str]:
    """The lines of the page for a data set; writes its figures, and adds averages to `found`."""
    yield from (f"## {data.name}", "")
    counts = clip_counts(FeatureStore(data.path))
    yield f"{counts}. Gradient methods train for {options.epochs} epochs per step (one in `online` and `blurry`)."
    yield ""
    if not data.classes_per_step:
        yield from stream_sections(
            data, (options.domains,), options.stream_orders, options, name="domains", found=found
        )
        return
    if options.orders:
        yield from stream_sections(
            data, ("class-incremental",), options.orders, options, name="class-incremental", found=found
        )
        if options.exemplars:
            yield from equal_bytes_section(data, options)
    if options.streams and options.stream_orders:
        yield from stream_sections(
            data, options.streams, options.stream_orders, options, name="streams", found=found
        )


def write_page(options: argparse.Namespace) -> None:
    """Write the page from the sections in `options.work`."""
    folder = Path(__file__).parent
    head, notes = (folder / f"leaderboard.{name}.md" for name in ("head", "notes"))
    texts = [
        path.read_text(encoding="utf-8").strip() for path in (head, *sorted(options.work.glob("*.md")), notes)
    ]
    text = "\n\n".join([texts[0], "\n".join(summary(options.work)), *texts[1:]])
    write_text(options.out / "leaderboard.md", text + "\n")


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("work", type=Path)
    parser.add_argument("--data", nargs="+", type=DataSet.parse, default=[])
    parser.add_argument("--orders", nargs="*", type=int, default=[0, 1, 2, 3, 4])
    parser.add_argument("--stream-orders", nargs="*", type=int, default=[0, 1, 2])
    parser.add_argument("--exemplars", nargs="*", type=int, default=[1, 2, 4, 8, 16])
    parser.add_argument("--epochs", type=int, default=20)
    parser.add_argument("--methods", nargs="+", default=list(METHODS))
    parser.add_argument("--streams", nargs="*", default=list(STREAMS))
    parser.add_argument("--domains", default="domain-incremental", help="the stream of stores with domains")
    parser.add_argument("--jobs", type=int)
    parser.add_argument("--out", type=Path, default=Path(__file__).resolve().parents[1] / "docs")
    options = parser.parse_args()
    options.work.mkdir(parents=True, exist_ok=True)
    (options.out / "leaderboard").mkdir(parents=True, exist_ok=True)
    try:
        for data in options.data or [demo_data(options.work)]:
            found: Averages = {}
            write_text(options.work / f"{data.name}.md", "\n".join(measure(data, options, found)))
            write_json(options.work / f"{data.name}.json", found)
    except (AvcilError, InputError) as error:
        raise SystemExit(f"leaderboard: {error}") from None
    write_page(options)
    print(f"written to {options.out / 'leaderboard.md'}")


if __name__ == "__main__":
    main()
