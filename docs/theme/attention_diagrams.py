"""Drawings of audio-guided attention, of D-AVSC and of VAD."""

from __future__ import annotations

import torch
from drawing import Drawing

from avcil.losses import class_similarity
from avcil.nn.attention import guided_attention

LABELS = ("cat", "cat", "dog", "dog", "dog", "owl")
"""Of the batch in which D-AVSC is drawn."""
EXAMPLE = ((1, 0.2), (6, 0.95), (14, 0.0))
"""A thing that moves down, heard in slice 2: a place a slice, and how much its key agrees with the sound."""


def attention() -> Drawing:
    """From sound and tokens to what is looked at."""
    sheet = Drawing("attention", "Audio-guided attention: spatial, then temporal", 560)
    spatial, temporal = _example(EXAMPLE)
    sheet.box(8, 6, 190, 44, "audio  a", color="sound", fill="sound-box")
    sheet.box(
        222,
        6,
        190,
        44,
        "visual tokens  V\nslices × positions × channels",
        color="picture",
        fill="picture-box",
        size=13,
    )
    sheet.arrow([(103, 52), (103, 78)], color="sound")
    sheet.arrow([(317, 52), (317, 78)], color="picture")
    sheet.box(8, 80, 190, 40, "p = tanh(Uₐ a + cₐ)", color="sound", fill="paper")
    sheet.box(222, 80, 190, 40, "P = tanh(Uᵥ V + cᵥ)", color="picture", fill="paper")
    sheet.arrow([(103, 122), (103, 148), (150, 148)], color="sound")
    sheet.arrow([(317, 122), (317, 148), (270, 148)], color="picture")
    sheet.text(210, 148, "P ∘ p : similarity", bold=True)
    for t in range(3):
        x = 14 + 138 * t
        sheet.text(x + 58, 178, f"slice {t + 1}", size=13, color="soft")
        high = spatial[t].max()
        sheet.grid(
            x + 10,
            190,
            4,
            4,
            24,
            color="picture",
            level=lambda r, c, t=t, high=high: float(spatial[t][4 * r + c] / high),
        )
    sheet.text(210, 304, "spatial: Aₛ, softmax over positions", bold=True)
    for t in range(3):
        sheet.arrow([(72 + 138 * t, 316), (72 + 138 * t, 342)], color="picture")
    for t in range(3):
        share = float(temporal[t])
        sheet.box(14 + 138 * t, 344, 116, 60, fill="paper", color="line")
        sheet.box(
            14 + 138 * t,
            404 - 60 * share,
            116,
            60 * share,
            fill="sound",
            color="sound",
            round_=2,
            opacity=0.6,
        )
        sheet.text(72 + 138 * t, 358, f"{100 * share:.0f} %", size=13)
    sheet.text(210, 424, "temporal: Aₜ, softmax of u ∘ p,  u = Σ Aₛ ∘ P", bold=True)
    sheet.arrow([(210, 436), (210, 458)])
    sheet.box(48, 460, 324, 44, "x = Σₜ Aₜ ∘ Σₛ Aₛ ∘ V", color="picture", fill="picture-box")
    sheet.text(210, 520, "the raw tokens, weighted by both", size=13, color="soft")
    sheet.text(210, 542, "one pair of maps for each of the D channels", size=13, color="soft")
    return sheet


def _example(seen: tuple[tuple[int, float], ...]) -> tuple[torch.Tensor, torch.Tensor]:
    """Maps of one channel, (T, S) and (T,), by `guided_attention`: `seen` says where in each slice the key agrees with
    the sound, and how much."""
    keys = torch.full((1, len(seen), 16, 1), -0.9)
    for slice_, (place, strength) in enumerate(seen):
        keys[0, slice_, place] = strength
    found = guided_attention(keys, keys, torch.full((1, 1), 1.0))
    return found.spatial_log.exp()[0, :, :, 0], found.temporal_log.exp()[0, :, 0]


