"""Tables have the right values, and each format can be parsed back to the same cells."""

from __future__ import annotations

import re
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest

from avcil.experiments.method_specs import parse_method_spec
from avcil.experiments.plan import Plan, PlannedRun
from avcil.experiments.render import as_html, as_latex, as_markdown, as_text
from avcil.experiments.results import DatasetResults, FinishedRun, Group
from avcil.experiments.tables import (
    ResultTable,
    Section,
    make_sections,
    metric_table,
    significance_table,
    step_table,
)
from avcil.runs.records import Results
from avcil.training.config import TrainConfig

TRICKY = ResultTable(
    title="A & B_c (%)",
    header=("method", "audio", "audio-visual"),
    rows=(("a|b_c*", "1.00 ± 0.50", "2.00"), ("x\\y <z> {q} #1~^", "–", "< 0.001")),
    best=frozenset({(0, 2)}),
)
SECTION = Section(title="my_store & co", tables=(TRICKY,), notes=("50 % of it.",))


def group(row: str, values: list[float], *, modality: str = "audio", planned: int | None = None) -> Group:
    """The runs of a row with given average accuracies, seeds from 0."""
    runs = []
    for seed, value in enumerate(values):
        config = TrainConfig(features=Path("s"), out=Path("o"), classes_per_step=2)
        run = PlannedRun(
            name=f"{row}-{seed}",
            dataset="d",
            row=row,
            entry=parse_method_spec(row),
            condition="",
            modality=modality,
            seed=seed,
            class_order_seed=None,
            config=config,
        )
        results = Results(
            method="",
            modality=modality,
            seed=run.seed,
            average_incremental_accuracy=value,
            last_accuracy=value,
            forgetting=1 - value,
            mean_forgetting=1 - value,
            accuracy_per_step=[value, value / 2],
            seconds=0.0,
        )
        runs.append(FinishedRun(run=run, results=results))
    return Group(
        row=row,
        entry=row,
        condition="",
        modality=modality,
        planned=planned or len(values),
        runs=tuple(runs),
    )


def dataset_results(*groups: Group) -> DatasetResults:
    """A dataset of two modalities."""
    return DatasetResults(dataset="d", modalities=("audio", "visual"), groups=groups)


def test_cells_are_mean_and_standard_deviation() -> None:
    """0.6, 0.7, 0.8 give 70 ± 10, with n - 1 in the deviation; empty cells have a dash or a note."""
    table = metric_table(
        dataset_results(
            group("lwf", [0.6, 0.7, 0.8]), group("av-cil", [0.9], planned=3), group("joint", [], planned=2)
        ),
        "average_incremental_accuracy",
    )
    assert table.rows == (
        ("lwf", "70.00 ± 10.00", "–"),
        ("av-cil", "90.00 (1 of 3 runs)", "–"),
        ("joint", "not finished", "–"),
    )


def test_best_value_is_marked() -> None:
    """Highest accuracy and lowest forgetting are marked; the upper bound, joint training, is excluded."""
    both = dataset_results(group("lwf", [0.6, 0.7]), group("av-cil", [0.7, 0.8]), group("joint", [0.9, 0.9]))
    assert metric_table(both, "average_incremental_accuracy").best == {(1, 1)}
    assert metric_table(both, "mean_forgetting").best == {(1, 1)}


@pytest.mark.parametrize(
    ("values", "message"),
    [
        (
            [0.5],
            "One run of each (seed 0): a single run cannot separate seed noise from a real difference. "
            "Give more --seeds.",
        ),
        ([0.5, 0.6], "Mean ± sample standard deviation over 2 runs (seeds 0, 1)."),
    ],
)
def test_notes_on_the_number_of_runs(values: list[float], message: str) -> None:
    """With one run there is no standard deviation, and a note on this."""
    own = group("lwf", values)
    runs = tuple(measured.run for measured in own.runs)
    plan = Plan(study="comparison", datasets=(), modalities=("audio",), runs=runs, left_out=())
    assert make_sections(plan, [dataset_results(own)])[0].notes == (message,)


def test_step_table_has_one_column_per_step() -> None:
    """Accuracy after each step, as in results.json."""
    table = step_table(dataset_results(group("lwf", [0.5, 0.5])))
    assert table.header == ("method", "modality", "step 1", "step 2")
    assert table.rows == (("lwf", "audio", "50.00 ± 0.00", "25.00 ± 0.00"),)


def test_significance_of_paired_runs() -> None:
    """Differences to AV-CIL of 0.1, 0.2, 0.3 in three pairs: mean 20 points, exact p 0.25, doubled by Holm."""
    table = significance_table(
        dataset_results(
            group("lwf", [0.5, 0.5, 0.5]),
            group("ss-il", [0.8, 0.7, 0.6]),
            group("av-cil", [0.6, 0.7, 0.8]),
            group("joint", [0.9, 0.9, 0.9]),
        )
    )
    assert [row[0] for row in table.rows] == ["av-cil – lwf", "av-cil – ss-il"]
    assert table.rows[0][1:4] == ("audio", "3", "+20.00")
    assert table.rows[0][5:] == ("0.250", "0.500", "exact sign-flip")
    assert table.rows[0][4] == "-4.84 to +44.84"  # 20 ± 4.303 * 10 / sqrt(3)
    assert table.rows[1][3] == "+0.00"


