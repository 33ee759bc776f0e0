"""Explanations of a run's test clips, for the report.

Shapes: T time slices, F frames.
"""

from __future__ import annotations

from pathlib import Path

from avcil.data.modality import Modality
from avcil.errors import InputError
from avcil.features import FeatureStore, StoredClip
from avcil.inference.attention_example import AttentionExample
from avcil.inference.recognizer import Recognizer
from avcil.runs.run_files import ClipPrediction, RunRecord, read_run


def explained_clips(run: Path, count: int) -> tuple[list[AttentionExample], str | None]:
    """Explain test clips of a run, of different classes. If possible, half of them are predicted wrong.

    Args:
        run: The run directory.
        count: Maximum number of clips.

    Returns:
        The explanations, and the reason if there are none.
    """
    record = read_run(run)
    if record.modality is not Modality.AUDIO_VISUAL:
        return [], f"the model uses one modality, {record.modality}"
    try:
        clips = {clip.clip_id: clip for clip in FeatureStore(record.config.store_path).clips}
    except InputError as error:
        return [], f"the clips cannot be found: {error}"
    recognizer = Recognizer.load(run)
    examples, reason = [], None
    for clip in _select(record, clips, 4 * count):
        try:
            examples.append(_example(recognizer, clip))
        except InputError as error:
            reason = f"clips cannot be explained: {error}"
        if len(examples) == count:
            break
    return examples, None if examples else reason or "no test clip of the run is in its feature store"


def _select(record: RunRecord, clips: dict[str, StoredClip], count: int) -> list[StoredClip]:
    """Alternate between correct and wrong predictions; prefer classes that are not selected yet."""
    queues: dict[bool, list[ClipPrediction]] = {True: [], False: []}
    for prediction in record.predictions[-1]:
        if prediction.clip_id in clips:
            queues[prediction.label == prediction.predicted].append(prediction)
    selected: list[StoredClip] = []
    labels: set[str] = set()
    is_correct = True
    while len(selected) < count and any(queues.values()):
        queue = queues[is_correct] or queues[not is_correct]
        prediction = next((p for p in queue if p.label not in labels), queue[0])
        queue.remove(prediction)
        labels.add(prediction.label)
        selected.append(clips[prediction.clip_id])
        is_correct = not is_correct
    return selected


def _example(recognizer: Recognizer, clip: StoredClip) -> AttentionExample:
    features = recognizer.reader.features(clip)
    explanation = recognizer.explain(features)
    frames, waveform, spatial, temporal = (
        explanation.frames,
        explanation.waveform,
        explanation.spatial,
        explanation.temporal,
    )
    rate, map_kind = explanation.sample_rate, explanation.map_kind
    if (
        features.audio is None
        or features.visual is None
        or frames is None
        or waveform is None
        or spatial is None
        or temporal is None
        or rate is None
        or map_kind is None
    ):
        raise InputError(f"{clip.path}: {features.notes or 'it lacks audio or frames'}")
    slices = len(spatial)
    middle = [(2 * t + 1) * len(frames) // (2 * slices) for t in range(slices)]  # of each slice
    seconds = len(waveform) / rate
    return AttentionExample(
        clip_id=clip.clip_id,
        label=clip.label,
        predicted=explanation.prediction.label,
        probability=explanation.prediction.probability,
        map_kind=map_kind,
        contributions=explanation.contribution_table(),
        frames=[frames[i] for i in middle],
        frame_times=[seconds * (i + 0.5) / len(frames) for i in middle],
        spatial=spatial,
        temporal=temporal,
        waveform=waveform,
        sample_rate=rate,
    )
