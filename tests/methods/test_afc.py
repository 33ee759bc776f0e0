"""AFC's importance, imprinting and frozen proxies, compared with independent computations."""

from __future__ import annotations

import math
from types import SimpleNamespace

import pytest
import torch
from torch.nn import functional as F

from avcil.errors import InputError
from avcil.losses import importance_weights, nca_loss
from avcil.methods.afc import Afc, AfcOptions, teacher_layers
from avcil.methods.step import Batch, Step
from avcil.nn.network import Network
from avcil.nn.proxy_head import ProxyHead
from avcil.training.memory_pool import Budget
from avcil.training.teacher import CachedTeacher

KNOWN, NEW, PROXIES = 2, 2, 10


def pool_of(labels: list[int]) -> SimpleNamespace:
    """A table in memory."""
    g = torch.Generator().manual_seed(0)
    n = len(labels)
    audio = torch.randn(n, 5, generator=g, dtype=torch.float64)
    visual = torch.randn(n, 2, 3, 6, generator=g, dtype=torch.float64)

    class Pool(SimpleNamespace):
        def __len__(self):
            return n

    def take(rows):
        return audio[rows], visual[rows]

    return Pool(
        labels=torch.tensor(labels),
        take=take,
        stream=lambda indices: map(take, indices),
        eval_batch_size=256,
    )


def begun_step(labels: list[int], new_count: int, *, budget: int = 10**9) -> tuple[Afc, Step]:
    """Step 1 after its head was extended and imprinted."""
    torch.manual_seed(0)
    method = Afc(AfcOptions(), modality="audio-visual")
    network = Network("audio-visual", audio_width=5, visual_width=6, head=method.build_head(6)).double()
    network.head.add_classes(KNOWN)
    pool = pool_of(labels)
    teacher = CachedTeacher(network, pool, new_count=new_count, budget=Budget.host_only(budget))
    network.head.add_classes(NEW)
    step = Step(
        index=1,
        task_sizes=(KNOWN, NEW),
        network=network,
        teacher=teacher,
        pool=pool,
        new_count=new_count,
        seed=3,
    )
    method.begin_step(step)
    return method, step


def batch_of(step: Step, rows: list[int]) -> Batch:
    index = torch.tensor(rows)
    audio, visual = step.pool.take(index)
    return Batch(audio=audio, visual=visual, labels=step.pool.labels[index], rows=index, new_count=len(rows))


LABELS = [2] * 14 + [3] * 12 + [0, 1, 0, 1]


def test_importance_by_finite_differences():
    """||dL/dl|| of x, f_a and f_v, by finite differences of each channel in the teacher's loss."""
    _, step = begun_step(LABELS, 26)
    network, batch = step.teacher.network, batch_of(step, [0, 15, 27])
    *parts, norms = teacher_layers(network, batch)

    def losses(x, f_a, f_v):
        f_v = F.relu(network.visual_projection(x)) if f_v is None else f_v
        return nca_loss(network.head(f_a + f_v), batch.labels)

    with torch.no_grad():
        x, f_a, f_v = parts
        for layer, inputs in enumerate([(x, f_a, None), (x, f_a, f_v), (x, f_a, f_v)]):
            squares = torch.zeros(3, dtype=torch.float64)
            for channel in range(6):
                sides = []
                for sign in (1, -1):
                    moved = [None if part is None else part.clone() for part in inputs]
                    moved[layer][:, channel] += sign * 1e-6
                    sides.append(losses(*moved))
                squares += ((sides[0] - sides[1]) / 2e-6).square()
            torch.testing.assert_close(norms[:, layer], squares.sqrt(), rtol=1e-5, atol=1e-8)


def test_cached_equals_recomputed():
    """Cached teacher outputs give the same loss as outputs computed for every batch."""
    values = []
    for budget in (10**9, 0):
        method, step = begun_step(LABELS, 26, budget=budget)
        for parameter in step.network.parameters():
            parameter.data += 0.1 * torch.randn(parameter.shape, generator=torch.Generator().manual_seed(1))
        for rows in ([0, 15, 27, 3], [27, 1], list(range(30))):
            batch = batch_of(step, rows)
            output = step.network(batch.audio, batch.visual)
            values.append(torch.stack(list(method.loss(output, batch, step).values())).detach())
        assert step.teacher.locations == {"layers": None if budget == 0 else "memory"}
    for cached, recomputed in zip(values[:3], values[3:], strict=True):
        torch.testing.assert_close(cached, recomputed, rtol=1e-12, atol=1e-14)


