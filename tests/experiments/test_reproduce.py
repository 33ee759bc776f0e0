"""`avcil reproduce`: worker processes, kills, failures, resuming."""

from __future__ import annotations

import csv
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest

from avcil.cli.main import main
from avcil.datasets.protocols import AVE
from avcil.datasets.published import PublishedBenchmark
from avcil.datasets.split_files import SplitClip
from avcil.errors import InputError
from avcil.experiments import datasets
from avcil.experiments.config import ReproduceConfig
from avcil.experiments.plan import PlannedRun
from avcil.experiments.reproduce import describe_plan, failures_text, reproduce
from avcil.experiments.runner import Outcome
from avcil.features import FeatureStore
from avcil.training import resolve as resolving
from avcil.training.run import train

TABLES = ("table.txt", "table.md", "table.tex", "table.html", "results.csv", "summary.json")
BROKEN_METHOD = """
import os, signal
from torch.nn import functional as F
from avcil.methods.base import GradientMethod

class Broken(GradientMethod):
    name = "broken"
    summary = "{what}"

    def loss(self, output, batch, step):
        if step.index == 1:
            {what}
        return {{"cross_entropy": F.cross_entropy(output.logits, batch.labels)}}
"""


class Inline:
    """A runner in this process: any object with a method `outcomes` can be used."""

    def outcomes(self, runs: Sequence[PlannedRun]) -> Iterator[Outcome]:
        for run in runs:
            yield Outcome(run=run, results=train(run.config, quiet=True))


def config(store: Path, out: Path, **options: Any) -> ReproduceConfig:
    """A few quick runs."""
    usual = {"classes_per_step": (2,), "methods": ("fine-tuning", "icarl-nme", "av-cil"), "epochs": 3}
    usual |= {"seeds": (0, 1), "modalities": ("audio-visual",)}
    return ReproduceConfig(features=(store,), out=out, **(usual | options))


def tables(out: Path) -> dict[str, bytes]:
    """The files that do not depend on interruptions."""
    return {name: (out / name).read_bytes() for name in TABLES}


def stamps(out: Path) -> dict[str, int]:
    """Modification times of the results of finished runs."""
    return {file.parent.name: file.stat().st_mtime_ns for file in out.glob("runs/*/results.json")}