def test_only_shared_seeds_are_paired() -> None:
    """A failed run reduces the number of pairs n; without AV-CIL, the best row is the reference."""
    table = significance_table(
        dataset_results(group("lwf", [0.5, 0.5, 0.5]), group("ss-il", [0.6, 0.7], planned=3))
    )
    assert table.rows[0][:3] == ("ss-il – lwf", "audio", "2")


def test_text_is_aligned() -> None:
    """No line of a table is wider than its rule, and all cells are present."""
    lines = as_text([SECTION]).splitlines()
    rule = next(line for line in lines if line.startswith("─"))
    start = lines.index(rule)
    assert re.split(r"\s{2,}", lines[start + 1].strip()) == list(TRICKY.rows[0])
    assert all(len(line) <= len(rule) for line in lines[start - 1 : start + 3])


def test_markdown_can_be_parsed() -> None:
    """Splitting at unescaped bars gives the cells."""
    lines = [line for line in as_markdown([SECTION]).splitlines() if line.startswith("|")]
    assert lines[1] == "| --- | ---: | ---: |"
    cells = [[cell.strip() for cell in re.split(r"(?<!\\)\|", line)[1:-1]] for line in (lines[0], *lines[2:])]
    assert cells[1][2] == "**2.00**"
    plain = [[re.sub(r"\\([\\|*_<`])", r"\1", cell.replace("**", "")) for cell in row] for row in cells]
    assert [tuple(row) for row in plain] == [TRICKY.header, *TRICKY.rows]


def test_latex_can_be_parsed() -> None:
    """The cells are between the rules of booktabs, special characters are escaped, the best value is bold."""
    text = as_latex([SECTION])
    assert text.count(r"\begin{tabular}{lrr}") == text.count(r"\end{tabular}") == 1
    assert r"\caption{my\_store \& co. A \& B\_c (\%).}" in text
    body = text.split("\\midrule\n")[1].split("\\bottomrule")[0].strip()
    rows = [re.split(r"(?<!\\) & ", line.removesuffix(r" \\")) for line in body.splitlines()]
    assert rows[0][1:] == [r"1.00 $\pm$ 0.50", r"\textbf{2.00}"]
    words = {
        r"\textbackslash{}": "\\", r"\textasciitilde{}": "~", r"\textasciicircum{}": "^",
        "$<$": "<", "$>$": ">", r"\{": "{", r"\}": "}", r"\#": "#", r"\_": "_",
    }  # fmt: skip
    first = rows[1][0]
    for escaped, char in words.items():
        first = first.replace(escaped, char)
    assert first == TRICKY.rows[1][0]
    # Without escaped braces, braces are balanced.
    bare = re.sub(r"\\[{}]", "", text)
    assert bare.count("{") == bare.count("}")


class _Cells(HTMLParser):
    """Rows of cells of a page, and which texts are bold."""

    def __init__(self) -> None:
        super().__init__()
        self.rows: list[list[str]] = []
        self.strong: list[str] = []
        self.stack: list[str] = []

    def handle_starttag(self, tag: str, attrs: object) -> None:
        if tag not in ("meta", "br"):
            self.stack.append(tag)
        if tag == "tr":
            self.rows.append([])
        if tag in ("td", "th"):
            self.rows[-1].append("")

    def handle_endtag(self, tag: str) -> None:
        assert self.stack.pop() == tag

    def handle_data(self, data: str) -> None:
        if {"td", "th"} & set(self.stack):
            self.rows[-1][-1] += data
        if "strong" in self.stack:
            self.strong.append(data)


def test_html_can_be_parsed() -> None:
    """Elements nest, texts are escaped, and there are no external resources."""
    page = as_html([SECTION], title="a <b>")
    parser = _Cells()
    parser.feed(page)
    assert parser.stack == []
    assert [tuple(row) for row in parser.rows] == [TRICKY.header, *TRICKY.rows]
    assert parser.strong == ["2.00"]
    assert "<b>" not in page
    assert not re.search(r"https?://|<script|<link", page)


@pytest.mark.parametrize("values", [[0.5, 0.5, 0.5], [0.0], [1.0, 1.0]])
def test_no_negative_zero(values: list[float]) -> None:
    """Rounding gives no -0.00 in a table."""
    both = dataset_results(group("lwf", values), group("av-cil", [np.nextafter(v, -1) for v in values]))
    tables = significance_table(both), metric_table(both, "mean_forgetting")
    assert not any("-0.00" in cell for table in tables for row in table.rows for cell in row)
