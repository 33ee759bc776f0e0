"""Grouping of runs, and their table."""

import numpy as np
import pytest

from avcil.reporting.table import mean_std_text, shown_steps, summary_table
from avcil.runs.groups import MeanStd, group_runs
from avcil.runs.run_files import read_run


def test_only_seeds_are_averaged(make_run):
    """Runs that differ only in the seed and the path of their features are one group."""
    runs = [read_run(make_run(f"r{s}", seed=s)) for s in (2, 0, 1)]
    runs.append(read_run(make_run("other", learning_rate=0.01)))
    groups = group_runs(runs)
    assert [group.seeds for group in groups] == [[0, 1, 2], [0]]
    assert [group.difference for group in groups] == ["learning rate 0.001", "learning rate 0.01"]
    values = [run.average_incremental_accuracy for run in runs[:3]]
    result = groups[0].mean_std("average_incremental_accuracy")
    assert result.mean == pytest.approx(sum(values) / 3)
    assert result.std == pytest.approx(np.sqrt(sum((v - sum(values) / 3) ** 2 for v in values) / 2))
    assert groups[1].mean_std("average_incremental_accuracy").std is None


def test_terminal_table(make_run):
    """One aligned row per experiment; at most six steps."""
    runs = [read_run(make_run(f"a{s}", seed=s, steps=9, epochs=1)) for s in (0, 1)]
    runs.append(read_run(make_run("joint", method="joint", steps=9, epochs=1)))
    text = summary_table(runs)
    lines = text.splitlines()
    assert len(lines) == 4
    assert lines[0].split("  ")[0].strip() == "method"
    assert len({len(line) for line in (lines[0], *lines[2:])}) == 1
    assert "step 9" in lines[0]
    assert lines[0].count("step") == 6
    assert mean_std_text(group_runs(runs)[0].mean_std("average_incremental_accuracy")) in lines[2]
    assert "±" in lines[2]
    assert "±" not in lines[3]


def test_number_format():
    """Percent with one digit, no negative zero, a dash for undefined values."""
    assert mean_std_text(MeanStd(mean=-0.0001, std=None, n=1)) == "0.0"
    assert mean_std_text(None) == "–"
    assert shown_steps(3) == [0, 1, 2]
    assert shown_steps(100)[-1] == 99


def test_one_step_has_no_forgetting(make_run):
    """Undefined forgetting is a dash."""
    row = summary_table([read_run(make_run(steps=1))]).splitlines()[-1]
    assert row.endswith(" –")
