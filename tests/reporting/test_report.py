"""The report file: complete, escaped, deterministic and small; and parts of its charts."""

import re
from html.parser import HTMLParser
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from avcil.errors import InputError
from avcil.inference.attention_example import AttentionExample
from avcil.inference.contribution_table import ContributionRow, ContributionTable
from avcil.reporting import attention, report
from avcil.reporting.attention import ExplainedRun
from avcil.reporting.contribution_figure import contribution_figure
from avcil.reporting.svg import nice_ticks, spread_out
from avcil.runs.run_files import read_run

VOID = {"meta", "img", "br", "link", "input", "hr"}


class Checker(HTMLParser):
    """Collects texts, tags and attributes, and checks that elements nest."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.texts: list[str] = []
        self.tags: list[tuple[str, dict]] = []
        self.feed(page)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        self.texts.append(data)


def example(slices=4, label="dog/bark 🐕", predicted="rain, heavy"):
    """A synthetic attention example."""
    generator = np.random.default_rng(slices)
    return AttentionExample(
        clip_id="<i>clip</i>.mp4", label=label, predicted=predicted, probability=0.7,
        frames=[generator.integers(0, 255, (60, 80, 3), dtype=np.uint8) for _ in range(slices)],
        frame_times=[0.5 + t for t in range(slices)],
        spatial=generator.random((slices, 3, 4)), temporal=np.full(slices, 1 / slices),
        waveform=generator.normal(0, 0.1, 8000).astype(np.float32), sample_rate=8000,
    )  # fmt: skip


def explained(*examples):
    """A run with examples, one by default."""
    return ExplainedRun(examples=examples or [example()])


def table(kind="additive"):
    """Contributions of two modalities and the encoders of one."""
    values = {"audio": -1.5, "log-mel": 0.5, "<i>yam</i>": -2.0, "visual": 3.0, "bias term": 0.25}
    rows = [
        ContributionRow(name=name, value=value, is_encoder=name in ("log-mel", "<i>yam</i>"))
        for name, value in values.items()
    ]
    return ContributionTable(label="dog", second="<b>cat", difference=1.75, kind=kind, rows=rows)


def test_report_of_many_runs(make_run, tmp_path):
    """Every run, class name and value is in the page, names as text and never as markup."""
    runs = [read_run(make_run(f"s{s}", seed=s)) for s in (0, 1)]
    runs += [read_run(make_run(m, method=m, modality="audio")) for m in ("joint", "fine-tuning")]
    out = tmp_path / "deep" / "report.html"
    report.write_report(runs, out, explained=[ExplainedRun(record=runs[0], examples=[example()])])
    page = out.read_text(encoding="utf-8")
    checker = Checker(page)
    for name in runs[0].step_of_class:
        assert any(text.strip() == name for text in checker.texts), name
    assert not {tag for tag, _ in checker.tags} & {"b>", "link", "iframe"}
    assert "<b>bold" not in page
    assert "<i>clip" not in page
    assert sum(tag == "details" and attrs["class"] == "run" for tag, attrs in checker.tags) == 4
    assert any("predicted: rain, heavy" in text for text in checker.texts)
    assert any("av-cil, audio-visual, seed 0" in text for text in checker.texts)


def test_no_external_resources(make_run, tmp_path):
    """All URLs are data URIs, and a content security policy forbids others."""
    page = report.report_page([read_run(make_run())], [explained()])
    sources = [v for _, attrs in Checker(page).tags for k, v in attrs.items() if k in ("src", "href")]
    assert sources
    assert all(source.startswith("data:image/png;base64,") for source in sources)
    assert "http" not in page.replace("http-equiv", "")
    assert "url(" not in page
    assert "@import" not in page
    assert "default-src 'none'" in page


def test_report_is_deterministic(make_run, tmp_path):
    """The page has no time and no random value."""
    folder = make_run()
    pages = [report.report_page([read_run(folder)], [explained()]) for _ in range(2)]
    assert pages[0] == pages[1]


def test_images_have_text_alternatives(make_run):
    """Every image and chart has a text alternative."""
    tags = Checker(report.report_page([read_run(make_run())], [explained()])).tags
    assert all(len(attrs["alt"]) > 10 for tag, attrs in tags if tag == "img")
    assert all(len(attrs["aria-label"]) > 20 for tag, attrs in tags if tag == "svg")
    assert all("scope" in attrs for tag, attrs in tags if tag == "th")


@pytest.mark.parametrize(
    "options", [{"steps": 1}, {"steps": 2, "epochs": 1}, {"steps": 2, "classes": 60, "clips": 2}]
)
def test_unusual_shapes(make_run, options):
    """One step, one epoch, more than a hundred classes."""
    page = report.report_page([read_run(make_run(**options))])
    Checker(page)
    assert "NaN" not in page
    assert "nan" not in re.sub(r"<script>.*</script>", "", page, flags=re.S).split()


def test_note_on_runs_without_epochs(make_run):
    """A run without epochs has a note instead of loss curves."""
    folder = make_run()
    (folder / "metrics.jsonl").unlink()
    assert "closed-form solution" in report.report_page([read_run(folder)])


def test_warning_about_different_benchmarks(make_run):
    """The page has a note that metrics of different benchmarks are not comparable."""
    page = report.report_page([read_run(make_run("a")), read_run(make_run("b", steps=3, method="joint"))])
    assert "not comparable" in page


def test_content_over_the_limits_is_left_out(make_run, monkeypatch):
    """It is replaced by a note."""
    runs = [read_run(make_run(f"s{s}", seed=s)) for s in range(3)]
    whole = report.report_page(runs)
    monkeypatch.setattr(report, "MAX_BYTES", len(whole.encode()) - 1000)
    page = report.report_page(runs)
    assert "details are omitted for: av-cil, audio-visual, seed 2" in page
    one = len(attention.attention_section([("", explained())]))
    monkeypatch.setattr(attention, "MAX_BYTES", int(2.5 * one))
    page = report.report_page(runs, [ExplainedRun(examples=[example() for _ in range(5)])])
    assert "Not all clips are shown: 3 more would exceed the size limit of the page." in page


def test_size_with_many_classes_and_runs(make_run):
    """Nine runs of 51 classes are far below the limit."""
    runs = [
        read_run(make_run(f"{m}{s}", method=m, seed=s, steps=17, epochs=40))
        for m in ("av-cil", "joint", "fine-tuning")
        for s in range(3)
    ]
    page = report.report_page(runs)
    assert len(page.encode()) < 2_000_000
    assert "omitted" not in page


def test_note_without_examples(make_run):
    """A note gives the reason for missing attention maps; without examples or a note there is no section."""
    run = read_run(make_run())
    page = report.report_page([run], [ExplainedRun(record=run, note="the clips <moved>")])
    assert "No clip is shown: the clips &lt;moved&gt;." in page
    assert 'id="attention"' not in report.report_page([run])


def test_invalid_output(make_run, tmp_path):
    """A folder as the destination, and no runs."""
    with pytest.raises(InputError, match="is a folder"):
        report.write_report([read_run(make_run())], tmp_path)
    with pytest.raises(InputError, match="one run or more"):
        report.report_page([])


def test_examples_are_checked():
    """The numbers of frames, times and weights must be equal."""
    one = example()
    with pytest.raises(InputError, match="4 frames need as many times"):
        AttentionExample(**{**one.__dict__, "temporal": np.ones(3)})


def test_long_examples_show_some_frames():
    """Of many slices, some frames and all weights are shown."""
    section = attention.attention_section([("", explained(example(slices=24)))])
    assert section.count('<img alt="Frame') == attention.MAX_FRAMES
    assert section.count('class="plot"') == 24


def test_temporal_weights_are_drawn_as_differences():
    """24% and 27%, with 25% for uniform weights, have bars in opposite directions, and their numbers."""
    one = example()
    weights = np.array([0.24, 0.27, 0.25, 0.24])
    section = attention.attention_section(
        [("", explained(AttentionExample(**{**one.__dict__, "temporal": weights})))]
    )
    assert '<i class="down" style="--v:0.500"></i></span><b>24.0 %</b><small>-1.0</small>' in section
    assert '<i class="up" style="--v:1.000"></i></span><b>27.0 %</b><small>+2.0</small>' in section


def test_rounded_zero_has_no_minus_sign():
    """24.97% instead of 25% is written as +0.0."""
    one = example()
    weights = np.array([0.2497, 0.2503, 0.25, 0.25])
    section = attention.attention_section(
        [("", explained(AttentionExample(**{**one.__dict__, "temporal": weights})))]
    )
    assert "-0.0<" not in section


def test_contributions_start_at_zero():
    """Positive bars go to the right and negative ones to the left, in one scale."""
    drawn = contribution_figure(table())
    Checker(drawn)
    assert '<i class="down" style="left:10.0%;width:30.0%"></i></span><b>-1.50</b>' in drawn
    assert '<i class="up" style="left:40.0%;width:60.0%"></i></span><b>+3.00</b>' in drawn
    assert "<b>+1.75</b>" in drawn
    assert "add up to the score difference" in drawn
    assert "<b>cat" not in drawn
    assert "<i>yam" not in drawn


def test_note_on_contributions_that_do_not_add_up():
    """Ablation is not presented as a sum."""
    assert "do not add up" in contribution_figure(table("ablation"))


def test_missing_contributions_are_noted():
    """For a single input, or a single class."""
    nothing = ContributionTable(label="dog", second="cat", difference=1.0, kind=None, rows=[])
    assert "no contributions to compare" in contribution_figure(nothing)
    alone = ContributionTable(label="dog", second="dog", difference=0.0, kind="additive", rows=table().rows)
    assert "one class" in contribution_figure(alone)


def test_report_has_contributions_of_each_run(make_run):
    """Examples have the name of the run; the kind of contributions is explained once per run."""
    runs = [read_run(make_run(m, method=m)) for m in ("av-cil", "joint")]
    of_run = {"av-cil": "ablation", "joint": "additive"}
    groups = [
        ExplainedRun(
            record=run,
            examples=[AttentionExample(**{**example().__dict__, "contributions": table(of_run[run.method])})]
            * 2,
        )
        for run in runs
    ]
    page = report.report_page(runs, groups)
    Checker(page)
    assert page.count('<ul class="contributions">') == 4
    assert page.count("do not add up") == page.count("add up to the score difference.") - 1 == 1
    section = page[page.index('id="attention"') :]
    assert section.index("<h3>av-cil, audio-visual</h3>") < section.index("<h3>joint, audio-visual</h3>")


@given(st.lists(st.floats(0, 300), min_size=1, max_size=14))
@settings(deadline=None, max_examples=50)
def test_labels_never_overlap(places):
    """Moved labels keep their distance and remain in the chart."""
    moved = sorted(spread_out(places, gap=17, low=0, high=300))
    assert all(b - a >= 17 - 1e-6 for a, b in pairwise(moved))
    assert moved[0] >= 0
    assert moved[-1] <= 300 + 1e-6


@given(st.floats(-1e3, 1e3), st.floats(1e-6, 1e3))
@settings(deadline=None, max_examples=50)
def test_ticks_cover_their_range(low, span):
    """The ticks include the range, and their number is limited."""
    ticks = nice_ticks(low, low + span)
    assert ticks[0] <= low + 1e-6 * span + 1e-9
    assert ticks[-1] >= low + span * (1 - 1e-6) - 1e-9
    assert 2 <= len(ticks) <= 8


def luminance(color: str) -> float:
    """WCAG relative luminance of #rrggbb."""
    channels = [int(color[i : i + 2], 16) / 255 for i in (1, 3, 5)]
    linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in channels]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


