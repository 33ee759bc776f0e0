"""An AV-CIL iteration by avcil, by the plain equations, and its lower bound; used by training.py and gpu_parts.py.

B clips (new ones first), T time slices, S spatial tokens, D width. The plain equations write every attention map and
run the teacher in every iteration, as the release does; the lower bound is the two products with the tokens that no
implementation can avoid, V U^T and its gradient.
"""

from __future__ import annotations

import argparse
import copy
from collections.abc import Callable, Iterable, Iterator, Sequence
from statistics import median
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from avcil.methods.av_cil import AvCil, AvCilOptions
from avcil.methods.step import Batch, Step
from avcil.nn.attention import guided_attention
from avcil.nn.head import LinearHead
from avcil.nn.network import Network, NetworkOutput
from avcil.nn.token_rows import TokenRows, Tokens
from avcil.training.forward_backward import forward_backward
from avcil.training.memory_pool import Budget, MemoryPool
from avcil.training.teacher import CachedTeacher

CLASSES = 10
"""Number of old classes, and of new ones."""


class Clips:
    """Synthetic clips in memory with the interface of a training pool."""

    def __init__(
        self,
        a: argparse.Namespace,
        *,
        device: str = "cpu",
        dtype: torch.dtype = torch.float32,
        index: int = 1,
    ) -> None:
        draw = torch.Generator(device).manual_seed(0)
        self.count, self.new = a.new + a.exemplars, a.new
        shape = (self.count, a.slices, a.spatial, a.width)
        self.visual = torch.randn(shape, generator=draw, device=device, dtype=dtype)
        self.audio = torch.randn(self.count, a.width, generator=draw, device=device)
        known = CLASSES * index
        new = torch.randint(known, known + CLASSES, (a.new,), generator=draw, device=device)
        old = torch.randint(0, known, (a.exemplars,), generator=draw, device=device)
        self.labels = torch.cat([new, old])

    def __len__(self) -> int:
        return self.count

    def take(self, index: Tensor) -> tuple[Tensor, Tensor]:
        return self.audio[index], self.visual[index]

    def rows(self, index: Tensor) -> tuple[Tensor, Tokens]:
        """As from a table: views on a CPU, gathered on a GPU."""
        if self.visual.is_cuda:
            return self.take(index)
        return self.audio[index], TokenRows(self.visual, index, self.visual.dtype)

    eval_batch_size = 256

    def stream(self, indices: Iterable[Tensor]) -> Iterator[tuple[Tensor, Tensor]]:
        return map(self.take, indices)


def make_step(pool: Any, *, new: int, width: int, index: int = 1) -> Step:
    """Step `index`, from 1, before its first batch, on a pool as in training."""
    torch.manual_seed(0)
    head = LinearHead(width)
    head.add_classes(CLASSES * index)
    network = Network("audio-visual", audio_width=width, visual_width=width, head=head).to(pool.labels.device)
    everything = MemoryPool(available=2**62)
    teacher = CachedTeacher(network, pool, new_count=new, budget=Budget(device=everything, host=everything))
    network.head.add_classes(CLASSES)
    network.to(pool.labels.device)
    return Step(
        index=index,
        task_sizes=(CLASSES,) * (index + 1),
        network=network,
        teacher=teacher,
        pool=pool,
        new_count=new,
        seed=0,
    )


def adam(network: Network, *, fused: bool | None = None) -> torch.optim.Adam:
    """`fused`: one pass over all weights, as in training; the default of PyTorch is used by the release."""
    return torch.optim.Adam(network.parameters(), lr=1e-3, weight_decay=1e-4, fused=fused)


def descend(optimizer: torch.optim.Adam, loss: Tensor) -> Tensor:
    optimizer.zero_grad(set_to_none=True)
    loss.backward()
    optimizer.step()
    return loss.detach()


def avcil(a: argparse.Namespace, clips: Clips, index: int = 1) -> Callable[[], Tensor]:
    step, method = (
        make_step(clips, new=clips.new, width=a.width, index=index),
        AvCil(AvCilOptions(), modality="audio-visual"),
    )
    optimizer, draw = adam(step.network, fused=True), torch.Generator().manual_seed(0)

    def iterate() -> Tensor:
        new = torch.randperm(clips.new, generator=draw)
        rows = torch.cat([new, clips.new + torch.randperm(len(clips) - clips.new, generator=draw)])
        audio, visual = clips.rows(rows)
        batch = Batch(audio=audio, visual=visual, labels=clips.labels[rows], rows=rows, new_count=clips.new)
        optimizer.zero_grad(set_to_none=True)
        terms = forward_backward(method, step, batch)
        optimizer.step()
        return torch.stack(list(terms.values())).sum()

    return iterate


