"""Trains one step by gradient descent: batches, epochs, selection of the best epoch, checkpoints.

N clips of a batch, C classes.
"""

from __future__ import annotations

import copy
import math
import time
from collections.abc import Iterator, Sequence

import torch
from torch import Tensor

from avcil.errors import AvcilError
from avcil.methods.base import GradientMethod
from avcil.methods.step import Batch, Step
from avcil.runs.records import Epoch, StepProgress
from avcil.saved_models.learning_settings import LearningSettings
from avcil.training.adam import Adam
from avcil.training.distributed import ProcessGroup
from avcil.training.forward_backward import accumulate_gradients, forward_backward
from avcil.training.trainer import Hooks
from avcil.utils.rng import generator


def batches(
    method: GradientMethod, step: Step, settings: LearningSettings, epoch: int, *, whole: bool = True
) -> Iterator[Batch]:
    """The batches of one epoch. Their order depends only on seed, step and epoch.

    Args:
        method: The method.
        step: The training step.
        settings: Batch sizes.
        epoch: Number of the epoch, from 0.
        whole: Read the features; otherwise `accumulate_gradients` reads them.
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
    """For each batch, its rows of the pool and how many of them count as new."""
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
    exemplars = _exemplar_batches(
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


def _exemplar_batches(count: int, size: int, shuffle: torch.Generator, *, repeats: bool) -> Iterator[Tensor]:
    """Endless batches of `count` rows; each pass is shuffled again, or with `repeats`, the first pass is repeated."""
    once = _full_batches(torch.randperm(count, generator=shuffle), size)
    while True:
        yield from once
        if not repeats:
            once = _full_batches(torch.randperm(count, generator=shuffle), size)


class StepTrainer:
    """Trains `step.network` for one step; afterwards it has the weights of the selected epoch."""

    def __init__(
        self,
        method: GradientMethod,
        step: Step,
        settings: LearningSettings,
        hooks: Hooks,
        *,
        checkpoint_seconds: float = math.inf,
        clips_at_once: int | None = None,
        process_group: ProcessGroup | None = None,
    ) -> None:
        """Prepare the step.

        Args:
            method: The method that is trained.
            step: The clips and the network.
            settings: Epochs, batch sizes, learning rate and selection of the epoch.
            hooks: Callbacks; `validate` is called after each epoch that may be selected.
            checkpoint_seconds: Seconds between two calls of `hooks.save`; infinity for none.
            clips_at_once: Clips of a batch that fit into memory at once; None: all.
            process_group: The processes that train together.
        """
        self.method, self.step, self.settings, self.hooks = method, step, settings, hooks
        self.checkpoint_seconds = checkpoint_seconds
        self.clips_at_once, self.process_group = clips_at_once, process_group or ProcessGroup()

    def run(self) -> StepProgress:
        """Train all epochs, or those that remain after `hooks.progress`."""
        step, settings, progress = self.step, self.settings, self.hooks.progress
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
                self.hooks.save(progress)
                saved = time.monotonic()
            self.hooks.tick()
        if settings.selection == "best":
            step.network.load_state_dict(progress.best)
        return progress

    def _epoch(self, optimizer: Adam, trainable: Sequence[Tensor], progress: StepProgress) -> None:
        step, epoch = self.step, progress.epoch
        sums: dict[str, Tensor] = {}  # on the device: reading a value would synchronize
        count = 0
        step.network.train()
        try:
            for batch in batches(self.method, step, self.settings, epoch, whole=self._is_whole):
                optimizer.zero_grad()
                terms = self._pass(batch)
                self.process_group.all_reduce_gradients(trainable)
                optimizer.step()
                self.method.after_update(step.network)
                for name, term in terms.items():
                    sums[name] = sums.get(name, 0.0) + term.detach().double()
                count += 1
        finally:
            step.network.workspace.clear()  # frees memory for validation
        losses = {name: float(value) / count for name, value in sums.items()}
        _check_finite(losses, step.index, epoch)
        accuracy = self._select(progress)
        self.hooks.log(
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
        return self.clips_at_once is None and self.process_group.size == 1

    def _pass(self, batch: Batch) -> dict[str, Tensor]:
        if self._is_whole:
            return forward_backward(self.method, self.step, batch)
        at_once = self.clips_at_once or len(batch.labels)
        return accumulate_gradients(
            self.method, self.step, batch, clips_at_once=at_once, process_group=self.process_group
        )

    def _select(self, progress: StepProgress) -> float | None:
        """Validate, and store the weights if they are the best so far (of equal ones, the first)."""
        last = progress.epoch + 1 == self.settings.epochs
        if self.settings.selection == "last" and not last:
            return None
        accuracy = self.hooks.validate(self.step.network)
        is_better = progress.best_accuracy is None or (
            accuracy is not None and accuracy > progress.best_accuracy
        )
        if is_better or self.settings.selection == "last":
            progress.best_accuracy, progress.best_epoch = accuracy, progress.epoch
            progress.best = {
                name: value.detach().clone() for name, value in self.step.network.state_dict().items()
            }
        return accuracy


def _check_finite(losses: dict[str, float], step: int, epoch: int) -> None:
    not_finite = [name for name, value in losses.items() if not torch.isfinite(torch.tensor(value))]
    if not_finite:
        raise AvcilError(
            f"step {step}, epoch {epoch}: the loss is not finite ({', '.join(not_finite)}). "
            "Lower --learning-rate, or check the features: avcil features verify STORE"
        )
