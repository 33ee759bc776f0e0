"""One iteration's forward and backward pass: the whole batch at once, or in parts that give the same gradients.

Losses compare the clips of a batch with one another, so gradients of parts cannot simply be added up. Instead each part
goes through the network without gradient; the loss is taken of all their outputs together, which are small; then each
part goes through again and is given its share of the gradient by its outputs (GradCache: Gao et al., RepL4NLP 2021).
It costs one more forward pass, and memory for one part's tokens and keys instead of the batch's. Processes of a team
do the same with a part of the batch each.

N clips of a batch, n of a part.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import fields
from typing import Any

import torch
from torch import Tensor

from avcil.methods.base import Batch, GradientMethod, Step
from avcil.nn.network import NetworkOutput
from avcil.training.distributed import ProcessGroup

PER_CLIP = tuple(field.name for field in fields(NetworkOutput) if field.name != "spatial_log")
"""Of `NetworkOutput`: what has a row for each clip and is small."""


def forward_backward(method: GradientMethod, step: Step, batch: Batch) -> dict[str, Tensor]:
    """The loss's terms of a batch whose tokens are at hand; gradients are added to the parameters'."""
    terms = method.loss(method.forward(batch, step), batch, step)
    torch.stack(list(terms.values())).sum().backward()
    return _values(terms)


def _values(terms: dict[str, Tensor]) -> dict[str, Tensor]:
    """The terms without their graph, which would hold the batch through the next one."""
    return {name: term.detach() for name, term in terms.items()}


def accumulate_gradients(
    method: GradientMethod, step: Step, batch: Batch, *, clips_at_once: int, team: ProcessGroup
) -> dict[str, Tensor]:
    """The same of a batch without tokens (`Batch.is_whole` is false), `clips_at_once` at a time."""
    rows = torch.arange(len(batch.labels))[team.share(len(batch.labels))]
    parts = list(rows.split(clips_at_once)) if len(rows) else [rows]
    once = len(parts) == 1  # its graph is kept, and no second pass is needed
    with torch.set_grad_enabled(once):
        outputs = [method.forward(part, step) for part in _parts(batch, step, parts)]
    joined = _joined(outputs, team)
    outputs = outputs if once else []
    terms = method.loss(joined, batch, step)
    torch.stack(list(terms.values())).sum().backward()
    if not team.is_first:  # what the loss itself asks of parameters counts once
        for parameter in step.network.parameters():
            parameter.grad = None
    start = int(rows[0]) if len(rows) else 0
    exemplars = max(0, start - batch.new_count)
    again = iter(outputs) if once else (method.forward(part, step) for part in _parts(batch, step, parts))
    for output in again:
        count, held = len(output.logits), 0
        if output.spatial_divergence is not None:
            held = len(output.spatial_divergence)
        _pull(output, joined, slice(start, start + count), slice(exemplars, exemplars + held))
        start, exemplars = start + count, exemplars + held
        del output  # with its graph, before the next part's is made
    return _values(terms)


def _parts(batch: Batch, step: Step, parts: list[Tensor]) -> Iterator[Batch]:
    """The parts with their tokens, read ahead where they come from the store."""
    for places, (audio, visual) in zip(
        parts, step.pool.stream(batch.rows[places] for places in parts), strict=True
    ):
        first = int(places[0]) if len(places) else len(batch.labels)
        yield Batch(
            audio=audio,
            visual=visual,
            labels=batch.labels[places],
            rows=batch.rows[places],
            new_count=min(max(0, batch.new_count - first), len(places)),
        )


def _joined(outputs: list[NetworkOutput], team: ProcessGroup) -> NetworkOutput:
    """The outputs of all parts of all processes as one, which gradients are taken by."""
    joined: dict[str, Any] = {}
    for name in PER_CLIP:
        values = [getattr(output, name) for output in outputs]
        if values[0] is not None:
            joined[name] = team.gather(torch.cat(values).detach()).requires_grad_()
    return NetworkOutput(**joined)


def _pull(output: NetworkOutput, joined: NetworkOutput, clips: slice, held: slice) -> None:
    """Give a part's outputs the gradient that the loss has by them."""
    tensors, gradients = [], []
    for name in PER_CLIP:
        tensor, whole = getattr(output, name), getattr(joined, name)
        if tensor is not None and tensor.requires_grad and whole.grad is not None:
            tensors.append(tensor)
            gradients.append(whole.grad[held if name == "spatial_divergence" else clips])
    torch.autograd.backward(tensors, gradients)
