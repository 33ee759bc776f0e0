"""Checks the options of a run and resolves them to steps, clips, exemplar memory, device and method options."""

from __future__ import annotations

import functools
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields, replace
from pathlib import Path
from typing import Any

from avcil.datasets import Benchmark
from avcil.datasets.fetch import cache_folder
from avcil.datasets.published import PublishedBenchmark, load_published
from avcil.datasets.split_files import SplitClip
from avcil.errors import InputError
from avcil.features import FeatureStore, StoredClip
from avcil.methods.base import ClosedFormMethod, GradientMethod, Method
from avcil.methods.exemplars import ExemplarMemory
from avcil.methods.registry import METHODS, load_method, parse_options
from avcil.runs.run_config import RunConfig
from avcil.saved_models.learning_settings import LearningSettings
from avcil.streams.base import Stream, StreamType
from avcil.streams.registry import STREAMS, StreamSpec, parse_stream
from avcil.training.config import DEFAULT_EXEMPLARS_PER_CLASS, TrainConfig
from avcil.training.device_config import DeviceConfig
from avcil.training.distributed import ProcessGroup


@dataclass(frozen=True, kw_only=True)
class Resolved:
    """The options of a run, checked against the feature store."""

    method_class: type[Method]
    device_config: DeviceConfig
    options: Any
    config: TrainConfig
    """The configuration with the options that the stream prescribes."""
    spec: StreamSpec
    stream: Stream
    """The task of each clip."""
    missing_clips: int
    """Number of clips of a published benchmark that the store lacks."""
    memory: ExemplarMemory | None
    """An empty exemplar memory of the configured size; None for a method without rehearsal."""
    run_config: RunConfig
    """Everything that the result depends on; the content of config.json."""

    @property
    def packages(self) -> str | None:
        """Installed packages that the method and the stream come from, with versions; None: avcil alone."""
        names = ((METHODS, self.config.method), (STREAMS, self.spec.name))
        packages = {known.package_of(name) for known, name in names if name in known.installed_names()}
        return ", ".join(sorted(packages)) or None

    def new_memory(self) -> ExemplarMemory | None:
        """A new, empty exemplar memory; None for a method without rehearsal."""
        if self.memory is None:
            return None
        return ExemplarMemory(total=self.memory.total, per_class=self.memory.per_class)


def resolve(config: TrainConfig, store: FeatureStore) -> Resolved:
    """Check and resolve the options of a run.

    Raises:
        InputError: The options do not fit each other or the store.
    """
    method_class = load_method(config.method)
    options = parse_options(method_class, config.set, name=config.method)
    if config.modality not in method_class.modalities:
        raise InputError(
            f"method {config.method} has no modality {config.modality}; "
            f"allowed: {', '.join(method_class.modalities)}"
        )
    steps, clips, published_memory = _benchmark(config, store)
    spec = parse_stream(config.stream)
    if reason := reason_against(method_class(options, modality=config.modality), spec):
        raise InputError(f"method {config.method} {reason}")
    seed = config.class_order_seed or 0
    stream = spec.build(store.clips, steps, seed=seed, is_part=lambda clip: _belongs(clip, clips))
    memory = None if method_class.rehearsal == "none" else _memory(config, published_memory, stream.benchmark)
    device_config = _device_config_of(config, method_class)
    config = replace(config, **spec.kind.settings())
    settings = _learning_settings(
        config, options, memory, precision=device_config.precision, drop_last=not spec.kind.one_pass
    )
    return Resolved(
        method_class=method_class,
        device_config=device_config,
        options=options,
        config=config,
        spec=spec,
        stream=stream,
        missing_clips=0 if clips is None else len(clips) - sum(clip.clip_id in clips for clip in store.clips),
        memory=memory,
        run_config=RunConfig(
            settings=settings,
            benchmark=stream.benchmark,
            stream=None if spec.is_default else _identity(spec, stream, seed),
            store_path=str(config.features.absolute()),
            store_fingerprint=store.fingerprint,
        ),
    )


def unused_options(config: TrainConfig) -> list[str]:
    """Options that were changed from their defaults but have no effect on the method, as on the command line.

    Raises:
        InputError: The method is unknown.
    """
    method, unused = load_method(config.method), list[str]()
    if not issubclass(method, GradientMethod):
        unused += [
            "epochs",
            "batch_size",
            "exemplar_batch_size",
            "learning_rate",
            "weight_decay",
            "selection",
        ]
    elif method.batching != "paired":
        unused += ["exemplar_batch_size"]
    if method.rehearsal == "none":
        unused += ["exemplars", "exemplars_per_class"]
    defaults = {field.name: field.default for field in fields(config)}
    changed = (name for name in unused if getattr(config, name) != defaults[name])
    return [f"--{name.replace('_', '-')}" for name in changed]


