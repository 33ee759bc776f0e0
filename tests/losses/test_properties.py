"""Properties that follow from the equations for all values: signs, zeros, symmetries, gradients.

N clips, C classes, D width, T time slices, S tokens.
"""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.nn import functional as F

from avcil.losses import (
    attention_divergence,
    audio_visual_log_similarity,
    class_similarity,
    discrepancy,
    icarl_distillation,
    importance_weights,
    instance_similarity,
    nca_loss,
    separated_softmax,
    taskwise_distillation,
)

few = settings(deadline=None, max_examples=20)
seeds = st.integers(0, 2**31)


def drawing(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def normal(g: torch.Generator, *shape: int) -> torch.Tensor:
    return torch.randn(*shape, generator=g, dtype=torch.float64)


@few
@given(seed=seeds, sizes=st.lists(st.integers(1, 4), min_size=1, max_size=4), new=st.integers(0, 3))
def test_distillation_zero_for_equal_logits(seed, sizes, new):
    """The loss is 0 for an unchanged model, for any logits of new classes, and positive otherwise."""
    g = drawing(seed)
    old, grown = normal(g, 5, sum(sizes)), normal(g, 5, sum(sizes) + new)
    same = torch.cat([old, normal(g, 5, new)], dim=1)
    assert abs(taskwise_distillation(same, old, task_sizes=sizes)) < 1e-12
    assert taskwise_distillation(grown, old, task_sizes=sizes) >= 0


@few
@given(seed=seeds, sizes=st.lists(st.integers(1, 3), min_size=1, max_size=7))
def test_distillation_is_a_sum_over_steps(seed, sizes):
    """Steps of equal size are computed together: the sum equals that of single steps."""
    g = drawing(seed)
    student, teacher = normal(g, 4, sum(sizes) + 2), normal(g, 4, sum(sizes))
    expected, start = 0.0, 0
    for size in sizes:
        q, p = ((z[:, start : start + size] / 2.0).softmax(dim=1) for z in (student, teacher))
        expected += 4.0 * float((p * (p / q).log()).sum()) / 4
        start += size
    assert abs(float(taskwise_distillation(student, teacher, task_sizes=sizes)) - expected) < 1e-12


@few
@given(seed=seeds, temperature=st.floats(0.5, 5))
def test_distillation_shift_invariance(seed, temperature):
    """Within each task and clip, only differences of logits matter."""
    g = drawing(seed)
    sizes = [3, 2]
    student, teacher = normal(g, 4, 5), normal(g, 4, 5)
    shift = torch.cat([normal(g, 4, 1).expand(4, size) for size in sizes], dim=1)
    one = taskwise_distillation(student, teacher, task_sizes=sizes, temperature=temperature)
    other = taskwise_distillation(student + shift, teacher - shift, task_sizes=sizes, temperature=temperature)
    torch.testing.assert_close(one, other)


@few
@given(seed=seeds, new_count=st.integers(1, 5), exemplars=st.integers(0, 5))
def test_batch_order_does_not_matter(seed, new_count, exemplars):
    """Permuting new clips among themselves, and exemplars among themselves, changes nothing."""
    g = drawing(seed)
    n, known = new_count + exemplars, 3
    order = torch.cat(
        [torch.randperm(new_count, generator=g), new_count + torch.randperm(exemplars, generator=g)]
    )
    labels = torch.cat(
        [
            torch.randint(known, 5, (new_count,), generator=g),
            torch.randint(0, known, (exemplars,), generator=g),
        ]
    )
    student, teacher, waveform, picture = (
        normal(g, n, 5),
        normal(g, n, known),
        normal(g, n, 4),
        normal(g, n, 4),
    )
    norms = normal(g, n, 2).abs()

    def values(i: torch.Tensor) -> torch.Tensor:
        similarity = audio_visual_log_similarity(waveform[i], picture[i])
        return torch.stack(
            [
                separated_softmax(student[i], labels[i], new_count=new_count, known=known),
                taskwise_distillation(student[i], teacher[i], task_sizes=[2, 1]),
                icarl_distillation(student[i, :known], teacher[i], form="original"),
                icarl_distillation(student[i, :known], teacher[i], form="release"),
                nca_loss(student[i], labels[i]).mean(),
                discrepancy(waveform[i], picture[i], importance_weights(norms[i])[:, 0]),
                instance_similarity(similarity),
                class_similarity(similarity, labels[i], form="paper"),
                class_similarity(similarity, labels[i], form="release"),
            ]
        )

    torch.testing.assert_close(values(torch.arange(n)), values(order))


@few
@given(seed=seeds, n=st.integers(1, 6))
def test_separated_softmax_at_the_first_step(seed, n):
    """Without known classes and exemplars it is cross-entropy."""
    g = drawing(seed)
    logits, labels = normal(g, n, 4), torch.randint(0, 4, (n,), generator=g)
    separated = separated_softmax(logits, labels, new_count=n, known=0)
    torch.testing.assert_close(separated, F.cross_entropy(logits, labels))


def test_separated_softmax_separates_gradients():
    """New clips give no gradient for old logits, exemplars none for new logits."""
    logits = normal(drawing(0), 4, 5).requires_grad_()
    separated_softmax(logits, torch.tensor([3, 4, 0, 2]), new_count=2, known=3).backward()
    assert not logits.grad[:2, :3].any()
    assert not logits.grad[2:, 3:].any()


@few
@given(seed=seeds, t=st.integers(1, 3), s=st.integers(1, 4), d=st.integers(1, 3))
def test_attention_divergence(seed, t, s, d):
    """Zero for an unchanged model, also if T = 1 and S = 1; otherwise the sum of KL divergences in explicit loops."""
    g = drawing(seed)
    student, teacher = (normal(g, 2, t, s, d).log_softmax(dim=2) for _ in range(2))
    assert attention_divergence(student, student) == 0
    loops = sum(
        (teacher[i, k, :, c].exp() * (teacher[i, k, :, c] - student[i, k, :, c])).sum()
        for i in range(2)
        for k in range(t)
        for c in range(d)
    )
    torch.testing.assert_close(attention_divergence(student, teacher), loops / 2)
    assert attention_divergence(student, teacher) >= -1e-12


@few
@given(seed=seeds, n=st.integers(1, 6))
def test_class_similarity_equals_explicit_loops(seed, n):
    """Both forms; if every clip has its own class, they equal the instance form, or 1/N of it."""
    g = drawing(seed)
    log_similarity = audio_visual_log_similarity(normal(g, n, 3), normal(g, n, 3))
    labels = torch.randint(0, 3, (n,), generator=g)
    paper = release = 0.0
    for i in range(n):
        own = [j for j in range(n) if labels[j] == labels[i]]
        total = sum(float(log_similarity[i, j]) for j in own)
        paper -= total / len(own) / n
        release -= total / n / n
    assert float(class_similarity(log_similarity, labels, form="paper")) == pytest.approx(paper)
    assert float(class_similarity(log_similarity, labels, form="release")) == pytest.approx(release)
    alone, instance = torch.arange(n), instance_similarity(log_similarity)
    torch.testing.assert_close(class_similarity(log_similarity, alone, form="paper"), instance)
    torch.testing.assert_close(class_similarity(log_similarity, alone, form="release"), instance / n)


@few
@given(seed=seeds)
def test_icarl_forms(seed):
    """Equal to explicit binary cross-entropy; only the original form has no gradient for an unchanged model."""
    g = drawing(seed)
    student, teacher = normal(g, 3, 4).requires_grad_(), normal(g, 3, 4)
    target = teacher.sigmoid()
    for form, result in (("original", student.sigmoid()), ("release", student.sigmoid().sigmoid())):
        expected = -(target * result.log() + (1 - target) * (1 - result).log()).mean()
        torch.testing.assert_close(icarl_distillation(student, teacher, form=form), expected)
    unchanged = teacher.clone().requires_grad_()
    (gradient,) = torch.autograd.grad(icarl_distillation(unchanged, teacher, form="original"), unchanged)
    assert gradient.abs().max() < 1e-12
    (gradient,) = torch.autograd.grad(icarl_distillation(unchanged, teacher, form="release"), unchanged)
    assert gradient.abs().max() > 1e-4


@few
@given(seed=seeds, shift=st.floats(-50, 50))
def test_nca_equals_explicit_loops(seed, shift):
    """Adding a constant to all scores changes nothing; large scores give finite values."""
    g = drawing(seed)
    scores, labels = normal(g, 3, 4), torch.randint(0, 4, (3,), generator=g)
    for i in range(3):
        moved = [float(score) - float(scores[i].max()) for score in scores[i]]
        others = sum(torch.tensor(s).exp().item() for j, s in enumerate(moved) if j != int(labels[i]))
        expected = -moved[int(labels[i])] + torch.tensor(1 + others).log().item()
        assert float(nca_loss(scores, labels)[i]) == pytest.approx(expected, rel=1e-6)
    torch.testing.assert_close(nca_loss(scores + shift, labels), nca_loss(scores, labels))
    assert nca_loss(1e4 * scores, labels).isfinite().all()


def test_discrepancy_of_an_unchanged_model():
    """The value and the gradient are zero, not NaN from a square root at zero; vector lengths do not matter."""
    feature = normal(drawing(0), 4, 3).requires_grad_()
    loss = discrepancy(feature, feature.detach())
    loss.backward()
    assert loss == 0
    assert not feature.grad.any()
    assert discrepancy(3 * feature, feature.detach()) < 1e-12


@few
@given(seed=seeds, layers=st.integers(1, 4))
def test_importance_weights(seed, layers):
    """They sum to one for each clip, are one for one layer, and do not depend on the scale of the gradient."""
    norms = normal(drawing(seed), 5, layers).abs() + 1e-3
    weights = importance_weights(norms)
    torch.testing.assert_close(weights.sum(dim=1), torch.ones(5, dtype=torch.float64))
    torch.testing.assert_close(importance_weights(1e-6 * norms), weights)


def losses_for_gradients():
    labels = torch.tensor([3, 4, 0, 2])
    teacher, weight = normal(drawing(1), 4, 3), torch.tensor([0.2, 0.5, 0.1, 0.9], dtype=torch.float64)
    tokens = normal(drawing(2), 4, 2, 3, 2).log_softmax(dim=2)
    yield "separated", lambda z: separated_softmax(z, labels, new_count=2, known=3), (4, 5)
    yield "taskwise", lambda z: taskwise_distillation(z, teacher, task_sizes=[1, 2]), (4, 5)
    yield "icarl-original", lambda z: icarl_distillation(z, teacher, form="original"), (4, 3)
    yield "icarl-release", lambda z: icarl_distillation(z, teacher, form="release"), (4, 3)
    yield "nca", lambda z: nca_loss(z, labels).mean(), (4, 5)
    yield "discrepancy", lambda f: discrepancy(f, teacher, weight), (4, 3)
    yield "attention", lambda a: attention_divergence(a.log_softmax(dim=2), tokens), (4, 2, 3, 2)
    yield "instance", lambda f: instance_similarity(audio_visual_log_similarity(f, teacher)), (4, 3)
    for form in ("paper", "release"):
        yield (
            f"class-{form}",
            lambda f, form=form: class_similarity(
                audio_visual_log_similarity(f, teacher), labels // 3, form=form
            ),
            (4, 3),
        )


@pytest.mark.parametrize(
    ("loss", "shape"), [pytest.param(f, s, id=name) for name, f, s in losses_for_gradients()]
)
def test_gradients(loss, shape):
    """Gradients are those of finite differences, in float64."""
    assert torch.autograd.gradcheck(loss, normal(drawing(3), *shape).requires_grad_())
