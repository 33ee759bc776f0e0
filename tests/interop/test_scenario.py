"""Streams with the attributes of Avalanche and CapyMOA, used by training loops that do not depend on avcil."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import pytest
import torch
from torch.utils.data import DataLoader

from avcil.datasets.benchmark import Benchmark
from avcil.errors import InputError
from avcil.features import FeatureStore
from avcil.interop.scenario import as_scenario
from avcil.interop.torch_dataset import pooled
from avcil.streams.registry import STREAMS

TEXTS = {
    "few-shot": "few-shot,ways=2,shots=2",
    "blurry": "blurry,tasks=3",
    "domain-incremental": "domain-incremental,file=domains.csv",
}
"""Streams that need options for the small store."""


def avalanche_loop(benchmark: Any, width: int) -> float:
    """Train and evaluate as in the README of Avalanche; return the accuracy after the last experience."""
    model = torch.nn.Linear(width, benchmark.n_classes)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    for experience in benchmark.train_stream:
        assert experience.current_experience == benchmark.train_stream.index(experience)
        assert set(experience.classes_in_this_experience) <= set(experience.classes_seen_so_far)
        for _ in range(10):
            for x, y in DataLoader(experience.dataset, batch_size=16):
                optimizer.zero_grad()
                torch.nn.functional.cross_entropy(model(x), y).backward()
                optimizer.step()
        accuracies = [
            accuracy(model, DataLoader(test.dataset, batch_size=64)) for test in benchmark.test_stream
        ]
    return sum(accuracies) / len(accuracies)


def capymoa_loop(scenario: Any, width: int) -> float:
    """One pass of training with class means and evaluation by task as capymoa.ocl.evaluation; the final accuracy."""
    sums, counts = torch.zeros(scenario.num_classes, width), torch.zeros(scenario.num_classes, 1)
    for loader in scenario.train_loaders(batch_size=8):
        for x, y in loader:
            sums.index_add_(0, y, x)
            counts.index_add_(0, y, torch.ones(len(y), 1))
    means = sums / counts.clamp(min=1)
    result = [accuracy(lambda x: -torch.cdist(x, means), loader) for loader in scenario.test_loaders(64)]
    return sum(result) / len(result)


def accuracy(model: Any, loader: Iterable[Any]) -> float:
    hits = torch.cat([model(x).argmax(dim=1) == y for x, y in loader])
    return float(hits.float().mean())


def test_training_loops(store):
    """One that uses the attributes of Avalanche, and one that uses those of CapyMOA, learn all classes."""
    torch.manual_seed(0)
    scenario = as_scenario(store, classes_per_step=2, transform=pooled)
    assert capymoa_loop(scenario, 22) > 0.9
    assert avalanche_loop(scenario, 22) > 0.9


def test_class_incremental_stream(store):
    """Class numbers are in the order of the steps; streams of all splits have the same classes."""
    steps = Benchmark.from_steps([["c5", "c0"], ["c3"], ["c1"]])
    scenario = as_scenario(store, steps=steps)
    assert scenario.classes == ["c5", "c0", "c3", "c1"]
    assert (scenario.n_experiences, scenario.n_classes, len(scenario.test_stream)) == (3, 4, 3)
    second = scenario.train_stream[1]
    assert second.classes_in_this_experience == [2]
    assert (second.previous_classes, second.classes_seen_so_far, second.future_classes) == (
        [0, 1],
        [0, 1, 2],
        [3],
    )
    assert (second.task_label, second.task_labels, second.removed_classes) == (0, [0], [])
    assert second.benchmark is second.scenario is scenario
    assert scenario.streams["valid"][1].classes_in_this_experience == [2]
    clips = FeatureStore(store).clips
    assert {clips[row].label for row in second.dataset.rows} == {"c3"}
    assert scenario.task_schedule == [{0, 1}, {2}, {3}]
    assert scenario.task_mask.long().tolist() == [[1, 1, 0, 0], [0, 0, 1, 0], [0, 0, 0, 1]]
    assert [len(experience.dataset) for experience in scenario.train_stream[:2]] == [16, 8]


@pytest.mark.parametrize("name", STREAMS.names())
def test_every_stream(name, store, tmp_path, monkeypatch):
    """Each training clip occurs at most once; no test clip precedes its class."""
    lines = [f"{clip.clip_id},{'ab'[row % 2]}\n" for row, clip in enumerate(FeatureStore(store).clips)]
    (tmp_path / "domains.csv").write_text("clip_id,domain\n" + "".join(lines))
    monkeypatch.chdir(tmp_path)
    scenario = as_scenario(store, TEXTS.get(name, name), classes_per_step=2, modality="audio", missing="skip")
    rows = [row for task in scenario.train_tasks for row in task.rows.tolist()]
    assert len(rows) == len(set(rows)) > 0
    for train, test in zip(scenario.train_stream, scenario.test_stream, strict=True):
        assert set(test.classes_in_this_experience) <= set(train.classes_seen_so_far)


def test_withheld_modalities_and_removed_classes(store):
    """Withheld modalities are missing in training data only; classes to forget are listed."""
    text = "missing-modality,audio=0.25,visual=0.5"
    with pytest.raises(InputError, match="missing='skip'"):
        as_scenario(store, text, classes_per_step=2)
    scenario = as_scenario(store, text, classes_per_step=2, missing="keep")
    for experience in scenario.train_stream:
        ((sample, _),) = DataLoader(experience.dataset, batch_size=64)
        assert (int((~sample["has_audio"]).sum()), int((~sample["has_visual"]).sum())) == (4, 8)
    assert all(test.dataset[0][0]["has_audio"] for test in scenario.test_stream)
    last = as_scenario(store, "class-removal", classes_per_step=2, seed=1).train_stream[-1]
    assert (len(last.dataset), last.classes_in_this_experience, len(last.removed_classes)) == (0, [], 1)


def test_steps_are_needed(store):
    with pytest.raises(InputError, match="the stream online needs classes_per_step or steps"):
        as_scenario(store, "online")
