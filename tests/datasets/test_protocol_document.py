"""docs/protocol.md has the numbers and names of the code."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from avcil.datasets.protocols import MODALITIES, PROTOCOLS
from avcil.experiments.method_specs import VARIANTS
from avcil.runs.metrics import all_metrics

PAGE = (Path(__file__).parents[2] / "docs" / "protocol.md").read_text(encoding="utf-8")
BENCHMARKS = ("ave-ci", "ks-ci", "vs100-ci")


def cells(row: str) -> list[str]:
    """The cells of the table's row whose first cell is `row`."""
    result = re.search(rf"^\| {re.escape(row)} \|(.*)\|$", PAGE, re.MULTILINE)
    assert result, row
    return [cell.strip() for cell in result[1].split(" | ")]


@pytest.mark.parametrize("place", range(3))
def test_protocol(place):
    """Classes, clips, memory and epochs."""
    p = PROTOCOLS[BENCHMARKS[place]]
    assert cells("classes / per step / steps")[place] == f"{p.classes} / {p.classes_per_step} / {p.steps}"
    clips = " / ".join(str(p.clips[split]) for split in ("train", "val", "test"))
    assert cells("train / val / test clips")[place] == clips
    assert cells("exemplars in total")[place] == str(p.exemplars)
    for method, epochs in p.epochs.items():
        assert cells(method)[place] == " / ".join(str(epochs.get(name, "–")) for name in MODALITIES)


def test_leak_free():
    """The number of clips in the leak-free benchmark."""
    stay = PROTOCOLS["vs100-ci-leak-free"].clips
    assert f"{stay['test']:,} test and" in PAGE.replace("\n", " ")
    assert f"{stay['val']:,} validation clips stay" in PAGE.replace("\n", " ")


def test_metrics():
    """Every metric by its name, with its value in the example."""
    nan = float("nan")
    R = [[60, nan, nan, nan], [70, 80, nan, nan], [65, 85, 90, nan], [75, 50, 70, 88]]
    table = "\n".join(line for line in PAGE.splitlines() if line.startswith("| `"))
    for name, value in all_metrics(R, [100, 100, 100, 50]).items():
        assert f"`{name}`" in table
        if isinstance(value, float):
            assert f"{value:.2f}".replace("-", "−") in table, name


def test_variants():
    """The rows of benchmark variants that the page names."""
    names = re.findall(r"`((?:av-cil|icarl|afc)-[a-z0-9-]+)`", PAGE)
    assert names, "the page names variants"
    for name in names:
        assert name in VARIANTS or name.startswith("av-cil-script"), name
