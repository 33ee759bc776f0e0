"""From a configuration as typed to everything that a result depends on: steps, clips, memory, options."""

from __future__ import annotations

import functools
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from avcil.datasets import Benchmark
from avcil.datasets.fetch import cache_folder
from avcil.datasets.published import PublishedBenchmark, load_published
from avcil.datasets.split_files import SplitClip
from avcil.errors import InputError
from avcil.features import FeatureStore
from avcil.methods.base import GradientMethod, Method
from avcil.methods.exemplars import ExemplarMemory
from avcil.methods.registry import load_method, parse_options
from avcil.runs.run_config import RunConfig
from avcil.saved_models.learning_settings import LearningSettings
from avcil.training.config import DEFAULT_MEMORY_PER_CLASS, TrainConfig
from avcil.training.device_config import DeviceConfig
from avcil.training.distributed import ProcessGroup


@dataclass(frozen=True, kw_only=True)
class Resolved:
    """A configuration, understood and checked against its store."""

    method_class: type[Method]
    device_config: DeviceConfig
    options: Any
    clips: Mapping[str, SplitClip] | None
    """Where a published benchmark puts each clip, by id; None: the store's own labels and splits count."""
    memory: ExemplarMemory | None
    """An empty memory of the size to be kept; None for a method without rehearsal."""
    run_config: RunConfig
    """Everything that the result depends on, as config.json keeps it."""

    def new_memory(self) -> ExemplarMemory | None:
        """A memory to fill."""
        if self.memory is None:
            return None
        return ExemplarMemory(total=self.memory.total, per_class=self.memory.per_class)


def resolve(config: TrainConfig, store: FeatureStore) -> Resolved:
    """Understand `config` for `store`; raises InputError for what does not fit, before any work."""
    method_class = load_method(config.method)
    options = parse_options(method_class, config.set, name=config.method)
    if config.modality not in method_class.modalities:
        raise InputError(
            f"method {config.method} has no modality {config.modality}; "
            f"allowed: {', '.join(method_class.modalities)}"
        )
    benchmark, clips, published_memory = _benchmark(config, store)
    memory = None if method_class.rehearsal == "none" else _memory(config, published_memory, benchmark)
    device_config = device_config_of(config, method_class)
    settings = LearningSettings(
        method=config.method,
        method_options=asdict(options),
        modality=config.modality,
        seed=config.seed,
        memory=None if memory is None else memory.total,
        memory_per_class=None if memory is None else memory.per_class,
        epochs=config.epochs,
        batch_size=config.batch_size,
        exemplar_batch_size=config.exemplar_batch_size,
        learning_rate=config.learning_rate,
        weight_decay=config.weight_decay,
        precision=device_config.precision,
        selection=config.selection,
    )
    return Resolved(
        method_class=method_class,
        device_config=device_config,
        options=options,
        clips=clips,
        memory=memory,
        run_config=RunConfig(
            settings=settings,
            benchmark=benchmark,
            store_path=str(config.features.absolute()),
            store_fingerprint=store.fingerprint,
        ),
    )


def device_config_of(config: TrainConfig, method_class: type[Method]) -> DeviceConfig:
    """Where and in which numbers the run computes; raises InputError for what the method cannot use."""
    if issubclass(method_class, GradientMethod):
        return DeviceConfig.of(ProcessGroup.own_device(config.device), config.precision)
    unused = config.max_memory is not None or config.teacher_cache != "auto"
    if config.device not in (None, "cpu") or config.precision == "bfloat16" or unused:
        raise InputError(
            f"method {config.method} is fitted in closed form, on the processor, in float32 or float64, a few clips at "
            "a time and without a teacher: leave out --device, --precision bfloat16, --max-memory and --teacher-cache"
        )
    return DeviceConfig.of("cpu", config.precision)


def _benchmark(
    config: TrainConfig, store: FeatureStore
) -> tuple[Benchmark, Mapping[str, SplitClip] | None, int | None]:
    """The steps; for a published benchmark also its clips and its memory."""
    if config.benchmark is not None:
        published = published_benchmark(config.benchmark)
        steps = published.steps(config.classes_per_step, config.class_order_seed)
        steps.check_classes({clip.label for clip in store.clips}, f"the store {config.features}")
        return steps, published.clips, published.protocol.memory
    if config.steps is not None:
        return Benchmark.from_file(config.steps), None, None
    assert config.classes_per_step is not None
    labels = {clip.label for clip in store.clips}
    steps = Benchmark.from_classes(labels, config.classes_per_step, class_order_seed=config.class_order_seed)
    return steps, None, None


def published_benchmark(name: str) -> PublishedBenchmark:
    """The benchmark of a name, its split files read once for all runs of a process."""
    return _load_once(name, cache_folder())


@functools.cache
def _load_once(name: str, cache: Path) -> PublishedBenchmark:
    return load_published(name, cache=cache)


def _memory(config: TrainConfig, published: int | None, benchmark: Benchmark) -> ExemplarMemory:
    """As asked for, else as published, else a few clips of each class."""
    if config.exemplars_per_class is not None:
        return ExemplarMemory(per_class=config.exemplars_per_class)
    total = published if config.exemplars is None else config.exemplars
    if total is None:
        return ExemplarMemory(per_class=DEFAULT_MEMORY_PER_CLASS)
    memory = ExemplarMemory(total=total)
    memory.quota(len(benchmark.classes))  # refuse a memory too small now, not hours later
    return memory