def plain(a: argparse.Namespace, clips: Clips) -> Callable[[], Tensor]:
    network, teacher = plain_pair(make_step(clips, new=clips.new, width=a.width))
    optimizer = adam(network)

    def iterate() -> Tensor:
        batch = clips.audio, clips.visual
        with torch.no_grad():
            old = plain_forward(teacher, *batch)
        return descend(optimizer, plain_loss(plain_forward(network, *batch), old, clips.labels, clips.new))

    return iterate


def compiled(a: argparse.Namespace, clips: Clips) -> Callable[[], Tensor]:
    """Network and loss of the plain equations with torch.compile and cached teacher outputs."""
    network, teacher = plain_pair(make_step(clips, new=clips.new, width=a.width))
    optimizer, batch = adam(network, fused=True), (clips.audio, clips.visual)
    with torch.no_grad():
        old = plain_forward(teacher, *batch)

    @torch.compile
    def total(waveform: Tensor, tokens: Tensor) -> Tensor:
        return plain_loss(plain_forward(network, waveform, tokens), old, clips.labels, clips.new)

    return lambda: descend(optimizer, total(*batch))


def plain_pair(step: Step) -> tuple[Network, Network]:
    """Student and teacher of the plain equations."""
    assert step.teacher is not None
    return step.network, copy.deepcopy(step.teacher.network)


def plain_forward(net: Network, waveform: Tensor, tokens: Tensor) -> NetworkOutput:
    """The network by the paper's equations, from audio (B, D) and tokens (B, T, S, D); every map is written out."""
    query, keys = torch.tanh(net.audio_attention(waveform)), torch.tanh(net.visual_attention(tokens))
    attention = guided_attention(tokens, keys, query)
    audio = F.relu(net.audio_projection(waveform))
    visual = F.relu(net.visual_projection(attention.attended))
    return NetworkOutput(
        logits=net.head(audio + visual),
        feature=audio + visual,
        audio_feature=audio,
        visual_feature=visual,
        **attention._asdict(),
    )


def plain_loss(
    out: NetworkOutput,
    old: NetworkOutput,
    labels: Tensor,
    new: int,
    *,
    sizes: Sequence[int] = (CLASSES, CLASSES),
    lambda_instance: float = 0.5,
) -> Tensor:
    """AV-CIL's total after steps of `sizes` classes, equation by equation; the other weights are the release's."""
    n, tau, t, known = len(labels), 0.05, 2.0, sum(sizes[:-1])
    ce = F.cross_entropy(out.logits[:new, known:], labels[:new] - known, reduction="sum")
    ce = (ce + F.cross_entropy(out.logits[new:, :known], labels[new:], reduction="sum")) / n
    kd, start = torch.zeros_like(ce), 0
    for size in sizes[:-1]:
        columns = slice(start, start + size)
        target, guess = F.softmax(old.logits[:, columns] / t, 1), F.log_softmax(out.logits[:, columns] / t, 1)
        kd, start = kd + t * t * (target * (target.log() - guess)).sum() / n, start + size
    similarity = F.normalize(out.audio_feature, dim=1) @ F.normalize(out.visual_feature, dim=1).T
    log = F.log_softmax(similarity / tau, 1)
    same = (labels[:, None] == labels[None]).to(log)
    instance, classes = -log.diag().mean(), -(same * log).sum() / n / n
    pairs = (old.spatial_log, out.spatial_log), (old.temporal_log, out.temporal_log)
    vad = sum((was[new:].exp() * (was - now)[new:]).sum() for was, now in pairs) / (n - new)
    return ce + kd + lambda_instance * instance + classes + 0.5 * vad


def floor(a: argparse.Namespace, clips: Clips) -> Callable[[], Tensor]:
    flat = clips.visual.flatten(0, 2)
    weight, out = torch.randn(a.width, a.width).to(flat), torch.empty_like(flat)

    def iterate() -> Tensor:
        torch.mm(flat, weight.T, out=out)
        return (out.T @ flat)[0, 0]

    return iterate


WAYS = {"avcil": avcil, "plain": plain, "compiled": compiled, "floor": floor}


def add_shape(parser: argparse.ArgumentParser, *, new: int, exemplars: int) -> None:
    sizes = {"new": new, "exemplars": exemplars, "slices": 8, "spatial": 196, "width": 768}
    for name, default in sizes.items():
        parser.add_argument(f"--{name}", type=int, default=default)


def ratio(times: list[float], others: list[float]) -> str:
    """Ratios of simultaneous runs, and of the minima."""
    beside = median(x / y for x, y in zip(times, others, strict=True))
    return f"{beside:.2f} | {min(times) / min(others):.2f}"