def similarity() -> Drawing:
    """Which pairs of sound and picture each constraint pulls together, and how hard."""
    sheet = Drawing("similarity", "D-AVSC: audio-visual pairs of each constraint", 516)
    count, labels = len(LABELS), torch.tensor([0, 0, 1, 1, 1, 2])
    # The pull on a pair is minus the loss's derivative by that pair's log-similarity.
    pulls = {"instance": torch.eye(count) / count}
    for form in ("paper", "release"):
        pulls[form] = _pull(labels, form)
    titles = {
        "instance": ("instance-aware", "audio and frames of one clip"),
        "paper": ("class-aware, Eq. 7", "a class's pairs, 1 / |P(i)| each"),
        "release": ("class-aware, released", "a class's pairs, 1 / N each"),
    }
    places = {"instance": (8, 8), "paper": (222, 8), "release": (222, 266)}
    for name, (x, y) in places.items():
        _matrix(sheet, x, y, pulls[name], titles[name], largest=1 / count)
    for number, words in enumerate(
        (
            "rows: audio  f_a",
            "columns: visual  f_v",
            "each row is a softmax of",
            "cosines / τ, τ = 0.05",
            "The number in a cell:",
            "100 × its weight in the loss",
        )
    ):
        sheet.text(14, 300 + 24 * number, words, size=13, anchor="start", color="soft")
    sheet.text(14, 456, f"here N = {count}; in training", size=13, anchor="start", color="soft")
    sheet.text(14, 480, "N = 256 + 128", size=13, anchor="start", color="soft")
    return sheet


def _pull(labels: torch.Tensor, form: str) -> torch.Tensor:
    """(N, N): minus the derivative of the library's class-aware loss by each log-similarity."""
    log_similarity = torch.zeros(len(labels), len(labels), requires_grad=True)
    class_similarity(log_similarity, labels, form=form).backward()
    assert log_similarity.grad is not None
    return -log_similarity.grad


def _matrix(
    sheet: Drawing, x: float, y: float, pull: torch.Tensor, title: tuple[str, str], *, largest: float
) -> None:
    side, left, top = 26, x + 32, y + 62
    sheet.text(left + 3 * side, y + 4, title[0], bold=True)
    sheet.text(left + 3 * side, y + 23, title[1], size=11, color="soft")
    for number, name in enumerate(LABELS):
        sheet.text(left - 4, top + (number + 0.5) * side, name, size=12, anchor="end", color="sound")
        sheet.text(left + (number + 0.5) * side, top - 11, name, size=12, color="picture")
    sheet.grid(left, top, 6, 6, side, color="new", level=lambda r, c: float(pull[r, c]) / largest * 0.45)
    for row in range(6):
        for column in range(6):
            if pull[row, column] > 0:
                number = f"{100 * float(pull[row, column]):.2g}"
                sheet.text(left + (column + 0.5) * side, top + (row + 0.5) * side, number, size=11)


def distillation() -> Drawing:
    """Old and new model look at the same kept clip."""
    sheet = Drawing("distillation", "VAD: the new maps are kept close to the old ones", 332)
    old, new = (_example(((place, 0.95),))[0][0] for place in (6, 11))
    sheet.box(118, 6, 184, 44, "an exemplar of an old class", color="old", fill="old-box", size=13)
    sheet.arrow([(160, 52), (103, 82)], color="old")
    sheet.arrow([(260, 52), (317, 82)], color="old")
    sheet.box(8, 84, 190, 44, "previous step's model\nfrozen", color="old", fill="paper", size=13)
    sheet.box(222, 84, 190, 44, "model that learns\nnew classes", color="new", fill="paper", size=13)
    sheet.arrow([(103, 130), (103, 156)], color="old")
    sheet.arrow([(317, 130), (317, 156)], color="new")
    high = old.max()
    sheet.grid(55, 158, 4, 4, 24, color="old", level=lambda r, c: float(old[4 * r + c] / high))
    sheet.grid(269, 158, 4, 4, 24, color="new", level=lambda r, c: float(new[4 * r + c] / high))
    sheet.text(103, 268, "old attention map", size=13)
    sheet.text(317, 268, "new attention map", size=13)
    sheet.arrow([(262, 206), (158, 206)], color="sound")
    sheet.text(210, 192, "KL", bold=True, color="sound")
    sheet.text(210, 298, "λ KL(Aₛ old ‖ Aₛ) + (1 − λ) KL(Aₜ old ‖ Aₜ)", bold=True)
    sheet.text(210, 320, "summed over slices and channels, mean over exemplars", size=12, color="soft")
    return sheet


DRAWINGS = (attention, similarity, distillation)
