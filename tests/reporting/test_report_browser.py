"""The report in a real browser, with the widths of a desktop and a phone, in light and dark mode."""

import re
from pathlib import Path

import pytest

from avcil.reporting.report import write_report
from avcil.runs.run_files import read_run

pytestmark = pytest.mark.browser
DIFFERENT = {
    "steps": 3,
    "batch_size": 32,
    "exemplar_batch_size": 16,
    "exemplars_per_class": 5,
    "selection": "last",
}


def open_page(browser, file: Path, width: int, scheme: str):
    """The page at a width, with its console messages and requests."""
    page = browser.new_page(viewport={"width": width, "height": 900}, color_scheme=scheme)
    seen: list[str] = []
    page.on("console", lambda message: seen.append(f"console: {message.text}"))
    page.on("pageerror", lambda error: seen.append(f"error: {error}"))
    page.on("request", lambda request: seen.append(f"request: {request.url}"))
    page.goto(file.as_uri())
    outside = [entry for entry in seen if not re.match(r"request: (file|data):", entry)]
    return page, outside


@pytest.mark.slow
def test_page_fits_and_sorts(chromium, make_run, tmp_path):
    """No horizontal scrolling, errors or requests; class tables can be sorted in both directions."""
    runs = [
        read_run(make_run("a", steps=17, epochs=4)),
        read_run(make_run("b", method="joint", steps=17, epochs=4)),
    ]
    out = tmp_path / "report.html"
    write_report(runs, out)
    for width, scheme in ((1280, "light"), (375, "dark")):
        page, outside = open_page(chromium, out, width, scheme)
        assert outside == []
        page.evaluate("document.querySelectorAll('details').forEach((part) => { part.open = true; })")
        assert page.evaluate("document.documentElement.scrollWidth") <= width
        _check_sorting(page)
        page.close()


@pytest.mark.slow
def test_long_names_do_not_hide_the_results(chromium, make_run, tmp_path):
    """The table of runs that differ in several settings, with long folder names, is not wider than the page."""
    runs = [
        read_run(make_run(f"words51-noisy.av-cil.seed-{seed}.size-{size}", seed=seed, **settings))
        for size, settings in {"small": {}, "large": DIFFERENT}.items()
        for seed in (0, 1)
    ]
    write_report(runs, tmp_path / "report.html")
    page, _ = open_page(chromium, tmp_path / "report.html", 1200, "light")
    box = page.locator(".scroll:has(table.runs)").first
    assert box.evaluate("box => box.scrollWidth - box.clientWidth") <= 1
    page.close()


def _check_sorting(page) -> None:
    table = page.locator("table.sortable").first
    accuracies = "rows => rows.map((row) => Number(row.cells[3].dataset.v))"
    names = "rows => rows.map((row) => row.cells[0].textContent)"
    rows = table.locator("tbody tr")
    before = rows.evaluate_all(names)
    button = table.get_by_role("button", name="Accuracy")
    button.click()
    values = rows.evaluate_all(accuracies)
    assert values == sorted(values)
    button.click()
    values = rows.evaluate_all(accuracies)
    assert values == sorted(values, reverse=True)
    assert table.locator("th[aria-sort=descending]").count() == 1
    table.get_by_role("button", name="Class").click()
    after = rows.evaluate_all(names)
    assert sorted(after) == sorted(before)
    assert after != before
