"""The demo: render clips, scan, extract, train, compare, report, predict.

There are sixteen classes in four steps, with a new kind of sound in each step. A clip shows three moving objects, one
of which makes the sound. Only the correlation of motion and sound shows which one, so neither modality alone is
sufficient to predict the class.
"""

from __future__ import annotations

import functools
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from avcil.data.clips import read_clips, write_clips
from avcil.data.modality import Modality
from avcil.data.scan import scan
from avcil.datasets.synthetic.clips import render_demo_clips
from avcil.datasets.synthetic.scene import demo_class_names
from avcil.errors import AvcilError
from avcil.experiments.runner import LocalRunner
from avcil.extraction.extract import extract
from avcil.inference.explained_clips import explained_clips
from avcil.inference.recognizer import Recognizer
from avcil.reporting.attention import ExplainedRun
from avcil.reporting.report import write_report
from avcil.reporting.table import summary_table
from avcil.runs.run_files import RunRecord, read_run
from avcil.training.config import TrainConfig
from avcil.utils.cores import available_cores
from avcil.utils.files import write_json
from avcil.utils.progress import PhaseProgress, duration

CLASSES_PER_STEP = 4
_EXEMPLARS_PER_CLASS = 4
_AV_CIL_OPTIONS = ("lambda_instance=0.1",)
"""The release's weight for its two larger benchmarks. On the validation clips of the demo it is also better than the
0.5 for AVE."""
RUNS: tuple[tuple[str, Modality], ...] = (
    ("fine-tuning", Modality.AUDIO_VISUAL),
    ("av-cil", Modality.AUDIO_VISUAL),
    ("blade", Modality.AUDIO_VISUAL),
    ("joint", Modality.AUDIO_VISUAL),
    ("joint", Modality.AUDIO),
    ("joint", Modality.VISUAL),
)
_EXPLAINED = ("av-cil", "blade")
"""Methods whose predictions are explained in the report."""
_SLOWEST = ("joint", Modality.AUDIO_VISUAL)
"""This run is started first."""
_SUMMARY_METRICS = ("average_incremental_accuracy", "last_accuracy", "mean_forgetting", "seconds")


def demo(
    out: Path,
    *,
    seed: int,
    epochs: int,
    clips_per_class: Mapping[str, int] | None = None,
    log: Callable[[str], None] = print,
) -> list[dict[str, Any]]:
    """Run the demo, or resume it.

    Args:
        out: Folder for clips/, clips.csv, features/, the run directories in runs/, report.html and summary.json.
        seed: Random seed of clips and training.
        epochs: Number of epochs in each step.
        clips_per_class: Number of clips by split; by default those of `render_demo_clips`.
        log: Called with each line of output.

    Returns:
        The content of summary.json.
    """
    start = time.monotonic()
    out = Path(out)
    log("1. Rendering clips of moving objects with sound")
    on_progress = functools.partial(PhaseProgress(), "rendering clips")
    render_demo_clips(out / "clips", seed=seed, on_progress=on_progress, **clips_per_class or {})
    log("2. Scanning the clips (avcil scan)")
    write_clips(out / "clips.csv", scan(out / "clips").clips)
    log("3. Extracting features (avcil extract)")
    log("   " + extract(read_clips(out / "clips.csv"), out / "features").text())
    log("4. Training several runs in parallel (avcil train)")
    records = _train(out, seed=seed, epochs=epochs, log=log)
    log("\n" + summary_table(records))
    log(_conclusion(records))
    summary = [_summary(record) for record in records]
    write_json(out / "summary.json", summary)
    explained = []
    for record in (r for r in records if r.modality is Modality.AUDIO_VISUAL and r.method in _EXPLAINED):
        examples, note = explained_clips(record.folder, 4)
        explained.append(ExplainedRun(record=record, examples=examples, note=note))
    write_report(
        records,
        out / "report.html",
        explained=explained,
        title="Class-incremental learning: rendered clips of moving objects with sound",
    )
    log("")
    _predict(out, log)
    log(f"\nThe report is {out / 'report.html'}; the metrics are in {out / 'summary.json'}.")
    log(
        f"The demo took {duration(time.monotonic() - start)}. "
        "Next, with your own clips: avcil scan FOLDER --out clips.csv"
    )
    return summary


@dataclass(frozen=True)
class _DemoJob:
    config: TrainConfig


def _train(out: Path, *, seed: int, epochs: int, log: Callable[[str], None]) -> list[RunRecord]:
    """Train all runs, each in a process with one thread, so that results do not depend on the number of cores."""
    steps = out / "steps.json"
    names = demo_class_names()
    write_json(steps, [names[i : i + CLASSES_PER_STEP] for i in range(0, len(names), CLASSES_PER_STEP)])
    jobs = [
        _DemoJob(
            TrainConfig(
                features=out / "features",
                out=_folder(out, method, modality),
                method=method,
                set=_AV_CIL_OPTIONS if method == "av-cil" else (),
                modality=modality,
                steps=steps,
                exemplars_per_class=_EXEMPLARS_PER_CLASS,
                seed=seed,
                epochs=epochs,
                batch_size=32,
                exemplar_batch_size=32,
            )
        )
        for method, modality in RUNS
    ]
    slowest_first = sorted(jobs, key=lambda job: (job.config.method, job.config.modality) != _SLOWEST)
    for outcome in LocalRunner(jobs=available_cores(), threads=1).outcomes(slowest_first):
        config = outcome.run.config
        if outcome.results is None:
            raise AvcilError(f"training {config.method}, {config.modality} failed: {outcome.message}")
        log(f"   {config.method}, {config.modality}: {outcome.results['seconds']:.0f} s")
    return [read_run(job.config.out) for job in jobs]


def _folder(out: Path, method: str, modality: str) -> Path:
    return out / "runs" / f"{method}-{modality}"


def _conclusion(records: list[RunRecord]) -> str:
    last = {(r.method, r.modality): f"{100 * r.results.last_accuracy:.0f} %" for r in records}
    both, audio, visual = (last["joint", part] for part in Modality)
    both_of = {method: last[method, Modality.AUDIO_VISUAL] for method in ("fine-tuning", "av-cil", "blade")}
    return (
        f"\nAccuracy on all 16 classes after the last step. Joint training: {both} with audio and frames, {audio} with "
        f"audio alone, {visual} with frames alone.\n"
        f"Training step by step: {both_of['fine-tuning']} with fine-tuning, "
        f"{both_of['av-cil']} with AV-CIL, which stores {_EXEMPLARS_PER_CLASS} clips of each class, and "
        f"{both_of['blade']} with BLADE, which stores no clips."
    )


def _summary(record: RunRecord) -> dict[str, Any]:
    results = record.results
    chosen = {name: getattr(results, name) for name in _SUMMARY_METRICS}
    return {
        "method": record.method,
        "modality": record.modality,
        "accuracy_per_step": results.accuracy_per_step,
        **chosen,
    }


def _predict(out: Path, log: Callable[[str], None]) -> None:
    """Predict a test clip of each step with the BLADE model."""
    run = _folder(out, "blade", "audio-visual")
    recognizer = Recognizer.load(run)
    for name in demo_class_names()[::CLASSES_PER_STEP]:
        clip = min((out / "clips" / "test" / name).glob("*.mp4"))
        ranked = recognizer.predict_clip(clip).probabilities.items()
        log(f"avcil predict {run} {clip}")
        log(
            "   " + ", ".join(f"{label} {100 * probability:.0f} %" for label, probability in list(ranked)[:3])
        )
