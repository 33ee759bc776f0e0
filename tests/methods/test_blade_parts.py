"""blade with combined encoders: one penalty for each part."""

from __future__ import annotations

import pytest
import torch

from avcil.encoders.parts import EncoderPart
from avcil.errors import InputError
from avcil.methods.registry import load_method, parse_options

AUDIO, VISUAL = (2, 3), (1, 3)
CLASSES, CLIPS = 4, 40


def new(part_widths):
    kind = load_method("blade")
    method = kind(parse_options(kind, [], name="blade"), modality="audio-visual")
    method.part_widths = part_widths
    method.add_classes(CLASSES)
    return method


def clips(seed=0):
    """The second part of audio and the first part of visual features determine the class; the others are noise."""
    draw = torch.Generator().manual_seed(seed)
    labels = torch.arange(CLASSES).repeat_interleave(CLIPS)
    audio = torch.randn(len(labels), sum(AUDIO), generator=draw)
    visual = torch.randn(len(labels), 2, 3, sum(VISUAL), generator=draw)
    audio[:, 2:] += 3 * torch.randn(CLASSES, 3, generator=draw)[labels]
    visual[..., :1] += 3 * torch.randn(CLASSES, 1, 1, 1, generator=draw)[labels]
    return audio, visual, labels


@pytest.fixture
def learned():
    method = new({"audio": AUDIO, "visual": VISUAL})
    method.observe(*clips())
    method.solve()
    return method


def penalties(method):
    return [value for name, value in method.report().items() if name.startswith("penalty")]


def test_each_part_has_a_penalty(learned):
    """For audio, and for the mean and deviation of visual tokens, parts of noise get a larger penalty."""
    result = penalties(learned)
    assert len(result) == 6
    assert result[0] > 5 * result[1]
    assert result[3] > 5 * result[2]
    assert [view.sizes for view in learned.head_states] == [[2, 3, 1, 3, 1, 3], [2, 3], [1, 3, 1, 3]]


def test_parts_are_saved_with_the_statistics(learned):
    """The model can learn without the store."""
    again = new({})
    again.load(learned.tensors())
    for method in (learned, again):
        method.observe(*clips(seed=1))
    audio, visual, _ = clips(seed=2)
    assert torch.equal(learned.solve().scores(audio, visual), again.solve().scores(audio, visual))
    assert penalties(again) == penalties(learned)


@pytest.mark.parametrize("name", ["blade", "slda", "ranpac", "rls"])
@pytest.mark.parametrize("modality", ["audio", "visual"])
def test_parts_of_an_unused_modality_are_ignored(name, modality):
    """Runs and models of earlier versions contain them; such a model can be loaded to learn."""
    kind = load_method(name)

    def new():
        return kind(parse_options(kind, [], name=name), modality=modality)

    method, again = new(), new()
    method.part_widths = {"audio": AUDIO, "visual": VISUAL}
    method.add_classes(CLASSES)
    audio, visual, labels = clips()
    given = (audio, None) if modality == "audio" else (None, visual)
    method.observe(*given, labels)
    model = method.solve()
    again.load(method.tensors())
    assert again.part_widths == {modality: AUDIO if modality == "audio" else VISUAL}
    torch.testing.assert_close(again.solve().scores(*given), model.scores(*given))
    with pytest.raises(InputError, match="unknown tensors: smell"):
        new().load(method.tensors() | {"part_widths.smell": torch.tensor([1, 2])})


def test_statistics_without_parts_can_learn():
    """One penalty per vector, as in the training."""
    method = new({})
    method.observe(*clips())
    method.solve()
    tensors = method.tensors()
    assert not [name for name in tensors if "part" in name]
    again = new({})
    again.load(tensors)
    assert len(penalties(again)) == 3


def test_contributions_of_encoders_add_up(learned):
    """Their sum is the modality's contribution, the total with bias is the margin, and the informative one is
    largest."""
    audio, visual, _ = (part[:1] for part in clips())
    parts = {
        "audio": (EncoderPart(name="noise", start=0, stop=2), EncoderPart(name="voice", start=2, stop=5)),
        "visual": (EncoderPart(name="look", start=0, stop=1), EncoderPart(name="blur", start=1, stop=4)),
    }
    model = learned.solve()
    shares = model.encoder_margin_contributions(audio, visual, (0, 1), parts)
    of_modality = model.margin_contributions(audio, visual, (0, 1))
    for modality, result in shares.items():
        assert sum(result.values()) == pytest.approx(of_modality[modality], abs=1e-6)
    scores = model.scores(audio, visual)[0]
    assert sum(of_modality.values()) == pytest.approx(float(scores[0] - scores[1]), abs=1e-6)
    informative = shares["audio"]["voice"] + shares["visual"]["look"]
    assert informative > 5 * abs(shares["audio"]["noise"] + shares["visual"]["blur"])
    only = model.encoder_margin_contributions(None, visual, (0, 1), {"visual": parts["visual"]})
    assert set(only) == {"visual"}


def test_equal_encoder_names_in_both_modalities(learned):
    """A joint encoder such as PE-AV has the same name for audio and visual features."""
    audio, visual, _ = (part[:1] for part in clips())
    parts = {
        "audio": (EncoderPart(name="same", start=0, stop=5),),
        "visual": (EncoderPart(name="same", start=0, stop=4),),
    }
    model = learned.solve()
    shares = model.encoder_margin_contributions(audio, visual, (0, 1), parts)
    expected = model.margin_contributions(audio, visual, (0, 1))
    assert shares == {name: {"same": pytest.approx(expected[name])} for name in ("audio", "visual")}
