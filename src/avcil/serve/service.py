"""A recognizer for many clients: a bounded pool predicts, and one learning job at a time runs in the background.

Accepted requests are finished, also if the client disconnects.
"""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import TypeVar

from avcil.errors import InputError
from avcil.inference.held_out import HeldOut, clips_of_run
from avcil.inference.prediction import Prediction
from avcil.inference.recognizer import Recognizer
from avcil.inference.rejection import Rejection
from avcil.inference.timeline import TimelineEvent
from avcil.runs.run_model import model_folder
from avcil.saved_models.folder import BACKGROUND, SavedModel
from avcil.serve import changes
from avcil.serve.admission import Admission
from avcil.serve.clip_view import ClipView, clip_view, events
from avcil.serve.decoding import UploadReader
from avcil.serve.incoming import Upload
from avcil.serve.learning_job import LearningJob, run_learning_job
from avcil.serve.limits import LearningError, ReadOnlyError, ServeLimits, ShuttingDownError
from avcil.serve.messages import without_server_paths
from avcil.serve.names import checked_name
from avcil.serve.schema import ClassResponse
from avcil.serve.state_directory import StateDirectory, default_state_dir
from avcil.serve.state_entries import ChangeEntry, learned_classes

T = TypeVar("T")
_ONE_AT_A_TIME = "the model is being changed by another request. Wait until it has finished, then try again"


