"""The release's forms of AFC, iCaRL, SS-IL and AV-CIL compared with an independent implementation: weights to 1e-8."""

from __future__ import annotations

import math

import pytest
import torch
from lock_step import SeparatedSoftmax, Transcription, assert_lock_step, record_run
from plain_equations import cross_entropy, logits, plain_forward, unit
from plain_proxies import PROXIES, ProxyTranscription, nca

from avcil.experiments.recipes import find_recipe
from avcil.methods.registry import load_method, parse_options


def release_options(method: str, *others: str) -> tuple[str, ...]:
    """Options of the recipe for AVE-CI."""
    recipe = find_recipe(method, "ave-ci", "audio-visual")
    return (*(f"{name}={value}" for name, value in recipe["set"].items()), *others)


# -- AFC ---------------------------------------------------------------------------------------------------------------


class AfcTranscription(ProxyTranscription):
    """AFC of the release; new proxies and the teacher's random ones are taken from the run, and checked."""

    repeats = True
    by_means = False

    def start(self, w, record):
        if not self.index:
            return
        old = torch.cat([self.old["head.frozen"], self.old["head.learning"]])
        w["head.frozen"], w["head.scale"] = old, torch.ones((), dtype=torch.float64)
        self.assert_proxies_are_centers(w, points=lambda h: h)
        random = record.teacher["head.learning"]
        assert not torch.allclose(random, w["head.learning"])
        self.teacher = self.old | {"head.frozen": old, "head.learning": random, "head.scale": w["head.scale"]}

    def scores(self, w, rows):
        return self.mean_scores(w, rows, self.memory) if self.by_means else self.head_scores(w, rows)

    def validation_scores(self, w, rows):
        return self.mean_scores(w, rows, self.herded(w)) if self.by_means else self.head_scores(w, rows)

    def loss(self, w, rows, n_c):
        a, V, y = self.a[rows], self.V[rows], self.y[rows]
        new = plain_forward(w, a, V)
        total = nca(self.z(w, new.h), y).mean()
        if not self.index:
            return total
        t = {name: value.detach() for name, value in self.teacher.items()}
        old = plain_forward(t, a, V)
        x, f_a = old.x.detach().requires_grad_(), old.f_a.detach().requires_grad_()
        f_v = (x @ t["visual_projection.weight"].T + t["visual_projection.bias"]).clamp(min=0)
        gradients = torch.autograd.grad(nca(self.z(t, f_a + f_v), y).mean(), (x, f_a, f_v))
        importance = torch.stack([g.norm(dim=1) for g in gradients])
        weights = importance / importance.sum(dim=0)
        for weight, one, other in zip(
            weights, (new.x, new.f_a, new.f_v), (old.x, old.f_a, old.f_v), strict=True
        ):
            distance = (unit(one) - unit(other)).norm(dim=1)
            total = total + 0.5 * math.sqrt(self.index + 1) * (weight * distance).mean()
        return total


@pytest.mark.parametrize("classifier", ["lsc", "nme"])
def test_afc(classifier, store, tmp_path):
    """eta is reset to 1 at each step, the teacher's new proxies are random, centers use unnormalized features."""
    options = release_options("afc", f"classifier={classifier}", f"proxies={PROXIES}")
    recorded = record_run(store, tmp_path, "afc", *options, exemplars=12)
    transcription = AfcTranscription(recorded)
    transcription.by_means = classifier == "nme"
    assert_lock_step(recorded, transcription)


# -- iCaRL -------------------------------------------------------------------------------------------------------------


class IcarlNme(Transcription):
    """Double sigmoid, herding that repeats, validation by exemplar means."""

    herds = repeats = True

    def loss(self, w, rows, n_c):
        z = logits(w, self.a[rows], self.V[rows])
        total = cross_entropy(z, self.y[rows])
        if not self.index:
            return total
        target = torch.sigmoid(logits(self.old, self.a[rows], self.V[rows])).detach()
        p = torch.sigmoid(torch.sigmoid(z[:, : self.known]))
        return total - (target * p.log() + (1 - target) * (1 - p).log()).mean()

    def scores(self, w, rows):
        return self.mean_scores(w, rows, self.memory)

    def validation_scores(self, w, rows):
        return self.mean_scores(w, rows, self.herded(w))


def test_icarl_nme(store, tmp_path):
    """The best epoch is the one whose exemplar means classify the validation clips best."""
    recorded = record_run(store, tmp_path, "icarl", *release_options("icarl"), exemplars=12, epochs=6)
    assert_lock_step(recorded, IcarlNme(recorded))


def test_validation_by_means_only_selects_the_epoch(store, tmp_path):
    """Training within a step is the same."""
    head, means = (
        record_run(store, tmp_path / form, "icarl", f"validation={form}", sizes=(6,), epochs=6)
        for form in ("head", "classifier")
    )
    assert head.losses() == means.losses()


# -- SS-IL and AV-CIL --------------------------------------------------------------------------------------------------


class SsIlRelease(SeparatedSoftmax):
    """Cross-entropy at step 1 if steps have four classes."""

    def cross_entropy(self, z, y, n_c):
        if self.index == 1 and self.sizes[:2] == (4, 4):
            return cross_entropy(z, y)
        return super().cross_entropy(z, y, n_c)


@pytest.mark.parametrize("sizes", [(4, 4, 4), (3, 4, 4)])
def test_ss_il_with_four_classes_per_step(sizes, new_store, tmp_path):
    """At step 1 of (4, 4, 4) the cross-entropy is over all classes, then separated; with (3, 4, 4) always separated."""
    clips = new_store(classes=sum(sizes))
    recorded = record_run(clips, tmp_path, "ss-il", *release_options("ss-il"), sizes=sizes, exemplars=24)
    assert_lock_step(recorded, SsIlRelease(recorded))


@pytest.mark.parametrize("method", ["ss-il", "av-cil"])
@pytest.mark.parametrize("repeated", [True, False])
def test_exemplar_batches_repeat(method, repeated, store, tmp_path):
    """Within an epoch, the release repeats the same exemplar batches; the other form shuffles them again."""
    options = release_options(method) if repeated else ()
    recorded = record_run(store, tmp_path, method, *options, sizes=(3, 3), exemplars=9, batch_size=4)
    rehearsed = [[rows[n_c:].tolist() for rows, n_c in epoch] for epoch in recorded.steps[1].batches]
    per_pass = 9 // 4  # batches of four among nine exemplars
    for batches in rehearsed:
        assert len(batches) == 6
        repeats = all(batches[i] == batches[i % per_pass] for i in range(len(batches)))
        assert repeats == repeated
    assert rehearsed[0] != rehearsed[1]


@pytest.mark.parametrize("method", ["afc", "icarl", "ss-il", "av-cil"])
def test_recipes_name_the_release_forms(method):
    """Every option with a form of the release has this form in the recipes."""
    chosen = parse_options(load_method(method), release_options(method), name=method)
    release = {
        "distillation": "release",
        "herding": "release",
        "validation": "classifier",
        "eta": "reset",
        "teacher_proxies": "random",
        "clustering": "features",
        "exemplar_batches": "repeated",
        "cross_entropy": "release-ave",
        "class_form": "release",
    }
    own = {name: value for name, value in release.items() if hasattr(chosen, name)}
    assert own
    assert {name: getattr(chosen, name) for name in own} == own
