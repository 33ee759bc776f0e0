"""A training run: trains and evaluates one step after the other; a killed run resumes from its checkpoints."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np

from avcil.errors import InputError
from avcil.features import FeatureStore
from avcil.methods.base import GradientMethod, Method
from avcil.methods.model import Model
from avcil.methods.registry import load_method
from avcil.runs.metrics import all_metrics
from avcil.runs.records import Environment, Epoch, Results, StepProgress, StepState
from avcil.runs.run_directory import RunDirectory
from avcil.saved_models.folder import save_model
from avcil.training.clip_selection import (
    incomplete_counts,
    incomplete_note,
    incomplete_table,
    validation_of_step,
)
from avcil.training.config import TrainConfig
from avcil.training.data import Table
from avcil.training.distributed import ProcessGroup
from avcil.training.evaluate import accuracy, evaluate_tasks
from avcil.training.memory_plan import MemoryPlan, memory_errors, plan_memory
from avcil.training.resolve import Resolved, resolve
from avcil.training.run_results import model_description, stream_metrics
from avcil.training.task_data import TaskData
from avcil.training.timer import LEARNING, PARTS, SAVING, TESTING, VALIDATION, Timer, training_seconds
from avcil.training.tracking import Tracking, require_tracker, track
from avcil.training.tracking.events import Event, history
from avcil.training.trainer import Hooks
from avcil.training.trainers import ClosedFormTrainer, make_trainer
from avcil.training.update import state_of_run
from avcil.utils.listing import quoted
from avcil.utils.progress import Progress


def train(config: TrainConfig, *, quiet: bool = False) -> dict[str, Any]:
    """Train until the run is finished; an interrupted run is resumed.

    Args:
        config: Options of the run.
        quiet: Print neither messages nor progress.

    Returns:
        The content of results.json.

    Raises:
        InputError: The store, the method or the run directory does not fit the configuration.
    """
    require_tracker(config.track)
    with _lock_run_directory(config) as store, memory_errors(config):
        return Run(config, store=store, quiet=quiet).finish().to_dict()


@contextmanager
def _lock_run_directory(config: TrainConfig) -> Iterator[FeatureStore]:
    """Lock the run directory and yield the feature store. Nothing is created if method or store cannot be loaded."""
    load_method(config.method)
    store = FeatureStore(config.features)
    directory = RunDirectory(config.out, is_writer=ProcessGroup.from_environment(config.device).is_first)
    directory.check_no_other_files()
    with directory.lock():
        yield store


class Run:
    """The state of one training run."""

    def __init__(
        self, config: TrainConfig, *, store: FeatureStore | None = None, quiet: bool = False
    ) -> None:
        self.process_group = ProcessGroup.from_environment(config.device)
        self.quiet = quiet or not self.process_group.is_first
        self.store = FeatureStore(config.features) if store is None else store
        resolved = resolve(config, self.store)
        self.config = config = resolved.config
        self.run_config, self.device_config = resolved.run_config, resolved.device_config
        self.benchmark, self.settings = self.run_config.benchmark, self.run_config.settings
        self.spec, self.missing_clips = resolved.spec, resolved.missing_clips
        self.packages = resolved.packages
        self.timer = Timer()
        self.data = TaskData(
            self.store,
            resolved.stream,
            modality=config.modality,
            device_config=self.device_config,
            learns_incomplete=resolved.method_class.learns_incomplete_clips,
            needs_all_tokens=resolved.method_class.needs_all_tokens,
            timer=self.timer,
        )
        method = resolved.method_class(resolved.options, modality=config.modality)
        self.plan = self._plan(method, resolved)
        if self.plan is not None:
            self.data.device_config = self.plan.device_config
        self.directory = RunDirectory(config.out, is_writer=self.process_group.is_first)
        self.directory.begin(self.run_config, self._environment())
        self.process_group.barrier()
        self.trainer = make_trainer(
            method,
            self.data,
            self.settings,
            resolved.new_memory(),
            teacher_cache=config.teacher_cache,
            checkpoint_seconds=config.checkpoint_seconds,
            clips_at_once=None if self.plan is None else self.plan.clips_at_once,
            process_group=self.process_group,
        )

    def _plan(self, method: Method, resolved: Resolved) -> MemoryPlan | None:
        """The memory plan; None for a closed-form method, which needs memory for one batch and its statistics."""
        if isinstance(method, GradientMethod):
            memory = resolved.new_memory()
            return plan_memory(
                self.config,
                method,
                self.device_config,
                self.data,
                memory=memory,
                process_group=self.process_group,
            )
        if self.process_group.size > 1:
            raise InputError(
                f"method {self.config.method} is fitted in a single process: start it without torchrun"
            )
        return None

    def _environment(self) -> Environment:
        return Environment(
            device=self.device_config.name(),
            processes=self.process_group.size,
            clips_at_once=None if self.plan is None else self.plan.clips_at_once,
            packages=self.packages,
        )

    def finish(self) -> Results:
        """Run the remaining steps and write the results."""
        name = self.config.track if self.directory.is_writer else None
        with track(name, self.directory.paths, self.run_config) as tracking:
            return self._finish(tracking)

    def _finish(self, tracking: Tracking) -> Results:
        finished = self.directory.results
        if self.missing_clips:
            self._print(
                f"the store lacks {self.missing_clips} of the clips of {self.benchmark.name}: "
                "results are not comparable with those of the complete benchmark"
            )
        if finished is not None:
            tracking.update(self._history)
            self._print(f"{self.config.out} is finished already; remove it to run again")
            return finished
        if self.plan is not None:
            self._print(self.plan.text())
        self._report_unused_clips()
        if changes := self.directory.environment_changes(self._environment()):
            self._print(
                f"the run was started with {changes}: results may differ in the last bits from an uninterrupted run"
            )
        states = self.directory.steps_done()
        model = None
        if states:
            self._print(f"resuming {self.config.out} after step {len(states)} of {len(self.benchmark.steps)}")
            last = len(states) - 1
            model = self.trainer.restore(last, self.directory.step_tensors(last), states[-1].exemplars)
        for index in range(len(states), len(self.benchmark.steps)):
            log_bytes = states[-1].log_bytes if states else 0
            model, state = self._step(index, tracking, log_bytes=log_bytes)
            states.append(state)
        assert model is not None
        results = self._write_results(model, states)
        tracking.update(self._history)
        return results

    def _report_unused_clips(self) -> None:
        """Print which clips are not used for training, and list them in the run directory."""
        if self.store.unlisted:
            self._print(
                f"{len(self.store.unlisted)} stored clips are not used: the last clip list given to avcil extract does "
                "not name them (extract with --add uses them)"
            )
        labels = {clip.label for clip in self.store.clips} - set(self.benchmark.classes)
        if labels:
            self._print(
                f"classes that the steps do not name are not used: {quoted(sorted(labels), 'classes')}"
            )
        if unused := self.data.unused_training_clips:
            self._print(
                f"{unused} training clips of the classes of this run are not part of the stream {self.spec.name}"
            )
        if note := incomplete_note(self.data):
            self.directory.write_incomplete(incomplete_table(self.data))
            self._print(f"{note}; {self.directory.paths.incomplete_clips} lists them")

    def _history(self) -> Iterator[Event]:
        """All events so far, read from the run directory."""
        directory = self.directory
        return history(directory.log_lines(), directory.steps_done(), self._test_sizes(), directory.results)

    def _test_sizes(self) -> list[int]:
        """Number of test clips of each task; for tasks that were tested, the number of clips that were predicted."""
        sizes = [len(self.data.rows("test", task)) for task in range(len(self.benchmark.steps))]
        states = self.directory.steps_done()
        tested = states[-1].test_clips if states else []
        return [*tested, *sizes[len(tested) :]]

    def _step(self, index: int, tracking: Tracking, *, log_bytes: int) -> tuple[Model, StepState]:
        """Train, evaluate and commit one step; `log_bytes` is the length of the log at the end of the previous step."""
        if self.plan is not None:
            self.data.budget, self.data.scratch = self.plan.budget(self.config.out), self.config.out
        progress = self.directory.load_progress(index)
        self.directory.truncate_log(progress.log_bytes if progress else log_bytes)
        self.timer.start(progress.seconds_by_part if progress else {})
        self.trainer.remove_classes(index)
        validation = self._validation(index)
        tracking.update(self._history)

        def log(epoch: Epoch) -> None:
            self.directory.log(epoch)
            with self.timer.during(SAVING):
                tracking.update(self._history)

        with self._bar(index, progress.epoch if progress else 0) as bar, self.timer.during(LEARNING):
            hooks = Hooks(
                validate=lambda model: None if validation is None else self._validate(model, validation),
                log=log,
                save=lambda p: self._save_progress(index, p),
                tick=bar.update,
                progress=progress,
            )
            model = self.trainer.train_step(index, hooks)
        if index == 0:
            for note in hooks.notes:
                self._print(note)
        with self.timer.during(TESTING):
            test = evaluate_tasks(model, self.data, index, self.process_group)
            self.directory.write_predictions(index, test.predictions)
        seconds = self.timer.read()
        state = StepState(
            step=index,
            summary=hooks.summary,
            accuracies=test.accuracies,
            test_clips=test.sizes,
            exemplars={} if self.trainer.memory is None else self.trainer.memory.clip_ids,
            log_bytes=self.directory.log_bytes(),
            seconds=training_seconds(seconds, selects=self.trainer.selects_by_validation),
            seconds_by_part=seconds,
        )
        self.directory.commit_step(state, self.trainer.tensors())
        tracking.update(self._history)
        self.process_group.barrier()
        return model, state

    def _validate(self, model: Model, validation: Table) -> float | None:
        with self.timer.during(VALIDATION):
            return accuracy(model, validation, self.process_group)

    def _save_progress(self, index: int, progress: StepProgress) -> None:
        with self.timer.during(SAVING):
            progress.log_bytes, progress.seconds_by_part = self.directory.log_bytes(), self.timer.read()
            self.directory.save_progress(index, progress)

    def _bar(self, index: int, done: int) -> Progress:
        step = f"step {index + 1}/{len(self.benchmark.steps)}"
        title = f"{self.config.method}, {self.config.modality}: {step}"
        epochs = 1 if isinstance(self.trainer, ClosedFormTrainer) else self.settings.epochs
        return Progress(epochs, "epochs", title=title, initial=done, leave=False, quiet=self.quiet)

    def _validation(self, index: int) -> Table | None:
        """The validation clips of all classes seen; None if the step ends with its last epoch."""
        validation = validation_of_step(self.data, index, selects=self.trainer.selects_by_validation)
        if validation.note:
            self._print(validation.note)
        return self.data.table(validation.rows) if validation.is_used else None

    def _write_results(self, model: Model, states: list[StepState]) -> Results:
        tasks, sizes = len(self.benchmark.steps), self._test_sizes()
        matrix = np.full((tasks, tasks), np.nan)
        for index, state in enumerate(states):
            matrix[index, : index + 1] = [np.nan if x is None else x for x in state.accuracies]
        self.directory.write_accuracy_matrix([state.accuracies for state in states], sizes)
        metrics = all_metrics(matrix, sizes)
        if self.directory.is_writer:
            save_model(
                self.directory.paths.model,
                model,
                labels=list(self.data.classes),
                description=model_description(self.settings, self.spec, self.data, metrics, sizes),
                learning=state_of_run(self.trainer, self.data, self.settings),
            )
        results = Results(
            method=self.settings.method,
            modality=self.settings.modality,
            seed=self.settings.seed,
            **metrics,
            stream_metrics=stream_metrics(self.spec, self.data, self.trainer, model, matrix, sizes),
            seconds=sum(state.seconds for state in states),
            seconds_per_step=[state.seconds for state in states],
            seconds_by_part={part: sum(state.seconds_by_part[part] for state in states) for part in PARTS},
            clips_lacking_a_modality=incomplete_counts(self.data, model.input_modalities),
        )
        self.directory.finish(results)
        self.process_group.barrier()
        return results

    def _print(self, text: str) -> None:
        if not self.quiet:
            Progress.write(text)
