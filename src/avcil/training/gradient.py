"""One step of a gradient method: epochs over batches, the best epoch on validation, progress that survives a kill.

N clips of a batch, C classes.
"""

from __future__ import annotations

import copy
import math
import time
from collections.abc import Callable, Iterator, Sequence

import torch
from torch import Tensor

from avcil.methods.base import Batch, GradientMethod, Step
from avcil.runs.records import Epoch, StepProgress
from avcil.saved_models.learning_settings import LearningSettings
from avcil.training.adam import Adam
from avcil.training.distributed import ProcessGroup
from avcil.training.forward_backward import accumulate_gradients, forward_backward
from avcil.utils.rng import generator

Validate = Callable[[], float | None]
"""Accuracy on the validation clips of all classes seen; None where there are none."""


def batches(
    method: GradientMethod, step: Step, settings: LearningSettings, epoch: int, *, whole: bool = True
) -> Iterator[Batch]:
    """The batches of one epoch, in an order that depends on seed, step and epoch alone.

    `whole`: with their clips' features; else these are for `accumulate_gradients` to read.
    """
    plan = list(_rows(method, step, settings, epoch))
    nothing = ((None, None) for _ in plan)
    taken = step.pool.stream(rows for rows, _ in plan) if whole else nothing
    for (rows, new_count), (audio, visual) in zip(plan, taken, strict=True):
        yield Batch(
            audio=audio,
            visual=visual,
            labels=step.pool.labels[rows],
            rows=rows,
            new_count=new_count,
            is_whole=whole,
        )


def _rows(
    method: GradientMethod, step: Step, settings: LearningSettings, epoch: int
) -> Iterator[tuple[Tensor, int]]:
    """Each batch's rows of the pool, and how many of them are counted as new."""
    shuffle = generator(step.seed, "shuffle", step.index, epoch)
    if method.batching in ("mixed", "all") or step.new_count == len(step.pool):
        trained = method.trained_rows(step)
        order = torch.randperm(len(step.pool) if trained is None else len(trained), generator=shuffle)
        order = order if trained is None else trained[order]
        for rows in _full_batches(order, settings.batch_size, drop_last=settings.drop_last):
            yield rows, len(rows)
        return
    trained = method.trained_rows(step)
    rows = torch.arange(len(step.pool)) if trained is None else trained
    new, old = rows[rows < step.new_count], rows[rows >= step.new_count]
    exemplars = _endless(
        len(old),
        settings.exemplar_batch_size,
        shuffle,
        repeats=method.exemplar_batches == "repeated",
    )
    order = torch.randperm(len(new), generator=shuffle)
    for places in _full_batches(order, settings.batch_size, drop_last=settings.drop_last):
        yield torch.cat([new[places], old[next(exemplars)]]), len(places)


