"""Forward and backward pass of one batch: the whole batch, or gradient accumulation with equal gradients.

Losses compare the clips of a batch with one another, so gradients of parts cannot be summed. Instead each
part goes through the network without gradient; the loss is computed from the small outputs of all parts; then
each part goes through the network again, and the gradient of the loss with respect to its outputs is propagated
(GradCache: Gao et al., RepL4NLP 2021). This needs one more forward pass, and memory for the tokens and keys of one part
instead of the batch. In distributed training, each process does the same for its shard of the batch.

N clips of a batch, n of a part.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import fields
from typing import Any

import torch
from torch import Tensor

from avcil.errors import InputError
from avcil.methods.base import GradientMethod
from avcil.methods.step import Batch, Step
from avcil.nn.network import NetworkOutput
from avcil.training.distributed import ProcessGroup

_PER_CLIP = tuple(field.name for field in fields(NetworkOutput) if field.name != "spatial_log")
"""The fields of `NetworkOutput` that have one row for each clip and are small."""


def forward_backward(method: GradientMethod, step: Step, batch: Batch) -> dict[str, Tensor]:
    """Loss terms of a batch with features; gradients are accumulated in the parameters."""
    terms = method.loss(method.forward(batch, step), batch, step)
    _total(method, terms).backward()
    return _values(terms)


def _total(method: GradientMethod, terms: dict[str, Tensor]) -> Tensor:
    """The sum of the terms; InputError if a user's method returns anything but scalars by name."""
    are_scalars = (
        isinstance(terms, dict)
        and terms
        and all(isinstance(term, Tensor) and not term.ndim for term in terms.values())
    )
    if not are_scalars:
        raise InputError(
            f"{type(method).__name__}.loss must return scalar tensors by name, such as "
            '{"cross_entropy": F.cross_entropy(output.logits, batch.labels)}'
        )
    return torch.stack(list(terms.values())).sum()


def _values(terms: dict[str, Tensor]) -> dict[str, Tensor]:
    """The terms without their graph, which would keep the batch in memory."""
    return {name: term.detach() for name, term in terms.items()}


def accumulate_gradients(
    method: GradientMethod, step: Step, batch: Batch, *, clips_at_once: int, process_group: ProcessGroup
) -> dict[str, Tensor]:
    """As `forward_backward`, for a batch without features (`Batch.is_whole` is false).

    Args:
        method: The method.
        step: The training step, with the clips.
        batch: Labels and rows of the clips.
        clips_at_once: Clips per part.
        process_group: The processes that share the batch.

    Returns:
        The terms of the loss by name.
    """
    rows = torch.arange(len(batch.labels))[process_group.shard(len(batch.labels))]
    parts = list(rows.split(clips_at_once)) if len(rows) else [rows]
    once = len(parts) == 1  # no second forward pass is needed
    with torch.set_grad_enabled(once):
        outputs = [method.forward(part, step) for part in _parts(batch, step, parts)]
    joined = _joined(outputs, process_group)
    outputs = outputs if once else []
    terms = method.loss(joined, batch, step)
    _total(method, terms).backward()
    if not process_group.is_first:  # terms that depend on parameters directly count once
        for parameter in step.network.parameters():
            parameter.grad = None
    start = int(rows[0]) if len(rows) else 0
    exemplars = max(0, start - batch.new_count)
    outputs_again = (
        iter(outputs) if once else (method.forward(part, step) for part in _parts(batch, step, parts))
    )
    for output in outputs_again:
        count, first_held = len(output.logits), 0
        if output.spatial_divergence is not None:
            first_held = len(output.spatial_divergence)
        _backward_part(output, joined, slice(start, start + count), slice(exemplars, exemplars + first_held))
        start, exemplars = start + count, exemplars + first_held
        del output  # with its graph, before the next part's is made
    return _values(terms)


def _parts(batch: Batch, step: Step, parts: list[Tensor]) -> Iterator[Batch]:
    """The parts with their features, prefetched if they come from the store."""
    for part, (audio, visual) in zip(
        parts, step.pool.stream(batch.rows[part] for part in parts), strict=True
    ):
        first = int(part[0]) if len(part) else len(batch.labels)
        yield Batch(
            audio=audio,
            visual=visual,
            labels=batch.labels[part],
            rows=batch.rows[part],
            new_count=min(max(0, batch.new_count - first), len(part)),
        )


def _joined(outputs: list[NetworkOutput], process_group: ProcessGroup) -> NetworkOutput:
    """The outputs of all parts and processes, concatenated, as leaves that require gradients."""
    joined: dict[str, Any] = {}
    for name in _PER_CLIP:
        values = [getattr(output, name) for output in outputs]
        if values[0] is not None:
            joined[name] = process_group.all_gather(torch.cat(values).detach()).requires_grad_()
    return NetworkOutput(**joined)


def _backward_part(output: NetworkOutput, joined: NetworkOutput, clips: slice, held: slice) -> None:
    """Propagate the gradient of the loss with respect to the outputs of a part."""
    tensors, gradients = [], []
    for name in _PER_CLIP:
        tensor, joined_tensor = getattr(output, name), getattr(joined, name)
        if tensor is not None and tensor.requires_grad and joined_tensor.grad is not None:
            tensors.append(tensor)
            gradients.append(joined_tensor.grad[held if name == "spatial_divergence" else clips])
    torch.autograd.backward(tensors, gradients)
