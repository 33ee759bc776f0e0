"""`Recognizer`: load a trained model, predict clips, learn more classes.

B clips, C classes. The state of a recognizer is an immutable `SavedModel`. Learning creates a new state and replaces
the old one in a single assignment, so other threads can predict meanwhile.
"""

from __future__ import annotations

import threading
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
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
from avcil.inference import hub, renaming
from avcil.inference.clip_features import ClipArrays, ClipFeatures, ClipReader, Source, name_of
from avcil.inference.prediction import Predict, Prediction, model_input, predict_features
from avcil.inference.rejection import Rejection, chosen_thresholds
from avcil.methods.model import Model
from avcil.runs.run_model import model_folder
from avcil.saved_models.folder import BACKGROUND, SavedModel, load_saved, save_model
from avcil.utils.progress import ProgressCallback

if TYPE_CHECKING:
    from typing_extensions import TypeIs

    from avcil.export import OnnxExport
    from avcil.features import FeatureStore
    from avcil.inference import forgetting, learning
    from avcil.inference.explanation import Explanation
    from avcil.inference.timeline import TimelineEvent
    from avcil.media.reader import MediaReader


AnySource = TypeVar("AnySource", bound=Source)


class Recognizer:
    """A trained model with its class names and the encoders of its features.

    `Recognizer.load("runs/blade").predict("clip.mp4")` returns `"ball-bell"`. It needs neither the training data nor
    the feature store. Several threads can predict at the same time, also while it learns.
    """

    def __init__(self, state: SavedModel) -> None:
        self._state = state
        self.rejection = Rejection()
        """The rules that set `in_distribution` to False; can be replaced at any time."""
        self._chosen: tuple[SavedModel, float, dict[str, dict[str, float]]] | None = None
        """Cache: the thresholds by modality, with the state and the precision for which they were chosen."""
        self._learning_lock = threading.Lock()

    # -- loading and saving ------------------------------------------------------------------------------------

    @classmethod
    def load(cls, folder: Path | str) -> Recognizer:
        """Load from a finished run directory or a model folder."""
        return cls(load_saved(model_folder(Path(folder))))

    @classmethod
    def from_pretrained(cls, name: Path | str, *, revision: str | None = None) -> Recognizer:
        """Load from a folder, or OWNER/NAME from the Hugging Face Hub (extra [hub]).

        Args:
            name: The folder, or the name on the hub.
            revision: A branch, tag or commit on the hub.
        """
        return cls.load(name if Path(name).is_dir() else hub.download(str(name), revision))

    def save(self, folder: Path | str) -> None:
        """Write a model folder with a model card; an existing model is replaced atomically."""
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
        """Upload to the Hugging Face Hub (extra [hub]) and return the URL.

        Args:
            name: OWNER/NAME on the hub.
            private: Whether the repository is private.
            license: A license identifier of the hub, such as "cc-by-4.0", for the model card.
        """
        return hub.upload(partial(self._save, name=name, license=license), name, private=private)

    def export_onnx(
        self, path: Path | str, *, modality: Modality | None = None, store: FeatureStore | None = None
    ) -> OnnxExport:
        """Export the model to ONNX (extra [export]); see `avcil.export.export_onnx`."""
        try:
            from avcil.export import export_onnx
        except ModuleNotFoundError as error:
            raise InputError(
                f"exporting needs the package {error.name}. Install it with: pip install 'avcil[export]'"
            ) from None
        return export_onnx(self._state, path, modality=modality, store=store)

    # -- properties ----------------------------------------------------------------------------------------------

    @property
    def model(self) -> Model:
        """The current model."""
        return self._state.model

    @property
    def description(self) -> dict[str, Any]:
        """Method, modality, encoders of the features, metrics."""
        return dict(self._state.description)

    @property
    def classes_(self) -> tuple[str, ...]:
        """The classes in the order of learning."""
        return self._state.classes

    @property
    def modality(self) -> Modality:
        """The modality that the model was trained with."""
        return self.model.modality

    @property
    def counts(self) -> dict[str, int] | None:
        """Number of learned clips by class; None if the model was saved without them."""
        state = self._state.learning
        if state is None:
            return None
        return {label: count for label, count in state.counts.items() if label != BACKGROUND}

    @property
    def alpha(self) -> float:
        """Significance level of the test for unknown classes; see `Rejection.alpha`."""
        return self.rejection.alpha

    @alpha.setter
    def alpha(self, value: float) -> None:
        self.rejection = replace(self.rejection, alpha=value)

    def set_rejection(self, rejection: Rejection) -> None:
        """Set the rules that set `in_distribution` to False.

        Raises:
            InputError: A threshold is of an unknown class, or the model cannot choose thresholds for a precision.
        """
        rejection.check_classes(self.classes_)
        previous, self.rejection = self.rejection, rejection
        try:
            self.thresholds()
        except InputError:
            self.rejection = previous
            raise

    def thresholds(self, modality: Modality | None = None) -> dict[str, float]:
        """Probability thresholds by class, for classes that have one.

        Args:
            modality: The modality that predictions use; by default the model's modality.

        Raises:
            InputError: The model cannot choose thresholds for a precision.
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
        return chosen[modality] | dict(rejection.thresholds)

    @cached_property
    def reader(self) -> ClipReader:
        """Computes the features of clips."""
        return ClipReader(self.description, modality=self.modality)

    # -- predicting ------------------------------------------------------------------------------------------------

    @overload
    def predict(self, clips: Source) -> str: ...  # type: ignore[overload-overlap]  # str is iterable too
    @overload
    def predict(self, clips: Iterable[Source]) -> list[str]: ...
    def predict(self, clips: Source | Iterable[Source]) -> str | list[str]:
        """The most probable class of one clip (str), or of each of several (list).

        Args:
            clips: A path, a `Clip`, `ClipArrays` or `ClipFeatures`, or several of them.

        Raises:
            InputError: A clip cannot be read.
        """
        if _is_single(clips):
            return self.predict_clip(clips).label
        return [prediction.label for prediction in self._all(clips)]

    def predict_proba(self, clips: Source | Iterable[Source]) -> np.ndarray:
        """Probabilities (C,) of one clip or (B, C) of several, columns in the order of `classes_`."""
        state = self._state
        predictions = (
            [self.predict_clip(clips, state=state)] if _is_single(clips) else list(self._all(clips, state))
        )
        rows = [[prediction.probabilities[label] for label in state.classes] for prediction in predictions]
        table = np.array(rows).reshape(-1, len(state.classes))
        return table[0] if _is_single(clips) else table

    def predict_clip(
        self,
        clip: Source,
        *,
        start: float | None = None,
        end: float | None = None,
        state: SavedModel | None = None,
    ) -> Prediction:
        """Predict one clip, with probabilities, the test for unknown classes and notes.

        Args:
            clip: The clip.
            start: Start of a part of the clip, in seconds.
            end: End of the part.
            state: An earlier state of the recognizer; by default the current one.

        Raises:
            InputError: The clip cannot be read.
        """
        if not isinstance(clip, ClipFeatures):
            return self.predict_features(clip, self.reader.features(clip, start=start, end=end), state=state)
        return self.predict_features(clip, clip, state=state)

    def predict_stream(
        self, clips: Iterable[AnySource]
    ) -> Iterator[tuple[AnySource, Prediction | AvcilError]]:
        """Yield each clip with its prediction, or with the error if it cannot be predicted; files are read ahead."""
        clips = list(clips)
        for clip, features in zip(clips, self.features_of(clips), strict=True):
            try:
                yield (
                    clip,
                    features if isinstance(features, AvcilError) else self.predict_features(clip, features),
                )
            except AvcilError as error:
                yield clip, error

    def features_of(self, clips: Iterable[Source]) -> Iterator[ClipFeatures | AvcilError]:
        """Yield the features of each clip in order, or the error of a clip; files are read ahead."""
        clips = list(clips)
        encoded = [clip for clip in clips if isinstance(clip, ClipFeatures)]
        if len(encoded) == len(clips):  # then no encoder is needed, and none is built
            return iter(encoded)
        return self.reader.stream(clips)

    def _all(self, clips: Iterable[Source], state: SavedModel | None = None) -> Iterator[Prediction]:
        clips, state = list(clips), state or self._state
        for clip, features in zip(clips, self.features_of(clips), strict=True):
            if isinstance(features, AvcilError):
                raise features
            yield self.predict_features(clip, features, state=state)

    def scores(self, features: ClipFeatures, *, state: SavedModel | None = None) -> Tensor:
        """Scores (1, C) of the features of one clip."""
        state = state or self._state
        with torch.inference_mode():
            return state.model.scores(*model_input(state, features))

    def predict_features(
        self, clip: Source, features: ClipFeatures, *, state: SavedModel | None = None
    ) -> Prediction:
        """Predict a clip whose features are already computed."""
        return self._predictor(state or self._state)(name_of(clip), features)

    def _predictor(self, state: SavedModel) -> Predict:
        """The function that predicts with a state and the current rules of rejection."""
        return partial(predict_features, state, alpha=self.alpha, thresholds=partial(self._thresholds, state))

    def explain(self, clip: Source) -> Explanation:
        """Predict a clip and explain the prediction: attention over the frames, contributions of the modalities."""
        from avcil.inference.explanation import explain

        state = self._state
        return explain(state, self.reader, clip, self._predictor(state))

    def timeline(
        self,
        path: Path | str,
        *,
        window: float = 2.0,
        hop: float = 0.5,
        source: MediaReader | None = None,
    ) -> Iterator[TimelineEvent]:
        """Yield the events of a long video, one for every `hop` seconds.

        Args:
            path: The video.
            window: Length of the windows that are predicted, in seconds.
            hop: Time from one window to the next, in seconds.
            source: Decodes the file, for example a worker process; by default this process.

        Raises:
            InputError: The file cannot be read.
        """
        from avcil.inference.timeline import timeline

        predict = self._predictor(self._state)
        return timeline(predict, self.reader, path, window=window, hop=hop, source=source)

    # -- learning --------------------------------------------------------------------------------------------------

    def learn(
        self, clips: Sequence[Source], labels: Sequence[str], *, progress: ProgressCallback | None = None
    ) -> learning.LearnReport:
        """Learn clips of new classes, or more clips of old classes if the method supports it.

        One call is one step of incremental training. Clips that cannot be used are listed in the report. The new state
        replaces the old one at the end; until then, or after an error, the old state predicts.

        Args:
            clips: The clips.
            labels: Their classes.
            progress: Called with the phase, the number of finished items, and the number of all items.

        Raises:
            InputError: The recognizer is learning already, or no clip can be learned.
        """
        from avcil.inference import learning

        with self._exclusive():
            self._state, report = learning.learn(self._state, self.features_of, clips, labels, progress)
            return report

    def learn_background(
        self, clips: Sequence[Source], *, progress: ProgressCallback | None = None
    ) -> learning.LearnReport:
        """Learn clips to be rejected, as a class of the model that is never predicted.

        A clip that is more similar to them than to any class has `in_distribution` False.
        `forget_class("(background)")` removes them. Arguments and errors as for `learn`.
        """
        from avcil.inference import learning

        with self._exclusive():
            self._state, report = learning.learn(
                self._state, self.features_of, clips, [BACKGROUND] * len(clips), progress, background=True
            )
            return report

    def forget(
        self,
        clips: Sequence[Source],
        labels: Sequence[str],
        *,
        not_learned: forgetting.NotLearned = "fail",
    ) -> forgetting.ForgetReport:
        """Remove learned clips from the model; classes without clips left are removed.

        Args:
            clips: The clips.
            labels: The classes that they were learned with.
            not_learned: For clips that the model has not recorded as learned: "fail" raises an error, "skip" lists them
                in the report, "subtract" removes them without this check, for clips whose features differ by rounding
                because another processor computed them.

        Raises:
            InputError: The method cannot forget, a clip cannot be read or was not learned, or no clip is left to be
                forgotten. Nothing is forgotten.
        """
        from avcil.inference import forgetting

        with self._exclusive():
            self._state, report = forgetting.forget(
                self._state, self.features_of, clips, labels, not_learned=not_learned
            )
            return report

    def forget_class(self, label: str) -> None:
        """Remove a class. Its clips still contribute to statistics that all classes share; `forget` removes that too.

        Raises:
            InputError: The method cannot forget, or there is no such class.
        """
        from avcil.inference import forgetting

        with self._exclusive():
            self._state = forgetting.forget_class(self._state, label)

    def rename(self, old: str, new: str) -> None:
        """Rename a class."""
        self.rename_classes({old: new})

    def rename_classes(self, names: Mapping[str, str]) -> None:
        """Rename classes, all at the same time, so that two classes can exchange their names.

        Args:
            names: New names by old ones.

        Raises:
            InputError: The model lacks a class, a new name is reserved, or two classes would have the same name.
        """
        with self._exclusive():
            self._state = renaming.rename(self._state, names)
            self.rejection = self.rejection.renamed(names)

    def merge(
        self, other: Recognizer, *, same_classes: bool = False, rename: Mapping[str, str] | None = None
    ) -> None:
        """Merge another recognizer; the result equals one model that learned the clips of both.

        Both need the method blade and the same encoders, modality and options. `other` does not change.

        Args:
            other: The recognizer whose classes and clips are added.
            same_classes: Whether classes with the same name are the same class.
            rename: New names of classes of `other`, by their old names.

        Raises:
            InputError: The models cannot be merged, or both have a class name and `same_classes` is False.
        """
        from avcil.inference import merging

        other_state = other.snapshot()
        with self._exclusive():
            self._state = merging.merge(self._state, other_state, same_classes=same_classes, renamed=rename)

    def snapshot(self) -> SavedModel:
        """The current state, for `restore`. States are immutable, so nothing is copied."""
        return self._state

    def restore(self, snapshot: SavedModel) -> None:
        """Replace the state by an earlier one. `rejection` is not part of a state, so it does not change."""
        with self._exclusive():
            self._state = snapshot

    @contextmanager
    def _exclusive(self) -> Iterator[None]:
        """Hold the lock for changes; InputError if another thread holds it."""
        if not self._learning_lock.acquire(blocking=False):
            raise InputError(
                "this recognizer is learning already. Wait until it has finished; it can predict meanwhile"
            )
        try:
            yield
        finally:
            self._learning_lock.release()


def _is_single(clips: object) -> TypeIs[Source]:
    return isinstance(clips, str | Path | Clip | ClipArrays | ClipFeatures) or hasattr(clips, "clip_id")
