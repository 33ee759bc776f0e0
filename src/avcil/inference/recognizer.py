"""The recognizer in use: load what a run left, ask it about clips, teach it more.

B clips, C classes.

What it knows is one `State` that is never changed: learning makes a new one and puts it in the old one's place in one
assignment. So any number of threads may ask while one learns; each answer comes from one state, whole.
"""

from __future__ import annotations

import threading
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from functools import cached_property, partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar, overload

import numpy as np
import torch
from torch import Tensor

from avcil.data.clips import Clip
from avcil.data.modality import Modality
from avcil.errors import AvcilError, InputError
from avcil.inference import hub
from avcil.inference.answering import Answer, answer_features, model_input
from avcil.inference.clip_features import ClipArrays, ClipFeatures, ClipReader, Source, name_of
from avcil.inference.rejection import Rejection, chosen_thresholds
from avcil.models.base import Model
from avcil.runs.run_model import model_folder
from avcil.saved_models.folder import BACKGROUND, SavedModel, load_saved, save_model
from avcil.utils.progress import ProgressCallback

if TYPE_CHECKING:
    from typing_extensions import TypeIs

    from avcil.export import OnnxExport
    from avcil.features import FeatureStore
    from avcil.inference import learning
    from avcil.inference.explanation import Explanation
    from avcil.inference.timeline import Event
    from avcil.media.reader import MediaSource


AnySource = TypeVar("AnySource", bound=Source)


