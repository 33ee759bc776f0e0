"""Memory of a run: planned before the start, within the limit, with the same results for any limit."""

from __future__ import annotations

import csv
import json
import os
from pathlib import Path

import pytest
import torch

from avcil.data.modality import Modality
from avcil.errors import AvcilError, InputError
from avcil.features import FeatureStore
from avcil.training import memory_plan, memory_sizes
from avcil.training import teacher_cache as teacher_memory
from avcil.training.config import TrainConfig
from avcil.training.data import Table
from avcil.training.device_config import DeviceConfig
from avcil.training.memory_pool import Budget, MemoryPool
from avcil.training.memory_sizes import OVERHEAD
from avcil.training.run import Run, train
from avcil.training.teacher_cache import teacher_cache_for


def config(store: Path, out: Path, **changes) -> TrainConfig:
    settings = {
        "method": "av-cil",
        "classes_per_step": 2,
        "epochs": 3,
        "batch_size": 8,
        "exemplar_batch_size": 4,
        "exemplars_per_class": 2,
        "precision": "float64",
        "selection": "last",
    }
    return TrainConfig(features=store, out=out, **settings | changes)


def losses(out: Path) -> list[float]:
    return [json.loads(line)["loss"] for line in (out / "metrics.jsonl").read_text().splitlines()]


def matrix(out: Path) -> list[list[str]]:
    with open(out / "accuracy_matrix.csv", newline="") as file:
        return list(csv.reader(file))


@pytest.fixture(scope="module")
def unlimited(store, tmp_path_factory) -> Path:
    """A run with enough memory for all tables."""
    out = tmp_path_factory.mktemp("unlimited") / "run"
    train(config(store, out), quiet=True)
    return out


@pytest.fixture
def no_spare(monkeypatch):
    """Removes the reserve of the memory plan, which is larger than these small clips."""
    monkeypatch.setattr(memory_sizes, "OVERHEAD", 0)


def test_small_limit_gives_the_same_run(unlimited, store, tmp_path, monkeypatch, no_spare, capsys):
    """Clips are read on demand, batches are divided, the teacher is not cached: losses to 1e-9, equal accuracies."""
    run = Run(config(store, tmp_path / "run"), quiet=True)
    limit = (
        run.plan.network + 2 * memory_sizes.iteration_bytes(run.plan.sizes, run.device_config, 1, (8, 4)) + 8
    )
    small = config(store, tmp_path / "small", max_memory=f"{limit}B", teacher_cache="none")
    seen: list[bool] = []
    original = Table._load_tokens

    def record(table: Table, budget: Budget):
        result = original(table, budget)
        seen.append(result is None)
        return result

    monkeypatch.setattr(Table, "_load_tokens", record)
    monkeypatch.setattr(memory_plan.MemoryPlan, "budget", lambda _plan, _folder: Budget.host_only(0))
    train(small)
    message = capsys.readouterr().out
    assert seen
    assert all(seen), "every table was streamed"
    assert "1 clip of a batch at a time" in message
    assert losses(tmp_path / "small") == pytest.approx(losses(unlimited), rel=1e-9)
    assert matrix(tmp_path / "small") == matrix(unlimited)
    assert json.loads((tmp_path / "small" / "env.json").read_text())["clips_at_once"] == 1


def test_limit_below_one_clip_is_an_error(store, tmp_path):
    """The error gives the memory that is needed, and this limit is accepted."""
    with pytest.raises(InputError, match=r"even with one clip at a time.*--max-memory (\d+)MB") as raised:
        Run(config(store, tmp_path / "run", max_memory="1MB"), quiet=True)
    needed = str(raised.value).split("--max-memory ")[1].split()[0]
    Run(config(store, tmp_path / "run", max_memory=needed), quiet=True)
    with pytest.raises(InputError, match="is not a size"):
        config(store, tmp_path / "run", max_memory="much")


def test_plan_counts_allocated_memory(store, tmp_path):
    """Bytes of clips, iteration and network, computed manually for the largest step, the last one."""
    plan = Run(config(store, tmp_path / "run"), quiet=True).plan
    clip = 2 * 3 * 12
    assert plan.sizes.stored == 2 * clip
    assert plan.sizes.tokens == plan.sizes.keys == plan.sizes.maps == 8 * clip
    width = 12
    linear = 2 * (10 * width + width) + 2 * (width * width + width)
    assert plan.network == 7 * 8 * (linear + 6 * width + 6)
    last = plan.steps[-1]
    assert (last.new, last.old, last.validation) == (16, 8, 18)
    assert plan.stored(last)[0] == (16 + 8 + 18) * 2 * clip + 8 * 8 * clip
    assert not plan.copies_batches, "tokens and maps are not copied"
    sums = 14 * 8 * 2 * 12
    trained = 12 * 8 * clip + 4 * 12 * 8 * clip + 12 * sums
    asked = 18 * (4 * 8 * clip + 2 * clip + sums)  # with prefetched clips, in the dtype of the store
    assert plan.iteration == OVERHEAD + max(trained, asked)