def contrast(a: str, b: str) -> float:
    """WCAG contrast of two colors."""
    high, low = sorted((luminance(a), luminance(b)), reverse=True)
    return (high + 0.05) / (low + 0.05)


def test_contrast_of_every_text_color():
    """Text colors have a contrast of at least 4.5 in light and dark mode."""
    from avcil.reporting.report_tables import FLIPS

    style = (Path(report.__file__).parent / "assets" / "report.css").read_text()
    light, dark = (
        dict(re.findall(r"(--[\w]+): (#\w{6})", block))
        for block in re.findall(r":root \{(.*?)\}", style, re.S)[:2]
    )
    for palette, plain, flipped, flip in (
        (light, "#000000", "#ffffff", FLIPS["flip-light"]),
        (dark, "#ffffff", "#000000", FLIPS["flip-dark"]),
    ):
        for name in ("--ink", "--soft", "--accent", "--warm", *(f"--c{i}" for i in range(8))):
            assert contrast(palette[name], palette["--page"]) >= 4.5, name
        for strength in np.linspace(0, 1, 101):
            parts = [
                round(
                    strength * int(palette["--accent"][i : i + 2], 16)
                    + (1 - strength) * int(palette["--wash"][i : i + 2], 16)
                )
                for i in (1, 3, 5)
            ]
            cell = "#" + "".join(f"{part:02x}" for part in parts)
            assert contrast(cell, flipped if strength >= flip else plain) >= 4.4, strength
