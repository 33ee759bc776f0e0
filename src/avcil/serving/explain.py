"""What a model looks at: its audio-guided attention over the frames of clips that it was tested on.

T time slices, S = h x w spatial tokens, D channels.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch

from avcil.errors import InputError
from avcil.evaluation.attention_example import AttentionExample
from avcil.evaluation.run_files import RunRecord, read_run
from avcil.features import FeatureStore, StoredClip
from avcil.models.network import Network
from avcil.serving.recognizer import Recognizer


def attention_maps(recognizer: Recognizer, features) -> tuple[np.ndarray, np.ndarray]:
    """Spatial (T, h, w) and temporal (T,) attention of one clip, averaged over the channels; each sums to one.

    There is one map per channel; the mean shows where the channels agree.
    """
    network = recognizer.model
    assert isinstance(network, Network)
    dtype = network.visual_projection.weight.dtype
    with torch.inference_mode():
        attention = network(features.audio.to(dtype), features.visual.to(dtype)).attention
    assert attention is not None
    spatial = attention.spatial_log.exp().mean(dim=3)[0].double().numpy()  # (T, S)
    temporal = attention.temporal_log.exp().mean(dim=2)[0].double().numpy()
    grid = recognizer.reader.visual_encoder.spatial_grid
    return spatial.reshape(-1, *grid), temporal


def attention_examples(run: Path, count: int) -> tuple[list[AttentionExample], str | None]:
    """Up to `count` test clips of a run with its attention, of different classes; or none, and in words why.

    Half of them, as far as there are, are clips that the model got wrong.
    """
    record = read_run(run)
    if record.config["modality"] != "audio-visual":
        return [], f"a recogniser of the modality {record.config['modality']} has no audio-guided attention"
    recognizer = Recognizer.load(run)
    if not isinstance(recognizer.model, Network):
        return [], f"the method {record.config['method']} has no audio-guided attention"
    try:
        clips = {clip.clip_id: clip for clip in FeatureStore(record.config["features"]["path"]).clips}
    except InputError as error:
        return [], f"the clips cannot be found: {error}"
    examples, reason = [], None
    for clip in _chosen(record, clips, 4 * count):
        try:
            examples.append(_example(recognizer, clip))
        except InputError as error:
            reason = f"clips cannot be shown: {error}"
        if len(examples) == count:
            break
    return examples, None if examples else reason or "no test clip of the run is in its feature store"


def _chosen(record: RunRecord, clips: dict[str, StoredClip], count: int) -> Sequence[StoredClip]:
    """Test clips, wrong and right ones in turn, a class only once as long as there are others."""
    predictions = [p for p in record.predictions[-1] if p.clip_id in clips]
    queues = [[p for p in predictions if (p.label == p.predicted) == right] for right in (True, False)]
    chosen, labels = [], set()
    for fresh in (True, False):
        for right, wrong in zip(*_padded(queues), strict=True):
            for prediction in (right, wrong):
                if prediction is None or prediction in chosen or (fresh and prediction.label in labels):
                    continue
                chosen.append(prediction)
                labels.add(prediction.label)
    return [clips[p.clip_id] for p in chosen[:count]]


def _padded(queues: list[list]) -> list[list]:
    longest = max(map(len, queues))
    return [queue + [None] * (longest - len(queue)) for queue in queues]


def _example(recognizer: Recognizer, clip: StoredClip) -> AttentionExample:
    reader = recognizer.reader
    features = reader.features(clip.path, start=clip.start, end=clip.end)
    spatial, temporal = attention_maps(recognizer, features)
    answer = recognizer.answer(clip.path, start=clip.start, end=clip.end)
    frames = features.read.frames
    slices = len(spatial)
    middle = [(2 * t + 1) * len(frames) // (2 * slices) for t in range(slices)]  # a frame of each slice's middle
    sound = features.read.sound
    seconds = len(sound) / reader.wanted.sample_rate
    return AttentionExample(
        clip_id=clip.clip_id,
        label=clip.label,
        predicted=answer.label,
        probability=answer.probability,
        frames=[frames[i] for i in middle],
        frame_times=[seconds * (i + 0.5) / len(frames) for i in middle],
        spatial=spatial,
        temporal=temporal,
        sound=sound,
        sample_rate=reader.wanted.sample_rate,
    )
