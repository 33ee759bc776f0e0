"""What a model looks at: its audio-guided attention over the frames of clips that it was tested on.

T time slices, S = h x w spatial tokens, D channels.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from avcil.errors import InputError
from avcil.evaluation.attention_example import AttentionExample
from avcil.evaluation.run_files import RunRecord, read_run
from avcil.features import FeatureStore, StoredClip
from avcil.models.network import Network
from avcil.serving.clip_features import ClipFeatures
from avcil.serving.recognizer import Recognizer, model_input


def attention_maps(recognizer: Recognizer, features: ClipFeatures) -> tuple[np.ndarray, np.ndarray]:
    """Spatial (T, h, w) and temporal (T,) attention of one clip; each slice's map, and the weights, sum to one."""
    network = recognizer.model
    assert isinstance(network, Network)
    audio, visual = model_input(network, features)
    assert audio is not None
    assert visual is not None
    spatial, temporal = network_attention(network, audio, visual)
    return spatial.reshape(-1, *recognizer.reader.encoders.visual.spatial_grid), temporal


def network_attention(network: Network, audio: Tensor, visual: Tensor) -> tuple[np.ndarray, np.ndarray]:
    """Spatial (T, S) and temporal (T,) attention on one clip, audio (1, Da) and visual (1, T, S, Dv).

    There is one map per channel. A channel counts by what it gives to the answer, |x_d dz/dx_d| of the attended
    tokens x and the likeliest class's logit z, so that channels which do not matter for this clip stay out.
    """
    with torch.inference_mode(False), torch.enable_grad():
        output = network(audio.clone(), visual.clone(), maps=True)
        (slope,) = torch.autograd.grad(network.classify(output).max(), output.attended)
    share = (slope * output.attended).abs()[0].detach()
    share = share / share.sum() if share.sum() > 0 else torch.full_like(share, 1 / len(share))
    spatial = (output.spatial_log.detach().exp() @ share)[0].double().numpy()
    temporal = (output.temporal_log.detach().exp() @ share)[0].double().numpy()
    return spatial, temporal


def attention_examples(run: Path, count: int) -> tuple[list[AttentionExample], str | None]:
    """Up to `count` test clips of a run with its attention, of different classes; or none, and in words why.

    As far as there are, half of them are clips that the model got wrong.
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


def _chosen(record: RunRecord, clips: dict[str, StoredClip], count: int) -> list[StoredClip]:
    """Test clips, a right and a wrong one in turn, of classes not shown yet as long as there are any."""
    queues = {right: [] for right in (True, False)}
    for prediction in record.predictions[-1]:
        if prediction.clip_id in clips:
            queues[prediction.label == prediction.predicted].append(prediction)
    chosen: list[StoredClip] = []
    shown: set[str] = set()
    right = True
    while len(chosen) < count and any(queues.values()):
        queue = queues[right] or queues[not right]
        prediction = next((p for p in queue if p.label not in shown), queue[0])
        queue.remove(prediction)
        shown.add(prediction.label)
        chosen.append(clips[prediction.clip_id])
        right = not right
    return chosen


def _example(recognizer: Recognizer, clip: StoredClip) -> AttentionExample:
    reader = recognizer.reader
    features = reader.features(clip)
    if features.audio is None or features.visual is None:
        raise InputError(f"{clip.path}: {features.notes}")
    spatial, temporal = attention_maps(recognizer, features)
    answer = recognizer.answer_features(clip.path, features)
    assert features.read is not None
    frames = features.read.frames
    slices = len(spatial)
    middle = [
        (2 * t + 1) * len(frames) // (2 * slices) for t in range(slices)
    ]  # a frame of each slice's middle
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
