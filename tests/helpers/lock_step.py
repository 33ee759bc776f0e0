"""A run of a gradient method repeated by an independent implementation in plain PyTorch with float64.  The
implementation shares random choices with the run: initial weights, the rows of each batch, and random
exemplars. The network, losses, optimizer and herding are implemented in `plain_equations`; the growth of
the head, the teacher, classifiers and the choice of the best epoch are implemented here.  B clips, T
slices, S tokens, D width, C classes."""

from __future__ import annotations

import itertools
import json
import math
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from plain_equations import (
    DECAY,
    LEARNING_RATE,
    PlainAdam,
    Weights,
    cross_entropy,
    herd,
    linear_scores,
    logits,
    plain_forward,
    taskwise,
    unit,
)
from torch import Tensor

from avcil.features import FeatureStore
from avcil.saved_models.folder import load_tensors
from avcil.training import gradient
from avcil.training.config import TrainConfig
from avcil.training.run import Run

HEAD = ("head.weight", "head.bias")


@dataclass
class StepRecord:
    """The random choices of a run in one step."""

    start: Weights
    """Weights before the first batch."""
    teacher: Weights | None
    batches: list[list[tuple[Tensor, int]]] = field(default_factory=list)
    """For each epoch: rows of the store, and how many of them are new clips."""


@dataclass
class Recorded:
    """A run in float64."""

    out: Path
    steps: list[StepRecord]
    sizes: tuple[int, ...]
    config: TrainConfig

    def losses(self) -> list[float]:
        """Loss of each epoch."""
        lines = (self.out / "metrics.jsonl").read_text().splitlines()
        return [json.loads(line)["loss"] for line in lines]

    def best_epochs(self) -> list[int]:
        """Best epoch of each step."""
        return [self._state(step)["best_epoch"] for step in range(len(self.sizes))]

    def accuracies(self) -> list[list[float]]:
        """The accuracy matrix."""
        return [self._state(step)["accuracies"] for step in range(len(self.sizes))]

    def exemplars(self, step: int) -> dict[str, list[str]]:
        """Ids by class after a step."""
        return self._state(step)["exemplars"]

    def tensors(self, step: int) -> Weights:
        """The checkpoint after a step."""
        return load_tensors(self.out / "checkpoints" / f"step_{step}" / "model.safetensors")

    def _state(self, step: int) -> dict[str, Any]:
        return json.loads((self.out / "checkpoints" / f"step_{step}" / "state.json").read_text())


def record_run(
    store: Path, out: Path, method: str, *options: str, sizes=(3, 1, 2), epochs=4, **settings
) -> Recorded:
    """Train in float64 and record the random choices."""
    starts = np.cumsum([0, *sizes])
    names = [[f"c{number}" for number in range(a, b)] for a, b in itertools.pairwise(starts)]
    out.mkdir(parents=True, exist_ok=True)
    (out / "steps.json").write_text(json.dumps(names))
    config = TrainConfig(
        features=store,
        out=out / "run",
        method=method,
        steps=out / "steps.json",
        set=options,
        epochs=epochs,
        learning_rate=LEARNING_RATE,
        weight_decay=DECAY,
        precision="float64",
        **{"batch_size": 7, "exemplar_batch_size": 4} | settings,
    )
    recorded: list[StepRecord] = []
    original = gradient.batches

    def record(method, step, settings, epoch, *, whole):
        if epoch == 0:
            start = {name: value.clone() for name, value in step.network.tensors().items()}
            teacher = None
            if step.teacher is not None:
                teacher = {name: value.clone() for name, value in step.teacher.network.tensors().items()}
            recorded.append(StepRecord(start=start, teacher=teacher))
        taken = []
        for batch in original(method, step, settings, epoch, whole=whole):
            taken.append((torch.from_numpy(step.pool._rows)[batch.rows], batch.new_count))
            yield batch
        recorded[-1].batches.append(taken)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(gradient, "batches", record)
        Run(config, quiet=True).finish()
    return Recorded(out / "run", recorded, tuple(sizes), config)


