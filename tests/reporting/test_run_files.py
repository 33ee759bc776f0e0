"""Reading run directories: valid ones completely, damaged ones with an error that names the file."""

import json

import numpy as np
import pytest

from avcil.errors import InputError
from avcil.runs.run_files import read_run, read_runs


def test_run_is_read_completely(make_run):
    """Every part of a run directory is read, including class names with special characters."""
    folder = make_run(steps=3, seed=5)
    run = read_run(folder)
    config = json.loads((folder / "config.json").read_text())
    assert [list(step) for step in run.steps] == config["benchmark"]["steps"]
    assert {p.label for p in run.predictions[-1]} == set(run.step_of_class)
    assert "dog/bark 🐕" in run.step_of_class
    assert (run.method, run.modality, run.seed, len(run.epochs)) == ("av-cil", "audio-visual", 5, 36)
    assert run.accuracy_per_step == pytest.approx(run.results.accuracy_per_step)
    hits = np.mean([p.label == p.predicted for p in run.predictions[-1]])
    assert run.accuracy_per_step[-1] == pytest.approx(hits)


def replace(path, old, new):
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new, 1))


@pytest.mark.parametrize(
    ("harm", "words"),
    [
        (lambda f: (f / "results.json").unlink(), "unfinished: run the same command again to finish it"),
        (lambda f: (f / "config.json").unlink(), "not a run directory"),
        (lambda f: (f / "config.json").write_text("{"), "config.json is not valid JSON"),
        (lambda f: (f / "results.json").write_text("[]"), "must hold a JSON object"),
        (lambda f: replace(f / "config.json", '"seed": 0', '"seed": "x"'), "seed is 'x'"),
        (lambda f: replace(f / "config.json", '"steps": [[', '"steps": [[], ['), "step 1 of 5 has no class"),
        (lambda f: replace(f / "accuracy_matrix.csv", "task_1", "task1"), "header must be step,task_0"),
        (lambda f: replace(f / "accuracy_matrix.csv", "\n1,", "\n7,"), "rows 0 to 3"),
        (lambda f: replace(f / "accuracy_matrix.csv", "\n0,", "\n0,9"), "fractions from 0 to 1"),
        (lambda f: replace(f / "accuracy_matrix.csv", "\n0,", "\n0,x"), "could not convert"),
        (lambda f: replace(f / "accuracy_matrix.csv", "n,24", "n,25"), "has 25|differs from"),
        (lambda f: replace(f / "results.json", 'per_step": [', 'per_step": [1, '), "differs from"),
        (lambda f: replace(f / "metrics.jsonl", '{"step": 0', '{"step": 4'), "step 4, but the run has 4 steps"),
        (lambda f: replace(f / "metrics.jsonl", "{", ""), "line 1 is not a valid epoch"),
        (lambda f: (f / "accuracy_matrix.csv").unlink(), "damaged: the file is missing"),
        (lambda f: (f / "predictions" / "step_2.csv").unlink(), "step_2.csv is damaged"),
        (lambda f: replace(f / "predictions" / "step_0.csv", "predicted,", "said,"), "header must be"),
        (lambda f: replace(f / "predictions" / "step_0.csv", "-dash,", "dash,"), "class that is not yet seen"),
        (lambda f: replace(f / "predictions" / "step_0.csv", ",0.", ",x."), "row 2 is not a valid prediction"),
    ],
)  # fmt: skip
def test_damaged_files_are_reported(make_run, harm, words):
    """The error has the file and the problem."""
    folder = make_run()
    harm(folder)
    with pytest.raises(InputError, match=words):
        read_run(folder)


def test_folders_that_are_not_runs(make_run, tmp_path):
    """A missing folder, a file, an empty list, and one run given twice."""
    with pytest.raises(InputError, match="there is no run directory"):
        read_run(tmp_path / "nowhere")
    (tmp_path / "file").write_text("")
    with pytest.raises(InputError, match="not a run directory"):
        read_run(tmp_path / "file")
    with pytest.raises(InputError, match="one or more run directories"):
        read_runs([])
    folder = make_run()
    with pytest.raises(InputError, match="given twice"):
        read_runs([folder, folder / ".." / "run"])


def test_closed_form_runs_have_no_epochs(make_run):
    """A method without epochs leaves no metrics.jsonl."""
    folder = make_run()
    (folder / "metrics.jsonl").unlink()
    assert read_run(folder).epochs == ()


@pytest.mark.parametrize(
    "harm",
    [
        lambda f: (f / "metrics.jsonl").write_text('{"step": Infinity}\n'),
        lambda f: (f / "metrics.jsonl").write_text("[" * 100_000),
        lambda f: (f / "metrics.jsonl").write_bytes(b"\xff\xfe"),
        lambda f: replace(f / "results.json", 'per_step": [', 'per_step": ["x", '),
        lambda f: replace(f / "results.json", 'per_step": [', 'per_step": [[], '),
        lambda f: (f / "accuracy_matrix.csv").write_bytes(b"\xff"),
        lambda f: (f / "accuracy_matrix.csv").write_text("x" * 200_000),
        lambda f: (f / "predictions" / "step_0.csv").write_text('"' + "x" * 200_000),
        lambda f: ((f / "metrics.jsonl").unlink(), (f / "metrics.jsonl").mkdir()),
        lambda f: ((f / "results.json").unlink(), (f / "results.json").mkdir()),
        lambda f: (f / "config.json").write_text('{"benchmark": 3}'),
    ],
)
def test_untrusted_runs(make_run, harm):
    """Wrong types, large files, missing files: the error names the file."""
    folder = make_run()
    harm(folder)
    with pytest.raises(InputError, match=str(folder)):
        read_run(folder)
