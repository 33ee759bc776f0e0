"""The plan of `avcil reproduce`: all runs with their configurations, in a fixed order.

It depends only on the options and the feature stores, not on which runs are finished.
"""

from __future__ import annotations

import itertools
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from avcil.datasets.protocols import protocol
from avcil.errors import InputError, unknown_name
from avcil.experiments.conditions import Condition, make_conditions
from avcil.experiments.config import ReproduceConfig
from avcil.experiments.datasets import Dataset, open_datasets, slug
from avcil.experiments.method_specs import MethodSpec, merge_options, parse_method_spec
from avcil.experiments.recipes import find_recipe, has_recipes, option_text
from avcil.experiments.studies import STUDIES, Study
from avcil.features import FeatureStore
from avcil.methods.base import GradientMethod
from avcil.methods.registry import load_method, parse_options
from avcil.training.config import TrainConfig
from avcil.training.resolve import reason_against

_EPOCHS_OF = "ss-il"
"""Without published numbers of epochs, a method trains for as many as this one, which has rehearsal and the same
batches."""


@dataclass(frozen=True, kw_only=True)
class PlannedRun:
    """One run of the plan."""

    name: str
    """Name of the run directory."""
    dataset: str
    row: str
    """Name of the table row: the entry, and the condition if several are compared."""
    entry: MethodSpec
    condition: str
    modality: str
    seed: int
    class_order_seed: int | None
    config: TrainConfig


@dataclass(frozen=True)
class LeftOut:
    """An empty cell of a table."""

    dataset: str
    entry: str
    reason: str


@dataclass(frozen=True, kw_only=True, eq=False)
class Plan:
    """All runs, and the table cells that cannot be run."""

    study: str
    datasets: tuple[Dataset, ...]
    modalities: tuple[str, ...]
    runs: tuple[PlannedRun, ...]
    left_out: tuple[LeftOut, ...]
    notes: tuple[tuple[str, str], ...] = ()
    """Dataset, and a note on the training of some of its runs."""

    def notes_on(self, dataset: str) -> list[str]:
        return [note for name, note in self.notes if name == dataset]

    def left_out_of(self, dataset: str) -> list[str]:
        """A sentence for each reason, with the entries that are left out because of it."""
        return _by_reason([cell for cell in self.left_out if cell.dataset == dataset])

    def store_of(self, run: PlannedRun) -> FeatureStore:
        return next(dataset.store for dataset in self.datasets if dataset.name == run.dataset)


def make_plan(config: ReproduceConfig) -> Plan:
    """Enumerate the runs; InputError for invalid names, stores or options."""
    if config.study not in STUDIES:
        raise unknown_name("study", config.study, STUDIES)
    study = STUDIES[config.study]
    entries = tuple(map(parse_method_spec, config.methods or study.methods))
    datasets = open_datasets(config)
    modalities = _modalities(config, study, datasets)
    repeats = list(itertools.product(config.class_order_seeds or (None,), config.seeds))
    runs: list[PlannedRun] = []
    left_out: list[LeftOut] = []
    notes: list[tuple[str, str]] = []
    for dataset in datasets:
        conditions = make_conditions(config, study, dataset)
        for entry, modality in itertools.product(entries, modalities):
            reason = _why_left_out(config, dataset, entry, modality)
            if reason:
                left_out.append(LeftOut(dataset.name, entry.name, reason))
                continue
            runs += _cell(config, dataset, entry, modality, conditions)
            if _needs_epochs(config, dataset, entry):
                epochs = f"{_epochs(dataset, modality)} epochs per step as for {_EPOCHS_OF}"
                notes.append((dataset.name, f"{entry.name}, {modality}: no epochs are published; {epochs}"))
    if not runs:
        raise InputError("nothing to run: " + "; ".join(_by_reason(left_out)))
    # In the order of seeds, so that an interrupted command leaves complete tables of fewer seeds.
    runs.sort(key=lambda run: repeats.index((run.class_order_seed, run.seed)))
    _check_names(runs)
    return Plan(
        study=config.study,
        datasets=datasets,
        modalities=modalities,
        runs=tuple(runs),
        left_out=tuple(left_out),
        notes=tuple(notes),
    )


def _modalities(config: ReproduceConfig, study: Study, datasets: Sequence[Dataset]) -> tuple[str, ...]:
    shared = set.intersection(*(dataset.modalities for dataset in datasets))
    for modality in config.modalities:
        if modality not in shared:
            raise InputError(
                f"a store lacks features for --modalities {modality}; all stores have: {_listed(shared)}"
            )
        if modality not in study.modalities and not study.other_modalities:
            raise InputError(
                f"the study {config.study} needs audio and visual features: remove --modalities {modality}"
            )
    chosen: tuple[str, ...] = config.modalities or tuple(m for m in study.modalities if m in shared)
    if not chosen:
        raise InputError(
            f"the study {config.study} needs {_listed(study.modalities)}; the stores have {_listed(shared)}"
        )
    return chosen