class Transcription:
    """The loop over steps and epochs; a subclass overrides what is specific to its method."""

    frozen: tuple[str, ...] = ()
    """Names of tensors without gradient."""
    starts_afresh = False
    repeats = False
    """Whether herding may select a clip twice."""
    herds = False

    def __init__(self, recorded: Recorded) -> None:
        self.recorded, self.sizes = recorded, recorded.sizes
        features = FeatureStore(recorded.config.features)
        self.clips = features.clips
        rows = np.arange(len(self.clips))
        self.a = torch.from_numpy(features.audio(rows)).double()
        self.V = torch.from_numpy(features.visual(rows)).double()
        self.y = torch.tensor([int(clip.label[1:]) for clip in self.clips])
        self.splits = {s: torch.tensor([c.split == s for c in self.clips]) for s in ("train", "val", "test")}
        self.w: Weights = {}
        self.old: Weights | None = None
        """Weights at the end of the previous step."""
        self.index = 0
        self.memory: dict[int, list[int]] = {}
        """Rows of exemplars by class."""
        self.exemplars_after: list[dict[str, list[str]]] = []
        self.losses: list[float] = []
        self.best_epochs: list[int] = []
        self.accuracies: list[list[float]] = []
        self.weights_after: list[Weights] = []

    # -- methods to override

    def loss(self, w: Weights, rows: Tensor, n_c: int) -> Tensor:
        raise NotImplementedError

    def scores(self, w: Weights, rows: Tensor) -> Tensor:
        """Of the classifier that is used after a step."""
        return self.head_scores(w, rows)

    def validation_scores(self, w: Weights, rows: Tensor) -> Tensor:
        return self.head_scores(w, rows)

    def head_scores(self, w: Weights, rows: Tensor) -> Tensor:
        return logits(w, self.a[rows], self.V[rows])

    def start(self, w: Weights, record: StepRecord) -> None:
        """Change the weights at the start of a step."""

    def constrain(self, w: Weights) -> None:
        """Change the weights after an update."""

    def end(self) -> None:
        """Change the weights at the end of a step, before exemplars are selected."""

    def remember(self) -> None:
        """Called after exemplars were selected."""

    # -- the loop

    @property
    def known(self) -> int:
        return sum(self.sizes[: self.index])

    @property
    def total(self) -> int:
        return sum(self.sizes[: self.index + 1])

    def rows(self, split: str, classes=None) -> Tensor:
        """Rows of a split, of all seen classes or of the given classes."""
        chosen = self.y < self.total if classes is None else torch.isin(self.y, torch.tensor(list(classes)))
        return (self.splits[split] & chosen).nonzero()[:, 0]

    def run(self) -> None:
        for index, record in enumerate(self.recorded.steps):
            self.index = index
            self._step(record)

    def _step(self, record: StepRecord) -> None:
        self.old = dict(self.w) if self.index else None
        w = {name: value.clone() for name, value in record.start.items()}
        if self.index and not self.starts_afresh:
            w |= {name: value for name, value in self.w.items() if not name.startswith("head")}
            for name in HEAD:
                if name in w:
                    w[name] = torch.cat([self.w[name], record.start[name][len(self.w[name]) :]])
        self.start(w, record)
        adam, best, best_w, best_epoch = PlainAdam(w), -1.0, dict(w), 0
        for epoch, batches in enumerate(record.batches):
            w = self._epoch(w, adam, batches)
            held = self.rows("val")
            right = self.validation_scores(w, held).argmax(dim=1) == self.y[held]
            if float(right.double().mean()) > best:
                best, best_w, best_epoch = float(right.double().mean()), dict(w), epoch
        self.w = best_w
        self.best_epochs.append(best_epoch)
        self.end()
        self._choose()
        self.remember()
        self.weights_after.append(dict(self.w))
        self.accuracies.append([self._accuracy(task) for task in range(self.index + 1)])

    def _epoch(self, w: Weights, adam: PlainAdam, batches) -> Weights:
        sums = []
        for rows, n_c in batches:
            names = [name for name in w if name not in self.frozen]
            w = w | {name: w[name].detach().requires_grad_(True) for name in names}
            loss = self.loss(w, rows, n_c)
            result = torch.autograd.grad(loss, [w[name] for name in names], allow_unused=True)
            w = {name: value.detach() for name, value in w.items()}
            gradients = {name: g for name, g in zip(names, result, strict=True) if g is not None}
            adam.step(w, gradients)
            self.constrain(w)
            sums.append(float(loss.detach()))
        self.losses.append(math.fsum(sums) / len(sums))
        return w

    def _accuracy(self, task: int) -> float:
        first = sum(self.sizes[:task])
        asked = self.rows("test", range(first, first + self.sizes[task]))
        return float((self.scores(self.w, asked).argmax(dim=1) == self.y[asked]).double().mean())

    def quota(self) -> int:
        config = self.recorded.config
        return config.exemplars // self.total if config.exemplars else config.exemplars_per_class or 10

    def herded(self, w: Weights) -> dict[int, list[int]]:
        """Exemplar rows by class after this step: the first ones of old classes, herding for new classes."""
        kept = {label: rows[: self.quota()] for label, rows in self.memory.items()}
        for label in range(self.known, self.total):
            own = self.rows("train", [label])
            h = plain_forward(w, self.a[own], self.V[own]).h
            kept[label] = [int(own[i]) for i in herd(h, self.quota(), repeats=self.repeats)]
        return kept

    def _choose(self) -> None:
        if self.herds:
            self.memory = self.herded(self.w)
        else:  # random choices are shared with the run
            row_of = {clip.clip_id: row for row, clip in enumerate(self.clips)}
            kept = self.recorded.exemplars(self.index)
            self.memory = {int(label[1:]): [row_of[i] for i in ids] for label, ids in kept.items()}
        ids = {f"c{label}": [self.clips[row].clip_id for row in rows] for label, rows in self.memory.items()}
        self.exemplars_after.append(ids)

    def mean_scores(self, w: Weights, rows: Tensor, memory: dict[int, list[int]]) -> Tensor:
        """Minus the squared distance of hat(h) to the mean of hat(h) of each class's exemplars."""
        means = torch.stack(
            [
                unit(plain_forward(w, self.a[memory[c]], self.V[memory[c]]).h).mean(dim=0)
                for c in range(self.total)
            ]
        )
        asked = unit(plain_forward(w, self.a[rows], self.V[rows]).h)
        return -(asked[:, None] - means[None]).square().sum(dim=2)


