"""Stored bytes of a run, counted separately, and the Pareto front."""

from __future__ import annotations

import csv
import re
from pathlib import Path

import pytest

from avcil.data.modality import Modality
from avcil.experiments.config import ReproduceConfig
from avcil.experiments.footprint import clip_bytes, footprint
from avcil.experiments.pareto import Point, _draw, pareto_front
from avcil.experiments.reproduce import reproduce
from avcil.features import FeatureStore
from avcil.runs.groups import MeanStd
from avcil.saved_models.folder import load_tensors
from avcil.utils.files import read_json

METHODS = ("fine-tuning", "lwf", "av-cil", "blade", "joint")
CLIP = 2 * (2 * 3 * 12 + 10)
"""Bytes of a clip of the test store: (2, 3, 12) and (10,) numbers of float16."""


@pytest.fixture(scope="module")
def out(store: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small table with its chart."""
    out = tmp_path_factory.mktemp("frontier") / "table"
    config = ReproduceConfig(
        features=(store,),
        out=out,
        classes_per_step=(3,),
        exemplars_per_class=(1, 2),
        methods=METHODS,
        modalities=("audio-visual",),
        seeds=(0,),
        epochs=1,
        batch_size=8,
        jobs=1,
        plot=("frontier",),
    )
    reproduce(config, quiet=True)
    return out


def run(out: Path, method: str) -> Path:
    return next(path for path in sorted((out / "runs").iterdir()) if f".{method}" in path.name)


def test_bytes_are_counted(out: Path, store: Path) -> None:
    """Exemplars as stored, a network as teacher where one is used, statistics; nothing for fine-tuning."""
    held = FeatureStore(store)
    assert clip_bytes(held, Modality.AUDIO_VISUAL) == CLIP
    assert clip_bytes(held, Modality.AUDIO) == 2 * 10
    footprints = {method: footprint(run(out, method), held) for method in METHODS}
    network = load_tensors(run(out, "lwf") / "checkpoints" / "step_1" / "model.safetensors")
    teacher = sum(tensor.numel() * tensor.element_size() for tensor in network.values())
    assert footprints["fine-tuning"].total == 0
    assert (footprints["lwf"].exemplars, footprints["lwf"].teacher) == (0, teacher)
    assert footprints["av-cil"].exemplars == 6 * 1 * CLIP
    assert footprints["av-cil"].teacher == teacher
    assert footprints["joint"].total == 6 * 8 * CLIP
    report = read_json(run(out, "blade") / "checkpoints" / "step_1" / "state.json")["report"]
    assert footprints["blade"].total == footprints["blade"].statistics == report["bytes"]


def test_files_of_the_frontier(out: Path) -> None:
    """One row per method and number of exemplars; the chart is also in the HTML table."""
    with open(out / "frontier.csv", newline="") as file:
        rows = list(csv.DictReader(file))
    names = [row["row"] for row in rows]
    assert len(names) == 6
    assert sum(name.startswith("av-cil") for name in names) == 2
    sizes = [float(row["exemplars"]) for row in rows if row["row"].startswith("av-cil")]
    assert sizes == [6 * CLIP, 12 * CLIP]
    assert all(0 < float(row["seconds_learning"]) < float(row["seconds"]) for row in rows)
    assert (out / "frontier.png").read_bytes().startswith(b"\x89PNG")
    assert "<svg" in (out / "table.html").read_text()
    assert "stored between steps" in (out / "frontier.svg").read_text()


def point(row: str, accuracy: float, cost: float, entry: str = "x") -> Point:
    value = MeanStd(mean=accuracy, std=None, n=1)
    plain = {
        "condition": "",
        "dataset": "d",
        "modality": "audio",
        "exemplars": cost,
        "teacher": 0,
        "statistics": 0,
        "seconds": 1,
        "learning": None,
    }
    return Point(row=row, entry=entry, accuracy=value, bytes=cost, **plain)


@pytest.mark.parametrize("costs", [(0.95e6, 1.2e6), (0.9e6, 2.1e6), (1e4, 3e6), (1e3, 1e9)])
def test_labels_of_the_axis_are_numbers(costs: tuple[float, float], tmp_path: Path) -> None:
    """Some ticks have a label, whatever the range, and none mixes numbers with powers of 10."""
    svg = _draw([point("a", 0.5, costs[0], entry="a"), point("b", 0.6, costs[1], entry="b")], tmp_path)
    left = svg.split("stored between steps")[0]
    labels = [float(text) for text in re.findall(r"<text[^>]*>([0-9.e+-]+)</text>", left)]
    assert sum(costs[0] / 2e6 <= label <= costs[1] / 5e5 for label in labels) >= 2
    assert "times" not in svg
    assert "×" not in svg


def test_pareto_front() -> None:
    """Each point is better than all points of at most its cost; the upper bound is excluded."""
    result = [point("dear", 0.5, 9), point("best", 0.9, 5), point("cheap", 0.2, 1), point("tie", 0.9, 5)]
    result += [point("bound", 1.0, 0, entry="joint"), point("worse", 0.1, 1)]
    assert [each.row for each in pareto_front(result, "bytes")] == ["cheap", "best"]
