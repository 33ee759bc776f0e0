"""Paired tests of a method against all others, from the results of `avcil reproduce`.

    python benchmarks/paired_tests.py RUNS... [--method blade]

RUNS are output folders with the same methods, one for each data set; a pair is one class order of one data set. For the
last and for the average accuracy, it prints the number of pairs in which the method is better, the mean difference of
each data set in percentage points with its 95 % confidence interval (paired t), and p of Wilcoxon's signed-rank test
over all pairs, adjusted for the number of methods (Holm).
"""

from __future__ import annotations

import argparse
import csv
from pathlib import Path

from scipy.stats import wilcoxon

from avcil.experiments.significance import holm, paired_test

METRICS = ("last_accuracy", "average_incremental_accuracy")


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("runs", type=Path, nargs="+")
    parser.add_argument("--method", default="blade")
    options = parser.parse_args()
    tables = [read(path / "results.csv") for path in options.runs]
    for metric in METRICS:
        print(metric)
        print_tests(tables, options.method, metric)


def read(path: Path) -> dict[str, dict[str, dict[str, str]]]:
    """Rows of results.csv, by method and by seed and class order."""
    rows: dict[str, dict[str, dict[str, str]]] = {}
    with path.open(newline="") as file:
        for row in csv.DictReader(file):
            rows.setdefault(row["row"], {})[f"{row['seed']}.{row['class_order_seed']}"] = row
    return rows


def print_tests(tables: list[dict], method: str, metric: str) -> None:
    """One line for each other method, the best first."""
    found = []
    for other in sorted(set.intersection(*map(set, tables)) - {method}):
        by_table = [
            [
                100 * (float(table[method][run][metric]) - float(row[metric]))
                for run, row in table[other].items()
            ]
            for table in tables
        ]
        pairs = [value for values in by_table for value in values]
        tests = [paired_test(values) for values in by_table]
        found.append((sum(pairs) / len(pairs), other, pairs, tests, float(wilcoxon(pairs).pvalue)))
    for (mean, other, pairs, tests, _), p in sorted(
        zip(found, holm([test[-1] for test in found]), strict=True), key=lambda pair: pair[0][0]
    ):
        intervals = "  ".join(f"{test.mean:5.1f} ({test.low:.1f} to {test.high:.1f})" for test in tests)
        better = f"{sum(value > 0 for value in pairs)}/{len(pairs)}"
        print(f"{other:<28} better in {better}  mean {mean:5.1f}  Holm p {p:.1g}  {intervals}")


if __name__ == "__main__":
    main()