class SeparatedSoftmax(Transcription):
    """SS-IL, which is AV-CIL without D-AVSC and VAD."""

    def cross_entropy(self, z: Tensor, y: Tensor, n_c: int) -> Tensor:
        if not self.index:
            return cross_entropy(z, y)
        new = cross_entropy(z[:n_c, self.known :], y[:n_c] - self.known)
        old = cross_entropy(z[n_c:, : self.known], y[n_c:])
        return (n_c * new + (len(y) - n_c) * old) / len(y)

    def loss(self, w: Weights, rows: Tensor, n_c: int) -> Tensor:
        z = linear_scores(w, plain_forward(w, self.a[rows], self.V[rows]).h)
        total = self.cross_entropy(z, self.y[rows], n_c)
        if self.index:
            assert self.old is not None
            z_old = logits(self.old, self.a[rows], self.V[rows]).detach()
            total = total + taskwise(z, z_old, self.sizes[: self.index])
        return total


def assert_lock_step(recorded: Recorded, transcription: Transcription, *, rtol: float = 1e-8) -> None:
    """Compare the losses of epochs, selected epochs, exemplars, accuracies, and the weights after each step."""
    transcription.run()
    assert recorded.losses() == pytest.approx(transcription.losses, rel=1e-9, abs=1e-9)
    assert recorded.best_epochs() == transcription.best_epochs
    for step, expected in enumerate(transcription.exemplars_after):
        assert recorded.exemplars(step) == expected
        saved = recorded.tensors(step)
        for name, value in transcription.weights_after[step].items():
            torch.testing.assert_close(saved[name], value, rtol=rtol, atol=1e-8)
    assert recorded.accuracies() == transcription.accuracies