class Service:
    """The operations of the page and the HTTP API."""

    def __init__(
        self,
        model: Path,
        *,
        state_dir: Path | None = None,
        limits: ServeLimits | None = None,
        read_only: bool = False,
        rejection: Rejection | None = None,
    ) -> None:
        base = model_folder(Path(model))
        self.model, self.limits, self.read_only = Path(model), limits or ServeLimits(), read_only
        self.state_directory = StateDirectory(state_dir or default_state_dir(self.model), base)
        try:
            self.recognizer = Recognizer.load(self.state_directory.model())
            _ = self.recognizer.reader  # raises an error now if the encoders cannot be built
            if rejection is not None:
                self.recognizer.set_rejection(rejection)
            original = Recognizer.load(base) if self.state_directory.updates else self.recognizer
            self.held_out = clips_of_run(self.model, original.snapshot())
        except BaseException:
            self.state_directory.close()
            raise
        self.uploads = UploadReader(self.limits)
        self.job: LearningJob | None = None
        self._closing = threading.Event()
        self._changing = threading.Lock()
        self.queue = Admission(self.limits.workers, self.limits.waiting)
        self.jobs: Counter[str] = Counter()  # finished jobs by result
        self._pool = ThreadPoolExecutor(self.limits.workers, thread_name_prefix="predict")
        self._thread: threading.Thread | None = None
        self.messages: list[str] = []
        """Messages for the operator on jobs that an earlier process accepted."""
        self._resume_jobs()

    def shut_down(self) -> None:
        """Accept no further requests; accepted ones continue."""
        self._closing.set()

    def check_open(self) -> None:
        """Raise ShuttingDownError if the server is shutting down."""
        if self._closing.is_set():
            raise ShuttingDownError("the server is shutting down; send the request again after the restart")

    def wait_for_learning(self) -> None:
        """Wait until the accepted job is finished."""
        if self._thread is not None:
            self._thread.join()

    def close(self) -> None:
        """Finish running requests and release the state directory."""
        self.shut_down()
        self.wait_for_learning()
        with self._changing:  # wait for a request that changes the model
            pass
        self._pool.shutdown(wait=True)
        self.uploads.close()
        self.state_directory.close()

    # -- prediction (the caller holds a slot of `queue`) -------------------------------------------------------------

    def predict(self, path: Path) -> Prediction:
        """Predict a clip."""
        return self._in_pool(self._predict, path)

    def view(self, path: Path) -> ClipView:
        """Predict and explain a clip."""
        return self._in_pool(self._view, path)

    def events(self, path: Path) -> tuple[TimelineEvent, ...]:
        """Predict the timeline of a long clip."""
        return self._in_pool(self._events, path)

    def _in_pool(self, task: Callable[[Path], T], path: Path) -> T:
        self.check_open()
        return self._pool.submit(task, path).result()

    def _predict(self, path: Path) -> Prediction:
        with self.uploads.checked(path) as session:
            features = self.recognizer.reader.features(path, media=session)
        return self.recognizer.predict_clip(features)

    def _view(self, path: Path) -> ClipView:
        with self.uploads.checked(path) as session:
            features = self.recognizer.reader.features(path, media=session)
            return clip_view(self.recognizer, path, features, session)

    def _events(self, path: Path) -> tuple[TimelineEvent, ...]:
        with self.uploads.checked(path) as session:
            return events(self.recognizer, path, session.probe(path).duration, session)

    # -- learning --------------------------------------------------------------------------------------------------

    def check_may_change(self) -> None:
        """Raise ReadOnlyError, ShuttingDownError or LearningError if the model cannot be changed now."""
        self.check_open()
        if self.read_only:
            raise ReadOnlyError("the server is read-only: it predicts, but the model cannot be changed")
        if self._changing.locked():
            raise LearningError(_ONE_AT_A_TIME)

    def _begin_change(self) -> None:
        """Acquire the lock `_changing`, which the caller releases."""
        self.check_may_change()
        if not self._changing.acquire(blocking=False):
            raise LearningError(_ONE_AT_A_TIME)
        if self._closing.is_set():
            self._changing.release()
            self.check_open()

    @contextmanager
    def _one_change(self) -> Iterator[None]:
        """Hold the lock during one change; errors of a full disk do not show paths of this machine."""
        self._begin_change()
        try:
            with without_server_paths():
                yield
        finally:
            self._changing.release()

    def start_learning(self, label: str, clips: Sequence[Upload]) -> LearningJob:
        """Start a job that learns uploads of a class, which are copied to the state directory."""
        return self._start_job(checked_name(label), clips)

    def start_background(self, clips: Sequence[Upload]) -> LearningJob:
        """Start a job that learns uploads as background clips; see `Recognizer.learn_background`."""
        return self._start_job(BACKGROUND, clips)

    def _start_job(self, label: str, clips: Sequence[Upload]) -> LearningJob:
        if not 1 <= len(clips) <= self.limits.clips:
            raise InputError(f"give 1 to {self.limits.clips} clips at a time; not {len(clips)}")
        self._begin_change()
        try:
            last = self.job.number if self.job else 0
            number = max(self.state_directory.next_job(), last + 1)
            job = LearningJob(number=number, label=label, clips=len(clips))
            with without_server_paths():
                copies = self.state_directory.incoming.accept(number, label, clips)
        except BaseException:
            self._changing.release()
            raise
        self._start_thread(job, copies)
        return job

    def _start_thread(self, job: LearningJob, clips: Sequence[Upload]) -> None:
        self._thread = threading.Thread(target=self._learn, args=(job, clips), name="learn")
        self.job = job
        self._thread.start()

    def _learn(self, job: LearningJob, clips: Sequence[Upload]) -> None:
        try:
            run_learning_job(
                job,
                clips,
                recognizer=self.recognizer,
                old=self.held_out_so_far(),
                uploads=self.uploads,
                directory=self.state_directory,
            )
        finally:
            self.state_directory.incoming.remove(job.number)
            self.jobs["failed" if job.error else "done"] += 1
            self._changing.release()
            job.ended.set()

    def _resume_jobs(self) -> None:
        """Resume the job that an earlier process accepted, or report it as lost."""
        finished = {update.get("teaching") for update in self.state_directory.updates}
        if self.state_directory.lost:
            self.job = LearningJob.of_lost(self.state_directory.lost[-1])
        last = next(
            (update for update in reversed(self.state_directory.updates) if "teaching" in update), None
        )
        if last is not None and (self.job is None or self.job.number < last["teaching"]):
            self.job = LearningJob.of_entry(last)
        if self.read_only:
            return  # a later server without --read-only resumes it
        for accepted in self.state_directory.incoming.found():
            what = f"{accepted.label!r} ({len(accepted.names)} clips), accepted before the last stop"
            problem = accepted.problem(self.state_directory.incoming.path(accepted.number))
            if accepted.number in finished:
                self.state_directory.incoming.remove(accepted.number)
            elif problem:
                self.state_directory.add_lost(accepted, problem)
                self.job = LearningJob.of_lost(self.state_directory.lost[-1])
                self.messages.append(f"learning job lost: {what}: {problem}")
            elif self._changing.acquire(blocking=False):
                self.messages.append(f"learning job resumed: {what}")
                job = LearningJob(number=accepted.number, label=accepted.label, clips=len(accepted.names))
                self._start_thread(job, self.state_directory.incoming.resume(accepted))

    # -- other changes ---------------------------------------------------------------------------------------------

    def rename(self, label: str, new_label: str) -> ChangeEntry:
        """Rename a class; returns the entry of the change."""
        new_label = checked_name(new_label)
        if label == new_label:
            raise InputError(f"the class already has the name {label!r}")
        return self._change(lambda state: changes.rename_class(state, label, new_label))

    def forget(self, label: str, clips: Sequence[Upload] = ()) -> ChangeEntry:
        """Forget a class, or only the given clips of it; returns the entry of the change."""
        if len(clips) > self.limits.clips:
            raise InputError(f"give at most {self.limits.clips} clips at a time; not {len(clips)}")
        if not clips:
            return self._change(lambda state: changes.forget_class(state, label))
        return self._change(
            lambda state: changes.forget_clips(
                state,
                label,
                clips,
                recognizer=self.recognizer,
                uploads=self.uploads,
            )
        )

    def merge(
        self, archive: Upload, *, same_classes: bool = False, renamed: Mapping[str, str] | None = None
    ) -> ChangeEntry:
        """Merge the model in a zip file (`changes.merge_model`); returns the entry of the change."""
        renamed = {old: checked_name(new) for old, new in (renamed or {}).items()}
        return self._change(
            lambda state: changes.merge_model(
                state,
                archive,
                same_classes=same_classes,
                renamed=renamed,
                max_bytes=2 * self.limits.upload_bytes,
            )
        )

    def _change(self, make: Callable[[SavedModel], changes.Change]) -> ChangeEntry:
        with self._one_change():
            return changes.apply_change(
                make,
                recognizer=self.recognizer,
                held_out=self.held_out_so_far(),
                directory=self.state_directory,
            )

    def undo(self) -> ChangeEntry:
        """Undo the last change; returns its entry."""
        with self._one_change():
            return changes.undo_change(self.recognizer, self.state_directory)

    # -- properties ------------------------------------------------------------------------------------------------

    @property
    def learning(self) -> bool:
        """Whether a learning job is running."""
        return self.job is not None and not self.job.ended.is_set()

    def held_out_so_far(self) -> HeldOut:
        """Held-out clips of the current classes."""
        return self.state_directory.held_out(self.held_out)

    def classes(self) -> list[ClassResponse]:
        """Name and number of learned clips of each class, and whether it was learned on this server."""
        counts = self.recognizer.counts or {}
        learned_here = {label for label, _ in learned_classes(self.state_directory.updates)}
        return [
            ClassResponse(label=label, clips=counts.get(label), taught_here=label in learned_here)
            for label in self.recognizer.classes_
        ]