def test_out_of_memory_error_has_advice(store, tmp_path, monkeypatch):
    """Each class of out-of-memory errors gives a failure with advice, and the checkpoint remains."""
    for error in (
        torch.OutOfMemoryError("CUDA"),
        MemoryError(),
        RuntimeError("... can't allocate memory ..."),
    ):

        def fail(*_args, error=error, **_options):
            raise error

        with monkeypatch.context() as patch:
            patch.setattr("avcil.training.gradient.forward_backward", fail)
            with pytest.raises(AvcilError, match="smaller --max-memory") as raised:
                train(config(store, tmp_path / "run"), quiet=True)
            assert not isinstance(raised.value, InputError)
    train(config(store, tmp_path / "run"), quiet=True)
    with monkeypatch.context() as patch:
        patch.setattr(
            "avcil.training.gradient.forward_backward",
            lambda *a, **k: (_ for _ in ()).throw(RuntimeError("other")),
        )
        with pytest.raises(RuntimeError, match="other"):
            train(config(store, tmp_path / "other"), quiet=True)


@pytest.mark.parametrize("place", ["memory", "disk"])
def test_cached_tensors_are_unchanged(place, tmp_path):
    """The same bits from memory and from a temporary file, which has no name and does not remain."""
    values = torch.randn(7, 3, 2), torch.randn(7).double()
    size = sum(value.nbytes for value in values)
    budget = Budget(
        host=MemoryPool(available=size if place == "memory" else size - 1), disk=MemoryPool(available=size)
    )
    cache = teacher_cache_for([v[:1] for v in values], 7, first=10, budget=budget, scratch=tmp_path)
    assert cache is not None
    assert cache.location == place
    for start in range(0, 7, 3):
        places = slice(start, min(start + 3, 7))
        cache.put(places, [value[places] for value in values])
    rows = torch.tensor([16, 10, 13, 10])
    for got, value in zip(cache.get(rows), values, strict=True):
        assert torch.equal(got, value[rows - 10])
    for got, value in zip(cache.get_rows(rows), values, strict=True):
        assert torch.equal(got[1:3].gather(), value[rows - 10][1:3])
    with pytest.raises(ValueError, match="exemplars alone"):
        cache.get(torch.tensor([9]))
    assert list(tmp_path.iterdir()) == []
    again = teacher_cache_for([v[:1] for v in values], 7, first=0, budget=budget, scratch=tmp_path)
    assert (again is None) == (place == "disk"), "memory is reserved once"


def test_full_disk_disables_the_cache(tmp_path, monkeypatch):
    """Blocks are allocated first, because writing to a mapped file without space would kill the process."""

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(teacher_memory.os, "posix_fallocate", full)
    budget = Budget(host=MemoryPool(available=0), disk=MemoryPool(available=10**6))
    assert teacher_cache_for([torch.zeros(1, 4)], 5, first=0, budget=budget, scratch=tmp_path) is None
    assert os.listdir(tmp_path) == []


@pytest.mark.parametrize("cache", ["memory", "none"])
def test_teacher_cache_does_not_change_results(cache, unlimited, store, tmp_path):
    """With the teacher cache in another place, or without it, the run is equal up to rounding."""
    train(config(store, tmp_path / "run", teacher_cache=cache), quiet=True)
    assert losses(tmp_path / "run") == pytest.approx(losses(unlimited), rel=1e-9)
    assert matrix(tmp_path / "run") == matrix(unlimited)


def test_streamed_and_loaded_clips_are_equal(store):
    """Clips are returned in the requested order, prefetched or from memory."""
    features = FeatureStore(store)
    rows, place = list(range(30)), DeviceConfig.on_cpu(torch.float32)
    asked = [torch.tensor([3, 29, 0]), torch.tensor([7]), torch.zeros(0, dtype=torch.int64)]
    held, streamed = (
        Table(
            features,
            rows,
            rows,
            modality=Modality.AUDIO_VISUAL,
            device_config=place,
            budget=Budget.host_only(size),
        )
        for size in (10**6, 0)
    )
    assert (held.is_streamed, streamed.is_streamed) == (False, True)
    for index, one, other in zip(asked, held.stream(asked), streamed.stream(asked), strict=True):
        assert torch.equal(one[0], other[0])
        assert torch.equal(one[1], other[1])
        assert torch.equal(one[1], torch.from_numpy(features.visual(index.numpy())).float())