def _learning_settings(
    config: TrainConfig,
    options: Any,
    memory: ExemplarMemory | None,
    *,
    precision: str | None,
    drop_last: bool,
) -> LearningSettings:
    return LearningSettings(
        method=config.method,
        method_options=asdict(options),
        modality=config.modality,
        seed=config.seed,
        exemplars=None if memory is None else memory.total,
        exemplars_per_class=None if memory is None else memory.per_class,
        epochs=config.epochs,
        batch_size=config.batch_size,
        exemplar_batch_size=config.exemplar_batch_size,
        learning_rate=config.learning_rate,
        weight_decay=config.weight_decay,
        precision=precision,
        selection=config.selection,
        drop_last=drop_last,
    )


def reason_against(method: Method, spec: StreamSpec) -> str:
    """Why a method cannot take part in a stream, to follow the name of the method; empty if it can."""
    reason = _reason_against(method, spec.kind)
    return f"cannot take part in stream {spec.name}: {reason}" if reason else ""


def _reason_against(method: Method, kind: StreamType) -> str:
    if kind.removes_classes and not isinstance(method, ClosedFormMethod):
        return "only closed-form methods can forget a class"
    if kind.gives_removed_clips and not (isinstance(method, ClosedFormMethod) and method.forgets_clips):
        return "forgetting single clips is not supported. Use --stream class-removal,forget=name"
    if kind.repeats_classes and not method.learns_known_classes:
        return "the loss allows only clips of new classes in each task"
    if kind.one_pass and isinstance(method, GradientMethod) and method.trains_from_scratch:
        return "training again on clips of earlier tasks is not allowed"
    return ""


def _identity(spec: StreamSpec, stream: Stream, seed: int) -> dict[str, Any]:
    return {"name": spec.name, "options": spec.options, "seed": seed, "fingerprint": stream.fingerprint}


def _belongs(clip: StoredClip, clips: Mapping[str, SplitClip] | None) -> bool:
    """Whether a stored clip is part of the benchmark, which must have the same label and split for it."""
    if clips is None:
        return True
    published = clips.get(clip.clip_id)
    if published is not None and published != SplitClip(clip.label, clip.split):
        raise InputError(
            f"clip {clip.clip_id!r} is {clip.label!r}, {clip.split}, in the store, but {published.label!r}, "
            f"{published.split}, in the benchmark. "
            "Make the store with avcil import-features, or train without --benchmark"
        )
    return published is not None


def _device_config_of(config: TrainConfig, method_class: type[Method]) -> DeviceConfig:
    """Device and dtypes of the run.

    Raises:
        InputError: The method cannot use one of the options.
    """
    if issubclass(method_class, GradientMethod):
        return DeviceConfig.of(ProcessGroup.device_of_process(config.device), config.precision)
    unused = config.max_memory is not None or config.teacher_cache != "auto"
    if config.device not in (None, "cpu") or config.precision == "bfloat16" or unused:
        raise InputError(
            f"method {config.method} is fitted in closed form on the CPU, in float32 or float64, in small batches and "
            "without a teacher: leave out --device, --precision bfloat16, --max-memory and --teacher-cache"
        )
    return DeviceConfig.of("cpu", config.precision)


def _benchmark(
    config: TrainConfig, store: FeatureStore
) -> tuple[Benchmark | None, Mapping[str, SplitClip] | None, int | None]:
    """The steps (None if the stream defines them); for a published benchmark also its clips and exemplars."""
    if config.benchmark is not None:
        published = published_benchmark(config.benchmark)
        steps = published.steps(config.classes_per_step, config.class_order_seed)
        steps.check_classes({clip.label for clip in store.clips}, f"the store {config.features}")
        return steps, published.clips, published.protocol.exemplars
    if config.steps is not None:
        return Benchmark.from_file(config.steps), None, None
    if config.classes_per_step is None:
        return None, None, None
    labels = {clip.label for clip in store.clips}
    steps = Benchmark.from_classes(labels, config.classes_per_step, class_order_seed=config.class_order_seed)
    return steps, None, None


def published_benchmark(name: str) -> PublishedBenchmark:
    """Load a published benchmark; its split files are read once per process."""
    return _load_once(name, cache_folder())


@functools.cache
def _load_once(name: str, cache: Path) -> PublishedBenchmark:
    return load_published(name, cache=cache)


def _memory(config: TrainConfig, published: int | None, benchmark: Benchmark) -> ExemplarMemory:
    """An empty memory of the requested, else the published, else the default size."""
    if config.exemplars_per_class is not None:
        return ExemplarMemory(per_class=config.exemplars_per_class)
    total = published if config.exemplars is None else config.exemplars
    if total is None:
        return ExemplarMemory(per_class=DEFAULT_EXEMPLARS_PER_CLASS)
    memory = ExemplarMemory(total=total)
    memory.quota(len(benchmark.classes))  # refuse a memory that is too small before training
    return memory