class Recognizer:
    """A trained model with its class names and the encoders that its features come from.

    `Recognizer.load("runs/demo").predict("clip.mp4")` gives `"ball-bell"`. Needs neither the training data nor the
    feature store. Many threads may ask it at once, also while it learns.
    """

    def __init__(self, state: SavedModel) -> None:
        self._state = state
        self.rejection = Rejection()
        """When an answer has `in_distribution` False; set it at any time."""
        self._chosen: tuple[SavedModel, float, dict[str, dict[str, float | None]]] | None = None
        """Thresholds by modality, of the state and the precision that they were chosen for."""
        self._learning_lock = threading.Lock()

    # -- loading and saving ------------------------------------------------------------------------------------

    @classmethod
    def load(cls, folder: Path | str) -> Recognizer:
        """Load from a finished run directory, or from a model's folder as `save` leaves it."""
        return cls(load_saved(model_folder(Path(folder))))

    @classmethod
    def from_pretrained(cls, name: Path | str, *, revision: str | None = None) -> Recognizer:
        """Load from a folder, or from the Hugging Face hub by OWNER/NAME (extra [hub]); `revision`: a branch, tag or
        commit there."""
        return cls.load(name if Path(name).is_dir() else hub.download(str(name), revision))

    def save(self, folder: Path | str) -> None:
        """Write a model's folder: what `load` reads, with a model card; a model there before is replaced at once."""
        self._save(Path(folder))

    def _save(self, folder: Path, **published: str | None) -> None:
        state = self._state
        save_model(
            folder,
            state.model,
            labels=state.labels,
            description=state.description,
            learning=state.learning,
            **published,
        )

    save_pretrained = save

    def push_to_hub(self, name: str, *, private: bool = True, license: str | None = None) -> str:
        """Upload to the Hugging Face hub as OWNER/NAME (extra [hub]) and return its address.

        The card names the model so, and `license`, an identifier of the hub's such as "cc-by-4.0", if given.
        """
        return hub.upload(partial(self._save, name=name, license=license), name, private=private)

    def export_onnx(
        self, path: Path | str, *, modality: Modality | None = None, store: FeatureStore | None = None
    ) -> OnnxExport:
        """Write the model as ONNX, features in, probabilities out, checked with onnxruntime (extra [export]).

        See `avcil.export.export_onnx` for what the options mean and what it raises.
        """
        try:
            from avcil.export import export_onnx
        except ModuleNotFoundError as error:
            raise InputError(
                f"exporting needs the package {error.name}. Install it with: pip install 'avcil[export]'"
            ) from None
        return export_onnx(self._state, path, modality=modality, store=store)

    # -- what it is ----------------------------------------------------------------------------------------------

    @property
    def model(self) -> Model:
        """The model that answers now."""
        return self._state.model

    @property
    def description(self) -> dict[str, Any]:
        """Method, modality, how features are made, metrics."""
        return dict(self._state.description)

    @property
    def classes_(self) -> tuple[str, ...]:
        """The classes it knows, in the order in which it learnt them."""
        return self._state.classes

    @property
    def modality(self) -> Modality:
        """The modality that the model was trained with."""
        return self.model.modality

    @property
    def counts(self) -> dict[str, int] | None:
        """How many clips of each class it has learnt; None for a model that was saved without."""
        state = self._state.learning
        return (
            None if state is None else {label: n for label, n in state.counts.items() if label != BACKGROUND}
        )

    @property
    def error_rate(self) -> float:
        """About this share of clips of the classes learned is answered with `in_distribution` False by mistake."""
        return self.rejection.error_rate

    @error_rate.setter
    def error_rate(self, value: float) -> None:
        self.rejection = replace(self.rejection, error_rate=value)

    def thresholds(self, modality: Modality | None = None) -> dict[str, float]:
        """The probability that each class must reach, for classes that have a threshold.

        Args:
            modality: What clips are answered from; None: the model's modality.

        Raises:
            InputError: Thresholds were to be chosen for a precision, and the model cannot do that.
        """
        return self._thresholds(self._state, Modality(modality or self.model.modality))

    def _thresholds(self, state: SavedModel, modality: Modality) -> dict[str, float]:
        rejection = self.rejection
        if rejection.precision is None:
            return dict(rejection.thresholds)
        if self._chosen is None or self._chosen[0] is not state or self._chosen[1] != rejection.precision:
            self._chosen = (state, rejection.precision, {})
        chosen = self._chosen[2]
        if modality not in chosen:
            chosen[modality] = chosen_thresholds(state, modality, rejection.precision)
        known = {label: value for label, value in chosen[modality].items() if value is not None}
        return known | dict(rejection.thresholds)

    @cached_property
    def reader(self) -> ClipReader:
        """Makes features of clips."""
        return ClipReader(self.description, modality=self.modality)

    # -- asking ----------------------------------------------------------------------------------------------------

    @overload
    def predict(self, clips: Source) -> str: ...  # type: ignore[overload-overlap]  # str is iterable too
    @overload
    def predict(self, clips: Iterable[Source]) -> list[str]: ...
    def predict(self, clips: Source | Iterable[Source]) -> str | list[str]:
        """The likeliest class of one clip (str), or of each of several (list).

        A clip is a path, a `Clip`, `ClipArrays` or `ClipFeatures`. Raises InputError for one that cannot be read.
        """
        if _is_one(clips):
            return self.answer(clips).label
        return [answer.label for answer in self._all(clips)]

    def predict_proba(self, clips: Source | Iterable[Source]) -> np.ndarray:
        """Probabilities (C,) of one clip or (B, C) of several, columns in the order of `classes_`."""
        state = self._state
        answers = [self.answer(clips, state=state)] if _is_one(clips) else list(self._all(clips, state))
        rows = [[answer.probabilities[label] for label in state.classes] for answer in answers]
        table = np.array(rows).reshape(-1, len(state.classes))
        return table[0] if _is_one(clips) else table

    def answer(
        self,
        clip: Source,
        *,
        start: float | None = None,
        end: float | None = None,
        state: SavedModel | None = None,
    ) -> Answer:
        """All that is to be said of one clip, or of the seconds [start, end] of it; InputError if it cannot be read."""
        if not isinstance(clip, ClipFeatures):  # which need no encoder
            return self.answer_features(clip, self.reader.features(clip, start=start, end=end), state=state)
        return self.answer_features(clip, clip, state=state)

    def answers(self, clips: Iterable[AnySource]) -> Iterator[tuple[AnySource, Answer | AvcilError]]:
        """Each clip with its answer, or with what is wrong with it, in order and as they come; files are read ahead."""
        given: list[AnySource] = []

        def noted() -> Iterator[AnySource]:
            for clip in clips:
                given.append(clip)
                yield clip

        for features in self._stream(noted()):
            clip = given.pop(0)
            try:
                yield (
                    clip,
                    features if isinstance(features, AvcilError) else self.answer_features(clip, features),
                )
            except AvcilError as error:
                yield clip, error

    def _stream(self, clips: Iterable[Source]) -> Iterator[ClipFeatures | AvcilError]:
        clips = list(clips)
        encoded = [clip for clip in clips if isinstance(clip, ClipFeatures)]
        if len(encoded) == len(clips):  # which need no encoder
            return iter(encoded)
        return self.reader.stream(clips)

    def _all(self, clips: Iterable[Source], state: SavedModel | None = None) -> Iterator[Answer]:
        clips, state = list(clips), state or self._state
        for clip, features in zip(clips, self._stream(clips), strict=True):
            if isinstance(features, AvcilError):
                raise features
            yield self.answer_features(clip, features, state=state)

    def scores(self, features: ClipFeatures, *, state: SavedModel | None = None) -> Tensor:
        """Scores (1, C) of one clip's features."""
        parts = model_input((state or self._state).model, features)
        with torch.inference_mode():
            return (state or self._state).model.scores(*parts)

    def answer_features(
        self, clip: Source, features: ClipFeatures, *, state: SavedModel | None = None
    ) -> Answer:
        """Predict a clip whose features are computed already."""
        state = state or self._state
        return answer_features(
            state, name_of(clip), features, alpha=self.error_rate, thresholds=partial(self._thresholds, state)
        )

    def explain(self, clip: Source) -> Explanation:
        """What the answer rests on: attention over the frames, and what each modality gave to it."""
        from avcil.inference.explanation import explain

        state = self._state
        return explain(
            state, self.reader, clip, alpha=self.error_rate, thresholds=partial(self._thresholds, state)
        )

    def timeline(
        self,
        path: Path | str,
        *,
        window: float = 2.0,
        hop: float = 0.5,
        source: MediaSource | None = None,
    ) -> Iterator[Event]:
        """What is to be seen and heard when in a long video: an event for every `hop` seconds, as they come."""
        from avcil.inference.timeline import timeline

        state = self._state
        return timeline(
            state,
            self.reader,
            path,
            window=window,
            hop=hop,
            source=source,
            alpha=self.error_rate,
            thresholds=partial(self._thresholds, state),
        )

    # -- learning --------------------------------------------------------------------------------------------------

    def learn(
        self, clips: Sequence[Source], labels: Sequence[str], *, progress: ProgressCallback | None = None
    ) -> learning.LearnReport:
        """Learn clips of new classes, or more clips of old ones where the method can: one call is one step of a run.

        Clips that cannot be used are listed in the report, the others are learned. The new state replaces the old one
        at the end; until then, and if anything goes wrong, the old one predicts.

        Args:
            clips: The clips.
            labels: Their classes.
            progress: Called with what is being done, how much of it is done, and how much there is.

        Raises:
            InputError: The recognizer is learning already, or nothing can be learned.
        """
        from avcil.inference import learning

        with self._one_at_a_time():
            self._state, report = learning.learn(self._state, self.features_of, clips, labels, progress)
            return report

    def learn_background(
        self, clips: Sequence[Source], *, progress: ProgressCallback | None = None
    ) -> learning.LearnReport:
        """Learn clips of what is to be rejected. They are a class of the model that is never predicted.

        A clip that is more similar to them than to any class has `in_distribution` False.
        `forget_class("(background)")` removes them. Arguments and errors are those of `learn`.
        """
        from avcil.inference import learning

        with self._one_at_a_time():
            self._state, report = learning.learn(
                self._state, self.features_of, clips, [BACKGROUND] * len(clips), progress, background=True
            )
            return report

    def forget(self, clips: Sequence[Source], labels: Sequence[str]) -> None:
        """Take clips that were learnt out again; classes without a clip left are forgotten.

        Raises InputError where the method cannot, naming those that can.
        """
        from avcil.inference import learning

        with self._one_at_a_time():
            self._state = learning.forget(self._state, self.features_of, clips, labels)

    def forget_class(self, label: str) -> None:
        """Never answer with a class again. Its clips still count in what the other classes share; `forget` them first
        to take that out too. Raises InputError where the method cannot."""
        from avcil.inference import learning

        with self._one_at_a_time():
            self._state = learning.forget_class(self._state, label)

    def rename(self, old: str, new: str) -> None:
        """Give a class another name."""
        from avcil.inference import learning

        with self._one_at_a_time():
            self._state = learning.rename(self._state, old, new)
            thresholds = {new if label == old else label: v for label, v in self.rejection.thresholds.items()}
            self.rejection = replace(self.rejection, thresholds=thresholds)

    def merge(
        self, other: Recognizer, *, same_classes: bool = False, rename: Mapping[str, str] | None = None
    ) -> None:
        """Learn what another recognizer learned: the result is that of teaching all clips to one model.

        Both need the method blade, the same encoders, modality and options. `other` stays as it is.

        Args:
            other: The recognizer whose classes and clips are added.
            same_classes: Classes of the same name are the same class; their clips are added up.
            rename: New names, by the old ones, of classes of `other`.

        Raises:
            InputError: The models do not fit each other, or a class name is in both without `same_classes`.
        """
        from avcil.inference import merging

        theirs = other.snapshot()
        with self._one_at_a_time():
            self._state = merging.merge(self._state, theirs, same_classes=same_classes, renamed=rename)

    def snapshot(self) -> SavedModel:
        """What it knows now, for `restore`; costs nothing, since states are never changed."""
        return self._state

    def restore(self, snapshot: SavedModel) -> None:
        """Know again what it knew at the snapshot, and nothing else."""
        with self._one_at_a_time():
            self._state = snapshot

    def features_of(self, clips: Sequence[Source]) -> Iterator[ClipFeatures | AvcilError]:
        """Features of each clip, or what is wrong with it, in order; files are read ahead."""
        return self._stream(clips)

    def _one_at_a_time(self) -> _Claim:
        return _Claim(self._learning_lock)


class _Claim:
    """Holds a lock, or says at once that another does."""

    def __init__(self, lock: threading.Lock) -> None:
        self._lock = lock

    def __enter__(self) -> None:
        if not self._lock.acquire(blocking=False):
            raise InputError(
                "this recognizer is learning already. Wait for that to end; asking it goes on meanwhile"
            )

    def __exit__(self, *_: object) -> None:
        self._lock.release()


def _is_one(clips: object) -> TypeIs[Source]:
    return isinstance(clips, str | Path | Clip | ClipArrays | ClipFeatures) or hasattr(clips, "clip_id")