@pytest.fixture(scope="module")
def undisturbed(store: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An uninterrupted reproduction."""
    out = tmp_path_factory.mktemp("undisturbed") / "out"
    reproduce(config(store, out), runner=Inline(), quiet=True)
    return out


def test_tables_have_the_results_of_the_runs(undisturbed: Path) -> None:
    """results.csv has one row per run, equal to results.json; the tables contain no times."""
    with open(undisturbed / "results.csv", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == 6
    for row in rows:
        name = f"store.{row['row']}.audio-visual.seed-{row['seed']}"
        results = json.loads((undisturbed / "runs" / name / "results.json").read_text())
        assert float(row["last_accuracy"]) == results["last_accuracy"]
        assert float(row["accuracy_step_2"]) == results["accuracy_per_step"][2]
    summary = json.loads((undisturbed / "summary.json").read_text())
    assert [group["average_incremental_accuracy"]["n"] for group in summary["datasets"][0]["rows"]] == [
        2,
        2,
        2,
    ]
    assert not any(b"seconds" in content.lower() for content in tables(undisturbed).values())
    assert len((undisturbed / "timing.csv").read_text().splitlines()) == 7


def test_finished_runs_are_not_repeated(undisturbed: Path, store: Path) -> None:
    """The same command writes the same tables and changes no run."""
    before, written = stamps(undisturbed), tables(undisturbed)
    assert reproduce(config(store, undisturbed), quiet=True).failed == ()
    assert stamps(undisturbed) == before
    assert tables(undisturbed) == written


def test_only_tensors_of_the_last_step_are_kept(undisturbed: Path) -> None:
    """Hundreds of runs must not fill the disk; state files of all steps are kept."""
    for run in (undisturbed / "runs").iterdir():
        steps = sorted((run / "checkpoints").glob("step_*"))
        assert [(step / "state.json").is_file() for step in steps] == [True] * len(steps)
        assert [(step / "model.safetensors").exists() for step in steps] == [False] * (len(steps) - 1) + [
            True
        ]


@pytest.mark.slow
def test_interruptions_neither_lose_nor_repeat_events(undisturbed: Path, store: Path, tmp_path: Path) -> None:
    """After SIGKILL of the parent twice and Ctrl-C, finished runs are kept, no process remains, the tables
    are equal."""
    out = tmp_path / "out"
    words = ["reproduce", str(store), "--out", str(out), "--classes-per-step", "2", "--epochs", "3"]
    words += ["--methods", "fine-tuning", "icarl-nme", "av-cil", "--modalities", "audio-visual"]
    words += ["--seeds", "0", "1", "--jobs", "1", "--checkpoint-seconds", "0"]
    command = [sys.executable, "-c", "from avcil.cli.main import main; main()", *words]
    kept: dict[str, int] = {}
    for enough, blow in ((1, signal.SIGKILL), (2, signal.SIGKILL), (3, signal.SIGINT)):
        process = subprocess.Popen(
            command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True, start_new_session=True
        )
        while len(stamps(out)) < enough and process.poll() is None:
            time.sleep(0.01)
        # Ctrl-C reaches the workers too; a kill does not.
        os.killpg(process.pid, blow) if blow == signal.SIGINT else process.kill()
        _, said = process.communicate(timeout=30)
        assert process.returncode == (130 if blow == signal.SIGINT else -signal.SIGKILL)
        assert ("Run the same command again" in said) == (blow == signal.SIGINT)
        _wait_until_gone(process.pid)
        assert kept.items() <= stamps(out).items()
        kept = stamps(out)
    wanted = config(store, out)
    assert f"6 runs: {len(kept)} finished" in describe_plan(wanted)
    assert reproduce(wanted, runner=Inline(), quiet=True).failed == ()
    assert kept.items() <= stamps(out).items()
    assert tables(out) == tables(undisturbed)


def _wait_until_gone(group: int) -> None:
    """Wait until no process of the group is left; communicate() waited only for the parent."""
    end = time.monotonic() + 20
    while time.monotonic() < end:
        try:
            os.killpg(group, 0)
        except ProcessLookupError:
            return
        time.sleep(0.01)
    raise AssertionError("a worker outlived its parent")


def test_failed_runs_are_reported(store: Path, tmp_path: Path) -> None:
    """If a run or its process fails, the other runs are trained, and the table says what is missing."""
    failures = {
        "os.kill(os.getpid(), signal.SIGKILL)": "killed by SIGKILL, perhaps because the machine ran out of memory",
        "os._exit(3)": "ended with exit code 3",
        "raise ZeroDivisionError('by nought')": "unexpected ZeroDivisionError: by nought",
    }
    methods = [tmp_path / f"broken{number}.py" for number in range(3)]
    for method, what in zip(methods, failures, strict=True):
        method.write_text(BROKEN_METHOD.format(what=what))
    rows = (*map(str, methods), "fine-tuning")
    done = reproduce(config(store, tmp_path / "out", methods=rows, seeds=(0,), jobs=1), quiet=True)
    assert [
        message in outcome.message for outcome, message in zip(done.failed, failures.values(), strict=True)
    ]
    assert all(message in failures_text(done.failed) for message in failures.values())
    assert len(stamps(tmp_path / "out")) == 1
    assert "not finished" in done.text
    assert "Not complete: 1 of 4 runs are finished." in done.text


def test_command_exits_with_one_after_a_failure(
    store: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The exit code is 1 if the table is incomplete; the traceback of an unexpected error is written."""
    method = tmp_path / "broken.py"
    method.write_text(BROKEN_METHOD.format(what="raise ZeroDivisionError('by nought')"))
    words = [
        "reproduce",
        str(store),
        "--out",
        str(tmp_path / "out"),
        "--classes-per-step",
        "3",
        "--epochs",
        "1",
    ]
    words += ["--methods", str(method), "--modalities", "audio", "--seeds", "0"]
    with pytest.raises(SystemExit) as exit:
        main(words)
    assert exit.value.code == 1
    captured = capsys.readouterr()
    assert "1 run(s) failed; the same command trains them again" in captured.err
    (trace,) = (tmp_path / "out" / "failures").iterdir()
    assert "ZeroDivisionError" in trace.read_text()
    with pytest.raises(SystemExit) as exit:
        main([*words, "--dry-run"])
    assert exit.value.code == 0
    assert "1 runs: 0 finished, 1 started, 0 not started" in capsys.readouterr().out


def test_other_settings_need_another_folder(undisturbed: Path, store: Path) -> None:
    """Results of two configurations are never mixed; the error names the difference."""
    with pytest.raises(InputError, match="epochs: 3 in this run, 4 in the command"):
        reproduce(config(store, undisturbed, epochs=4), quiet=True)
    with pytest.raises(InputError, match="started with --threads 1, now 2"):
        reproduce(config(store, undisturbed, threads=2), quiet=True)


def test_more_seeds_add_runs(undisturbed: Path, store: Path, tmp_path: Path) -> None:
    """With more seeds, the finished runs are kept."""
    out = tmp_path / "out"
    reproduce(config(store, out, seeds=(0,)), runner=Inline(), quiet=True)
    before = stamps(out)
    plan = describe_plan(config(store, out, jobs=2))
    assert plan.endswith("6 runs: 3 finished, 0 started, 3 not started; 2 in parallel, 1 thread(s) each")
    reproduce(config(store, out), runner=Inline(), quiet=True)
    assert before.items() <= stamps(out).items()
    assert tables(out) == tables(undisturbed)


def test_folder_with_other_files_is_not_changed(store: Path, tmp_path: Path) -> None:
    """Nothing is written to it."""
    (tmp_path / "thesis.tex").write_text("")
    with pytest.raises(InputError, match=r"has 'thesis\.tex'"):
        reproduce(config(store, tmp_path), quiet=True)


@pytest.mark.parametrize("package", ["scipy", "matplotlib"])
def test_missing_packages_are_errors_before_any_run(
    store: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, package: str
) -> None:
    """Tables need SciPy, and charts need matplotlib; both are in an extra of avcil."""
    monkeypatch.setitem(sys.modules, package, None)
    with pytest.raises(InputError, match=rf"needs {package}. Install with: pip install 'avcil\[reproduce\]'"):
        reproduce(config(store, tmp_path / "out", plot=("frontier",)))
    assert not (tmp_path / "out").exists()


def test_two_reproductions_do_not_share_a_folder(store: Path, tmp_path: Path) -> None:
    """The second command fails at once."""
    from avcil.utils.files import folder_lock

    with (
        folder_lock(tmp_path / "out", "x"),
        pytest.raises(InputError, match="another process is reproducing"),
    ):
        reproduce(config(store, tmp_path / "out"), quiet=True)


def test_missing_clips_of_the_benchmark_are_noted(
    store: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Results on a part of a benchmark have a note."""
    clips = {clip.clip_id: SplitClip(clip.label, clip.split) for clip in FeatureStore(store).clips}
    clips["c0/test/elsewhere"] = SplitClip("c0", "test")
    classes = tuple(f"c{number}" for number in range(6))
    benchmark = PublishedBenchmark(protocol=AVE, classes=classes, clips=clips, removed={})
    for module in (resolving, datasets):
        monkeypatch.setattr(module, "published_benchmark", lambda name: benchmark)
    options = {
        "classes_per_step": (3,),
        "benchmark": ("ave-ci",),
        "methods": ("lwf",),
        "epochs": 1,
        "seeds": (0,),
    }
    done = reproduce(config(store, tmp_path / "out", **options), runner=Inline(), quiet=True)
    assert "The store lacks 1 of the 91 clips of ave-ci" in done.text
    assert "The store lacks 1" in (tmp_path / "out" / "table.tex").read_text()
