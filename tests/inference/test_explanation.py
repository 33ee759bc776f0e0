"""Explanations: contributions that add up, maps that sum to one, videos that can be played."""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest
import torch

from avcil.data.clips import Clip
from avcil.errors import InputError
from avcil.inference import ClipArrays, Recognizer
from avcil.inference.timeline import joined
from avcil.media import probe


@pytest.fixture(scope="module")
def clip(trained):
    return trained / "clips" / "test-0-0.mp4"


@pytest.fixture(scope="module")
def blade(avcil, trained):
    folder = trained / "blade"
    assert (
        avcil("train", trained / "features", "--method", "blade", "--classes-per-step", 2, "--out", folder)
        == 0
    )
    return Recognizer.load(folder)


def test_contributions_of_linear_heads_add_up(blade, clip):
    """Audio, visual and bias contributions add up to the margin, the difference of the two scores."""
    result = blade.explain(clip)
    assert set(result.contributions) == {"audio", "visual", "bias"}
    assert sum(result.contributions.values()) == pytest.approx(result.margin, rel=1e-9)
    odds = result.prediction.probability / result.prediction.probabilities[result.runner_up]
    assert np.exp(result.margin) == pytest.approx(odds, rel=1e-6)
    assert set(result.alone) == {"audio", "visual"}


@pytest.mark.parametrize(
    ("run", "kind"), [("av", "attention"), ("visual", "sensitivity"), ("blade", "sensitivity")]
)
def test_maps_and_videos(run, kind, trained, clip, blade, tmp_path):
    """Maps sum to one; the video has the duration of the clip and can be decoded."""
    result = Recognizer.load(trained / run).explain(clip)
    assert result.map_kind == kind
    assert result.temporal.sum() == pytest.approx(1)
    np.testing.assert_allclose(result.spatial.sum(axis=(1, 2)), 1, rtol=1e-6)
    drawn = result.draw()
    assert len(drawn) == len(result.frames)
    assert min(drawn[0].shape[:2]) >= 256
    result.write_video(tmp_path / "drawn.mp4")
    assert probe(tmp_path / "drawn.mp4").duration == pytest.approx(result.seconds, abs=0.2)


def test_contributions_of_networks_by_ablation(trained, clip):
    """The contribution of a modality is the decrease of the margin without it."""
    recognizer = Recognizer.load(trained / "av")
    result = recognizer.explain(clip)
    features = recognizer.reader.features(clip)
    with torch.no_grad():
        scores = recognizer.model.scores(None, features.visual)[0].double()
    numbers = [recognizer.classes_.index(label) for label in (result.prediction.label, result.runner_up)]
    without = float(scores[numbers[0]] - scores[numbers[1]])
    assert result.contributions["audio"] == pytest.approx(result.margin - without, abs=1e-5)


def test_audio_model_has_no_attention_video(trained, clip):
    """The error says so."""
    result = Recognizer.load(trained / "audio").explain(clip)
    assert (result.map_kind, result.contributions) == (None, {})
    with pytest.raises(InputError, match="no frames to draw on"):
        result.draw()


def test_all_forms_of_input(blade, clip):
    """A path, a string, a Clip, features and arrays give the same prediction."""
    features = blade.reader.features(clip)
    arrays = ClipArrays(
        frames=features.read.frames,
        waveform=features.read.waveform,
        sample_rate=blade.reader.decode_spec.sample_rate,
    )
    ways = [clip, str(clip), Clip(clip_id="x", path=clip, label="?", split="test"), features, arrays]
    rows = blade.predict_proba(ways)
    for row in rows:
        np.testing.assert_array_equal(row, rows[0])
    mixed = [result.label for _, result in blade.predict_stream([arrays, clip, features, str(clip), arrays])]
    assert mixed == [blade.predict(clip)] * 5


def test_events_cover_the_video(blade, clip):
    """Events have no gaps or overlap, each with the prediction of its window."""
    events = list(blade.timeline(clip, window=0.3, hop=0.1))
    assert events[0].start == 0
    assert all(a.end == b.start for a, b in pairwise(events))
    assert events[-1].end == pytest.approx(probe(clip).duration)
    together = list(joined(events))
    assert (together[0].start, together[-1].end) == (events[0].start, events[-1].end)
    assert sum(event.windows for event in together) == len(events)
    notes_of_events = ["a; b", "a", "b; c"]
    noted = [replace(events[0], label="dog", in_distribution=None, notes=notes) for notes in notes_of_events]
    assert [event.notes for event in joined(noted)] == ["a; b; c"]
    alone = blade.predict_clip(clip, start=0.1, end=0.4)
    assert events[1].prediction.label == alone.label
    with pytest.raises(InputError, match="window must be seconds above 0"):
        blade.timeline(clip, window=0)


def test_silent_audio_is_missing_audio(blade, tmp_path):
    """The clip is predicted from its frames, with a note."""
    from avcil.media import write_video

    path = tmp_path / "hush.mp4"
    write_video(
        path,
        [np.full((48, 64, 3), 90, np.uint8)] * 12,
        20.0,
        waveform=np.zeros(9600, np.float32),
        sample_rate=16000,
    )
    result = blade.predict_clip(path)
    assert (result.modality, result.notes) == ("visual", "the audio is silent; predicted from frames alone")


def test_report_explains_both_kinds_of_models(avcil, trained, blade, tmp_path):
    """Test clips of the first run of each kind, with attention or sensitivity, and contributions."""
    runs = [trained / "blade", trained / "av"]
    assert avcil("report", *runs, "--out", tmp_path / "report.html", "--examples", 1) == 0
    page = (tmp_path / "report.html").read_text()
    section = page[page.index('id="attention"') : page.index('id="runs"')]
    assert section.count('<ul class="contributions">') == 2
    closed, network = section.split("<h3>")[1:]
    assert "audio-guided" in network
    assert "do not add up" in network
    assert "The model has no attention" in closed
    assert "bias term" in closed
