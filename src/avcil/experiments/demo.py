"""The whole path in minutes: render clips, scan, extract, train, compare, report, predict.

Sixteen classes in four steps, a new sound at each. A clip shows three things that move, one of which sounds; which one
it is shows only in the motion that goes with the sound, so neither sound nor picture alone tells the class.
"""

from __future__ import annotations

import functools
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from avcil.data.clips import read_clips, write_clips
from avcil.data.scan import scan
from avcil.datasets.synthetic.clips import render_demo_clips
from avcil.datasets.synthetic.scene import demo_class_names
from avcil.errors import AvcilError
from avcil.experiments.runner import LocalRunner
from avcil.extraction.extract import extract
from avcil.inference.explained_clips import explained_clips
from avcil.inference.recognizer import Recognizer
from avcil.models.base import Modality
from avcil.reporting.attention import ExplainedRun
from avcil.reporting.report import write_report
from avcil.reporting.table import summary_table
from avcil.runs.run_files import RunRecord, read_run
from avcil.training.config import TrainConfig
from avcil.utils.cores import available_cores
from avcil.utils.files import write_json
from avcil.utils.progress import PhaseProgress, duration

CLASSES_PER_STEP = 4
MEMORY_PER_CLASS = 4
AV_CIL_OPTIONS = ("lambda_instance=0.1",)
"""The release's weight for its two larger benchmarks, better than AVE's 0.5 on the validation clips here too."""
RUNS: tuple[tuple[str, Modality], ...] = (
    ("fine-tuning", "audio-visual"),
    ("av-cil", "audio-visual"),
    ("blade", "audio-visual"),
    ("joint", "audio-visual"),
    ("joint", "audio"),
    ("joint", "visual"),
)
EXPLAINED = ("av-cil", "blade")
LONGEST = ("joint", "audio-visual")
SUMMARY_METRICS = ("average_incremental_accuracy", "last_accuracy", "mean_forgetting", "seconds")


def demo(
    out: Path,
    *,
    seed: int,
    epochs: int,
    clips_per_class: Mapping[str, int] | None = None,
    say: Callable[[str], None] = print,
) -> list[dict[str, Any]]:
    """Run everything under `out`, going on where an earlier call stopped, and return what summary.json holds.

    `clips_per_class`: how many to render of each split, where not as many as `render_demo_clips` does by itself.
    Leaves clips/, clips.csv, features/, one run directory a method and modality, report.html and summary.json.
    """
    began = time.monotonic()
    out = Path(out)
    say("1. Rendering clips of things that move and sound")
    _render(out / "clips", seed, clips_per_class or {})
    say("2. Scanning them (avcil scan)")
    write_clips(out / "clips.csv", scan(out / "clips").clips)
    say("3. Extracting features (avcil extract)")
    say("   " + extract(read_clips(out / "clips.csv"), out / "features").text())
    say("4. Training, several runs at once (avcil train)")
    records = _train(out, seed=seed, epochs=epochs, say=say)
    say("\n" + summary_table(records))
    say(_reading_of(records))
    summary = [_summary(record) for record in records]
    write_json(out / "summary.json", summary)
    explained = []
    for record in (r for r in records if r.modality == "audio-visual" and r.method in EXPLAINED):
        examples, note = explained_clips(record.folder, 4)
        explained.append(ExplainedRun(record=record, examples=examples, note=note))
    write_report(
        records,
        out / "report.html",
        explained=explained,
        title="Class-incremental learning: rendered clips of moving objects with sound",
    )
    say("")
    _predict(out, say)
    say(f"\nThe report is {out / 'report.html'}, the figures are in {out / 'summary.json'}.")
    say(
        f"All of it took {duration(time.monotonic() - began)}. "
        "Next, with clips of your own: avcil scan FOLDER --out clips.csv"
    )
    return summary


def _render(folder: Path, seed: int, clips_per_class: Mapping[str, int]) -> None:
    show = functools.partial(PhaseProgress(), "rendering clips")
    render_demo_clips(folder, seed=seed, on_progress=show, **clips_per_class)


@dataclass(frozen=True)
class _Job:
    config: TrainConfig


def _train(out: Path, *, seed: int, epochs: int, say: Callable[[str], None]) -> list[RunRecord]:
    """All runs, a process and a thread each, so that the figures do not depend on the number of cores."""
    steps = out / "steps.json"
    names = demo_class_names()
    write_json(steps, [names[i : i + CLASSES_PER_STEP] for i in range(0, len(names), CLASSES_PER_STEP)])
    jobs = [
        _Job(
            TrainConfig(
                features=out / "features",
                out=_folder(out, method, modality),
                method=method,
                set=AV_CIL_OPTIONS if method == "av-cil" else (),
                modality=modality,
                steps=steps,
                exemplars_per_class=MEMORY_PER_CLASS,
                seed=seed,
                epochs=epochs,
                batch_size=32,
                exemplar_batch_size=32,
            )
        )
        for method, modality in RUNS
    ]
    longest_first = sorted(jobs, key=lambda job: (job.config.method, job.config.modality) != LONGEST)
    for outcome in LocalRunner(jobs=available_cores(), threads=1).outcomes(longest_first):
        config = outcome.run.config
        if outcome.results is None:
            raise AvcilError(f"training {config.method}, {config.modality} failed: {outcome.message}")
        say(f"   {config.method}, {config.modality}: {outcome.results['seconds']:.0f} s")
    return [read_run(job.config.out) for job in jobs]


def _folder(out: Path, method: str, modality: str) -> Path:
    return out / "runs" / f"{method}-{modality}"


def _reading_of(records: list[RunRecord]) -> str:
    """What the table says, in a few words."""
    last = {(r.method, r.modality): f"{100 * r.results.last_accuracy:.0f} %" for r in records}
    both, sound, picture = (last["joint", part] for part in ("audio-visual", "audio", "visual"))
    return (
        "\nAfter the last step, over all 16 classes: with all clips at once, sound and picture together reach "
        f"{both}, sound alone {sound}, picture alone {picture}.\n"
        f"Learning step by step, fine-tuning keeps {last['fine-tuning', 'audio-visual']}; AV-CIL, which may keep "
        f"{MEMORY_PER_CLASS} clips of each class, {last['av-cil', 'audio-visual']}; BLADE, which keeps no clip, "
        f"{last['blade', 'audio-visual']}."
    )


def _summary(record: RunRecord) -> dict[str, Any]:
    results = record.results
    chosen = {name: getattr(results, name) for name in SUMMARY_METRICS}
    return {
        "method": record.method,
        "modality": record.modality,
        "accuracy_per_step": results.accuracy_per_step,
        **chosen,
    }


def _predict(out: Path, say: Callable[[str], None]) -> None:
    """Ask BLADE's recognizer about a clip of each step that no run was trained on."""
    run = _folder(out, "blade", "audio-visual")
    recognizer = Recognizer.load(run)
    for name in demo_class_names()[::CLASSES_PER_STEP]:
        clip = min((out / "clips" / "test" / name).glob("*.mp4"))
        ranked = recognizer.answer(clip).probabilities.items()
        say(f"avcil predict {run} {clip}")
        say(
            "   " + ", ".join(f"{label} {100 * probability:.0f} %" for label, probability in list(ranked)[:3])
        )