def _full_batches(order: Tensor, size: int, *, drop_last: bool = True) -> list[Tensor]:
    """Batches of min(size, n) rows. `drop_last`: drop the incomplete last one, as in the release."""
    size = min(size, len(order))
    if not drop_last:
        return list(order.split(size))
    return list(order[: len(order) // size * size].split(size))


def _endless(count: int, size: int, shuffle: torch.Generator, *, repeats: bool) -> Iterator[Tensor]:
    """Batches of `count` rows without end; `repeats`: the first pass again and again, else each pass shuffled anew."""
    once = _full_batches(torch.randperm(count, generator=shuffle), size)
    while True:
        yield from once
        if not repeats:
            once = _full_batches(torch.randperm(count, generator=shuffle), size)


class StepTrainer:
    """Trains `step.network` for one step; afterwards the network holds the chosen epoch's weights."""

    def __init__(
        self,
        method: GradientMethod,
        step: Step,
        settings: LearningSettings,
        *,
        validate: Validate,
        log: Callable[[Epoch], None],
        save: Callable[[StepProgress], None],
        tick: Callable[[], object] = lambda: None,
        checkpoint_seconds: float = math.inf,
        clips_at_once: int | None = None,
        team: ProcessGroup | None = None,
    ) -> None:
        """Prepare the step.

        Args:
            method: The method that is trained.
            step: Its clips and its network.
            settings: Epochs, batch sizes, optimizer and selection.
            validate: Called after each epoch that selection needs.
            log: Called with each epoch's line.
            save: Called with the progress, `checkpoint_seconds` apart.
            tick: Called after each epoch.
            checkpoint_seconds: Seconds between two calls of `save`; infinity for none.
            clips_at_once: How many clips of a batch fit into memory at once; None for all of them.
            team: The processes that train together.
        """
        self.method, self.step, self.settings = method, step, settings
        self.checkpoint_seconds = checkpoint_seconds
        self.validate, self.log, self.save, self.tick = validate, log, save, tick
        self.clips_at_once, self.team = clips_at_once, team or ProcessGroup()

    def run(self, progress: StepProgress | None = None) -> StepProgress:
        """All epochs, or those that `progress` has left."""
        step, settings = self.step, self.settings
        trainable = [p for p in step.network.parameters() if p.requires_grad]
        optimizer = Adam(trainable, lr=settings.learning_rate, weight_decay=settings.weight_decay)
        if progress is None:
            progress = StepProgress()
        else:
            step.network.load_state_dict(progress.network)
            optimizer.load_state_dict(progress.optimizer)
        saved = time.monotonic()
        while progress.epoch < settings.epochs:
            self._epoch(optimizer, trainable, progress)
            if progress.epoch < settings.epochs and time.monotonic() - saved >= self.checkpoint_seconds:
                progress.network = copy.deepcopy(step.network.state_dict())
                progress.optimizer = optimizer.state_dict()
                self.save(progress)
                saved = time.monotonic()
            self.tick()
        if settings.selection == "best":
            step.network.load_state_dict(progress.best)
        return progress

    def _epoch(self, optimizer: Adam, trainable: Sequence[Tensor], progress: StepProgress) -> None:
        step, epoch = self.step, progress.epoch
        sums: dict[str, Tensor] = {}  # stay on the device: asking for a number would wait for it
        count = 0
        step.network.train()
        try:
            for batch in batches(self.method, step, self.settings, epoch, whole=self._is_whole):
                optimizer.zero_grad()
                terms = self._pass(batch)
                self.team.all_reduce_gradients(trainable)
                optimizer.step()
                for name, term in terms.items():
                    sums[name] = sums.get(name, 0.0) + term.detach().double()
                count += 1
        finally:
            step.network.workspace.clear()  # validation has the room
        losses = {name: float(value) / count for name, value in sums.items()}
        _check_finite(losses, step.index, epoch)
        accuracy = self._select(progress)
        self.log(
            Epoch(
                step=step.index,
                epoch=epoch,
                losses=losses,
                loss=sum(losses.values()),
                val_accuracy=accuracy,
            )
        )
        progress.epoch += 1

    @property
    def _is_whole(self) -> bool:
        return self.clips_at_once is None and self.team.size == 1

    def _pass(self, batch: Batch) -> dict[str, Tensor]:
        if self._is_whole:
            return forward_backward(self.method, self.step, batch)
        at_once = self.clips_at_once or len(batch.labels)
        return accumulate_gradients(self.method, self.step, batch, clips_at_once=at_once, team=self.team)

    def _select(self, progress: StepProgress) -> float | None:
        """Validate, and keep these weights if they are the best so far (the first of equals)."""
        last = progress.epoch + 1 == self.settings.epochs
        if self.settings.selection == "last" and not last:
            return None
        accuracy = self.validate()
        better = progress.best_accuracy is None or (
            accuracy is not None and accuracy > progress.best_accuracy
        )
        if better or self.settings.selection == "last":
            progress.best_accuracy, progress.best_epoch = accuracy, progress.epoch
            progress.best = {
                name: value.detach().clone() for name, value in self.step.network.state_dict().items()
            }
        return accuracy


def _check_finite(losses: dict[str, float], step: int, epoch: int) -> None:
    from avcil.errors import AvcilError

    broken = [name for name, value in losses.items() if not torch.isfinite(torch.tensor(value))]
    if broken:
        raise AvcilError(
            f"step {step}, epoch {epoch}: the loss is not a number any more ({', '.join(broken)}). "
            "Lower --learning-rate, or check the features with: avcil extract ... into a new store"
        )