def _by_reason(cells: Sequence[LeftOut]) -> list[str]:
    """`ENTRY, ENTRY (reason)`, in the order in which the reasons first occur."""
    entries: dict[str, dict[str, None]] = {}
    for cell in cells:
        entries.setdefault(cell.reason, {})[cell.entry] = None
    return [f"{', '.join(names)} ({reason})" for reason, names in entries.items()]


def _why_left_out(config: ReproduceConfig, dataset: Dataset, entry: MethodSpec, modality: str) -> str | None:
    allowed = load_method(entry.method).modalities
    if modality not in allowed:
        return f"not for the modality {modality}, only {_listed(allowed)}"
    method_class = load_method(entry.method)
    options = parse_options(method_class, entry.settings, name=entry.name)
    if reason := reason_against(method_class(options, modality=modality), dataset.stream):  # type: ignore[arg-type]
        return reason
    if dataset.benchmark is None or _has_epochs(config, dataset) or not has_recipes(entry.method):
        return None
    if find_recipe(entry.method, dataset.benchmark, modality) is None:
        return f"no epochs are published for {modality} on {dataset.name}; give --epochs N"
    return None


def _has_epochs(config: ReproduceConfig, dataset: Dataset) -> bool:
    """Whether the number of epochs is given, or prescribed by the stream."""
    return config.epochs is not None or "epochs" in dataset.stream.kind.settings()


def _needs_epochs(config: ReproduceConfig, dataset: Dataset, entry: MethodSpec) -> bool:
    """Whether it is a gradient method on a published benchmark without published or given epochs."""
    is_gradient = issubclass(load_method(entry.method), GradientMethod)
    is_given = _has_epochs(config, dataset) or has_recipes(entry.method)
    return dataset.benchmark is not None and is_gradient and not is_given


def _epochs(dataset: Dataset, modality: str) -> int:
    assert dataset.benchmark is not None
    return protocol(dataset.benchmark).epochs[_EPOCHS_OF][modality]


def _cell(
    config: ReproduceConfig,
    dataset: Dataset,
    entry: MethodSpec,
    modality: str,
    conditions: Sequence[Condition],
) -> Iterator[PlannedRun]:
    """The runs of one entry and modality: conditions, class orders and seeds."""
    rehearses = load_method(entry.method).rehearsal != "none"
    seen: set[str] = set()
    for condition in conditions:
        label = condition.label(rehearses)
        if label in seen:
            continue  # the method stores no exemplars, and only their number differs
        seen.add(label)
        row = ", ".join(part for part in (entry.name, label) if part)
        for order, seed in itertools.product(config.class_order_seeds or (None,), config.seeds):
            parts = [dataset.name, slug(row), modality, f"seed-{seed}"]
            parts += [] if order is None else [f"order-{order}"]
            name = ".".join(parts)
            options = _options(config, dataset, entry, modality, condition if rehearses else None)
            yield PlannedRun(
                name=name,
                dataset=dataset.name,
                row=row,
                entry=entry,
                condition=label,
                modality=modality,
                seed=seed,
                class_order_seed=order,
                config=TrainConfig(
                    features=dataset.features,
                    out=config.out / "runs" / name,
                    **options,
                    seed=seed,
                    class_order_seed=order,
                    classes_per_step=condition.classes_per_step,
                    stream=dataset.stream.text,
                    steps=dataset.steps,
                    checkpoint_seconds=config.checkpoint_seconds,
                    track=config.track,
                ),
            )


def _options(
    config: ReproduceConfig, dataset: Dataset, entry: MethodSpec, modality: str, condition: Condition | None
) -> dict[str, Any]:
    """Options of training: the recipe's, replaced by given options, then by the condition's."""
    recipe = find_recipe(entry.method, dataset.benchmark, modality) if dataset.benchmark else None
    options = dict(recipe or {"benchmark": dataset.benchmark})
    if _needs_epochs(config, dataset, entry):
        options["epochs"] = _epochs(dataset, modality)
    published = tuple(f"{name}={option_text(value)}" for name, value in options.pop("set", {}).items())
    options |= config.training_options()
    for name in dataset.stream.kind.settings():  # the stream prescribes them
        options.pop(name, None)
    if not issubclass(
        load_method(entry.method), GradientMethod
    ):  # closed-form methods do not have these options
        for name in ("device", "max_memory"):
            options.pop(name, None)
        if options.get("precision") == "bfloat16":
            options.pop("precision")
    if condition is not None and condition.exemplars:
        options.pop("exemplars", None)
        options |= condition.exemplars
    settings = merge_options(published, entry.settings)
    return options | {"method": entry.method, "modality": modality, "set": settings}


def _check_names(runs: Sequence[PlannedRun]) -> None:
    twice = [name for name, count in Counter(run.name for run in runs).items() if count > 1]
    if twice:
        raise InputError(f"two runs have the name {twice[0]}: remove duplicates from --methods")


def _listed(values: Any) -> str:
    return ", ".join(sorted(values)) or "nothing"