def test_weight_grows_with_the_step():
    """lambda sqrt(s + 1), s from 0, times the mean of sum_l w_l ||hat(l) - hat(l_old)||, in explicit loops."""
    method, step = begun_step(LABELS, 26)
    for parameter in step.network.parameters():
        parameter.data += 0.1 * torch.randn(parameter.shape, generator=torch.Generator().manual_seed(1))
    batch = batch_of(step, [0, 15, 27])
    output = step.network(batch.audio, batch.visual)
    *old, norms = teacher_layers(step.teacher.network, batch)
    new = [output.attended, output.audio_feature, output.visual_feature]
    total = 0.0
    for i in range(3):
        for layer in range(3):
            a, b = new[layer][i].detach(), old[layer][i]
            weight = float(norms[i, layer]) / sum(float(norms[i, k]) for k in range(3))
            total += weight * float((a / a.norm() - b / b.norm()).norm()) / 3
    for index in (1, 4):
        step.index = index
        term = method.loss(output, batch, step)["discrepancy"]
        assert term.item() == pytest.approx(0.5 * math.sqrt(index + 1) * total, rel=1e-9)
    assert importance_weights(norms).sum(dim=1).tolist() == pytest.approx([1.0] * 3)


def test_imprinted_proxies():
    """New proxies have the mean norm of the old ones, and the direction of means of clips of their class."""
    _, step = begun_step(LABELS, 26)
    head = step.network.head
    mean_norm = head.frozen.norm(dim=2).mean()
    torch.testing.assert_close(head.learning.norm(dim=2), mean_norm.expand(NEW, PROXIES))
    with torch.no_grad():
        units = F.normalize(step.network(*step.pool.take(torch.arange(26))).feature, dim=1)
    for number, rows in ((0, range(14)), (1, range(14, 26))):
        directions = F.normalize(head.learning[number], dim=1)
        groups: dict[int, list[torch.Tensor]] = {}
        # Each clip belongs to one proxy, which has the direction of the mean of its clips.
        for row in rows:
            groups.setdefault(int((directions @ units[row]).argmax()), []).append(units[row])
        matched = sum(
            bool(
                torch.allclose(directions[proxy], F.normalize(torch.stack(own).mean(dim=0), dim=0), atol=1e-6)
            )
            for proxy, own in groups.items()
        )
        assert (
            matched >= len(groups) - 1
        )  # the nearest center by angle and by distance may differ for one clip at a border


def test_teacher_has_the_new_classes():
    """The teacher's loss includes new clips: its head has the same imprinted proxies, and is frozen."""
    _, step = begun_step(LABELS, 26)
    assert torch.equal(step.teacher.network.head.learning, step.network.head.learning)
    assert not any(parameter.requires_grad for parameter in step.teacher.network.parameters())
    assert step.teacher.network.head is not step.network.head


@pytest.mark.parametrize("clips", [1, 3, 10])
def test_fewer_clips_than_proxies(clips):
    """A new class with few clips has all its proxies; clips are used repeatedly."""
    _, step = begun_step([2] * clips + [3] * 12 + [0, 1], clips + 12)
    directions = F.normalize(step.network.head.learning[0], dim=1)
    with torch.no_grad():
        units = F.normalize(step.network(*step.pool.take(torch.arange(clips))).feature, dim=1)
    torch.testing.assert_close(directions, units[torch.arange(PROXIES) % clips].detach())


def test_proxies_are_deterministic():
    """A step that is started again, as in a resumed run, does not depend on earlier random numbers."""
    method, step = begun_step(LABELS, 26)
    first = step.network.head.learning.detach().clone()
    torch.manual_seed(7)
    method.begin_step(step)
    assert torch.equal(step.network.head.learning, first)


def test_first_step_uses_only_the_nca_loss():
    """There is no teacher."""
    method, step = begun_step(LABELS, 26)
    step.teacher = None
    batch = batch_of(step, [0, 1])
    assert set(method.loss(step.network(batch.audio, batch.visual), batch, step)) == {"nca"}
    assert isinstance(method.build_head(4), ProxyHead)


def test_zero_proxies_are_an_error():
    """A class without proxies has no score."""
    with pytest.raises(InputError, match="proxies"):
        AfcOptions(proxies=0)
