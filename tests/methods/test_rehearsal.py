"""Herding, class means and shared parts of rehearsal methods, compared with independent computations."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from avcil.features import FeatureStore
from avcil.methods.exemplars import choose_by_herding
from avcil.saved_models.folder import load_model, load_tensors
from avcil.training.config import TrainConfig
from avcil.training.run import train


def herd_by_loops(features: np.ndarray, quota: int, *, repeats: bool) -> list[int]:
    """Greedy selection: the clip that makes the mean of the selected clips nearest to the class mean."""
    units = [row / np.linalg.norm(row) for row in features]
    target = sum(units) / len(units)
    chosen: list[int] = []
    while len(chosen) < min(quota, len(units)):
        best, nearest = -1, np.inf
        for i, unit in enumerate(units):
            if i in chosen and not repeats:
                continue
            running = sum([units[j] for j in chosen], unit) / (len(chosen) + 1)
            distance = float(np.linalg.norm(running - target))
            if distance < nearest:
                best, nearest = i, distance
        chosen.append(best)
    return chosen


@settings(deadline=None, max_examples=20)
@given(seed=st.integers(0, 999), n=st.integers(3, 12), quota=st.integers(1, 12))
def test_herding(seed, n, quota):
    """Both forms are the greedy rule; they agree up to the first clip that the release would take again.

    Of two clips both are equally far from their mean, so rounding decides: three are the fewest that tell.
    """
    features = np.random.default_rng(seed).standard_normal((n, 4))
    ours, release = (choose_by_herding(torch.from_numpy(features), quota, repeats=r) for r in (False, True))
    assert ours == herd_by_loops(features, quota, repeats=False)
    assert release == herd_by_loops(features, quota, repeats=True)
    assert len(set(ours)) == min(quota, n)
    same = next((i for i in range(1, len(release)) if release[i] in release[:i]), len(release))
    assert ours[:same] == release[:same]


def test_herding_of_the_release_repeats_clips():
    """Therefore it is a separate option."""
    features = torch.tensor([[1.0, 0.0], [0.0, 1.0], [1.0, 1.0]])
    assert choose_by_herding(features, 3, repeats=True) == [2, 2, 2]
    assert sorted(choose_by_herding(features, 3)) == [0, 1, 2]


def run(store, out, method, *settings, **changes) -> None:
    defaults = {
        "classes_per_step": 3,
        "epochs": 2,
        "batch_size": 8,
        "exemplar_batch_size": 4,
        "exemplars": 12,
    }
    train(TrainConfig(features=store, out=out, method=method, set=settings, **defaults | changes), quiet=True)


@pytest.mark.parametrize("method", [("icarl",), ("afc", "classifier=nme")], ids=lambda m: m[0])
def test_class_means(method, store, tmp_path):
    """The means of a saved model are those of hat(h) of the exemplars in its last checkpoint."""
    run(store, tmp_path / "run", *method)
    model, labels, _ = load_model(tmp_path / "run" / "model")
    features = FeatureStore(store)
    row_of = {clip.clip_id: row for row, clip in enumerate(features.clips)}
    exemplars = json.loads((tmp_path / "run/checkpoints/step_1/state.json").read_text())["exemplars"]
    for number, label in enumerate(labels):
        units = []
        for clip_id in exemplars[label]:
            audio, visual = features.audio([row_of[clip_id]]), features.visual([row_of[clip_id]])
            with torch.no_grad():
                h = model(torch.from_numpy(audio).float(), torch.from_numpy(visual).float()).feature[0]
            units.append(h / h.norm())
        torch.testing.assert_close(model.class_means[number], sum(units) / len(units))


def test_release_herding_is_an_option(store, tmp_path):
    """`herding=release` is used: with 8 clips per class and room for all, a clip occurs twice."""
    for form in ("distinct", "release"):
        run(store, tmp_path / form, "icarl", f"herding={form}", exemplars=48)
        state = json.loads((tmp_path / form / "checkpoints/step_1/state.json").read_text())
        counts = [len(set(ids)) for ids in state["exemplars"].values()]
        assert (counts == [8] * 6) == (form == "distinct")


def test_av_cil_without_its_terms_is_ss_il(store, tmp_path):
    """Without its own terms AV-CIL equals SS-IL bit for bit; with any of them it differs."""
    off = ["lambda_instance=0", "lambda_class=0", "vad_spatial=false", "vad_temporal=false"]
    run(store, tmp_path / "ss-il", "ss-il")
    run(store, tmp_path / "off", "av-cil", *off)
    run(store, tmp_path / "on", "av-cil", *off[1:])
    first, second, third = (
        load_tensors(tmp_path / name / "checkpoints/step_1/model.safetensors")
        for name in ("ss-il", "off", "on")
    )
    assert all(torch.equal(first[key], second[key]) for key in first)
    assert not all(torch.equal(first[key], third[key]) for key in first)


def test_options_change_the_model(store, tmp_path):
    """iCaRL's distillation, AFC's proxies and weight."""
    variants = {
        "icarl": [(), ("distillation=release",), ("classifier=fc",)],
        "afc": [
            (),
            ("proxies=3",),
            ("lambda_discrepancy=0",),
            ("classifier=nme",),
            ("finetuning_iterations=0",),
            ("finetuning_learning_rate=0.5",),
        ],
        "podnet": [(), ("lambda_pooled=0",), ("lambda_flat=0",), ("nca=paper",), ("classifier=nme",)],
        "wa": [(), ("clip_weights=false",)],
        "lwf": [(), ("temperature_distillation=4",)],
        "ss-il": [(), ("temperature_distillation=4",)],
    }
    for method, options in variants.items():
        seen = set()
        for number, settings_ in enumerate(options):
            out = tmp_path / f"{method}-{number}"
            run(store, out, method, *settings_)
            seen.add((out / "model/model.safetensors").read_bytes())
        assert len(seen) == len(options), method
