"""Times are assigned to the innermost part, and are kept after an interruption."""

from __future__ import annotations

import contextlib

import pytest

from avcil.training.config import TrainConfig
from avcil.training.run import Run, train
from avcil.training.timer import PARTS, Timer, training_seconds
from avcil.utils.files import read_json


class Clock:
    """A clock with a fixed time."""

    now = 100.0

    def __call__(self) -> float:
        return self.now


def test_nested_time_counts_only_for_the_inner_part():
    """Times before, in and after a nested part, also after an error in it."""
    clock = Clock()
    timer = Timer(clock=clock)
    timer.start({"learning": 10.0})
    clock.now += 7  # outside of all parts
    with timer.during("learning"):
        clock.now += 1
        with contextlib.suppress(ValueError), timer.during("validation"):
            clock.now += 2
            with timer.during("reading"):
                clock.now += 4
            raise ValueError
        clock.now += 8
        assert timer.read()["learning"] == 19.0  # the part is still running
    clock.now += 16
    assert timer.read() == {
        "learning": 19.0,
        "validation": 2.0,
        "reading": 4.0,
        "testing": 0.0,
        "saving": 0.0,
    }
    timer.start({})
    assert timer.read() == dict.fromkeys(PARTS, 0.0)


def test_validation_without_selection_is_not_training_time():
    """Validation counts as training time only if it selects the epoch."""
    seconds = {"learning": 1.0, "validation": 2.0, "reading": 4.0, "testing": 8.0, "saving": 16.0}
    assert training_seconds(seconds, selects=True) == 7.0
    assert training_seconds(seconds, selects=False) == 5.0


@pytest.mark.parametrize(
    ("method", "selection", "chooses"),
    [("fine-tuning", "best", True), ("fine-tuning", "last", False), ("blade", "best", False)],
)
def test_seconds_of_each_part(store, tmp_path, method, selection, chooses):
    """Each part took time, the totals are sums over steps, and `seconds` is the training time."""
    config = TrainConfig(
        features=store,
        out=tmp_path / "run",
        method=method,
        selection=selection,
        classes_per_step=3,
        epochs=2,
        checkpoint_seconds=0,
    )
    results = train(config, quiet=True)
    states = [read_json(tmp_path / "run" / "checkpoints" / f"step_{i}" / "state.json") for i in range(2)]
    for part, total in results["seconds_by_part"].items():
        assert total == pytest.approx(sum(state["seconds_by_part"][part] for state in states))
        assert total > 0 or (part == "saving" and method == "blade")  # which saves no progress
    parts = results["seconds_by_part"]
    assert results["seconds"] == pytest.approx(training_seconds(parts, selects=chooses))


def test_seconds_before_a_kill_are_included(store, tmp_path, monkeypatch):
    """A resumed step includes the time before the interruption."""
    config = TrainConfig(
        features=store,
        out=tmp_path / "run",
        method="fine-tuning",
        classes_per_step=6,
        epochs=3,
        checkpoint_seconds=0,
    )
    run = Run(config, quiet=True)
    run.timer = run.data.timer = Timer(clock=Clock())  # a clock that does not advance
    saved = []

    def killed(index, progress):
        run.timer.seconds["learning"] = 1000.0
        progress.log_bytes, progress.seconds_by_part = run.directory.log_bytes(), run.timer.read()
        run.directory.save_progress(index, progress)
        saved.append(progress.epoch)
        raise KeyboardInterrupt

    monkeypatch.setattr(run, "_save_progress", killed)
    with pytest.raises(KeyboardInterrupt):
        run.finish()
    assert saved == [1]
    assert train(config, quiet=True)["seconds_by_part"]["learning"] > 1000
