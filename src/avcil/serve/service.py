"""One recognizer for many people: a bounded pool asks it, one teaching at a time goes on in the background.

Whatever is accepted is finished, whether or not who asked for it is still there.
"""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar

from avcil.errors import InputError
from avcil.inference.answering import Answer
from avcil.inference.held_out import HeldOut, clips_of_run
from avcil.inference.recognizer import Recognizer
from avcil.inference.timeline import Event
from avcil.runs.run_model import model_folder
from avcil.saved_models.folder import SavedModel
from avcil.serve import changes
from avcil.serve.admission import Admission
from avcil.serve.decoding import UploadReader
from avcil.serve.entries import taught_classes
from avcil.serve.incoming import Upload
from avcil.serve.limits import (
    LearningError,
    Limits,
    NothingToUndoError,
    ReadOnlyError,
    ShuttingDownError,
)
from avcil.serve.look import Look, events, look
from avcil.serve.messages import without_server_paths
from avcil.serve.names import checked_name, default_work
from avcil.serve.teaching import Teaching, run_teaching
from avcil.serve.work_folder import WorkFolder

T = TypeVar("T")
ONE_AT_A_TIME = (
    "it is learning or being changed already; one change at a time. Wait for it to end, then try again"
)


class Service:
    """What the page and the HTTP API do."""

    def __init__(
        self, run: Path, *, work: Path | None = None, limits: Limits | None = None, read_only: bool = False
    ) -> None:
        base = model_folder(Path(run))
        self.run, self.limits, self.read_only = Path(run), limits or Limits(), read_only
        self.work = WorkFolder(work or default_work(self.run), base)
        try:
            self.recognizer = Recognizer.load(self.work.model())
            _ = self.recognizer.reader  # built once, and a model that cannot be asked is refused now
            served = Recognizer.load(base) if self.work.sittings else self.recognizer
            self.held_out = clips_of_run(self.run, served.snapshot())
        except BaseException:
            self.work.close()
            raise
        self.uploads = UploadReader(self.limits)
        self.teaching: Teaching | None = None
        self._closing = threading.Event()
        self._changing = threading.Lock()
        self.queue = Admission(self.limits.workers, self.limits.waiting)
        self.teachings: Counter[str] = Counter()  # those that ended, by result
        self._pool = ThreadPoolExecutor(self.limits.workers, thread_name_prefix="ask")
        self._teacher: threading.Thread | None = None
        self.messages: list[str] = []
        """What the operator should know of teachings that an earlier process accepted."""
        self._take_over()

    def shut_down(self) -> None:
        """Take no more work; what was accepted continues."""
        self._closing.set()

    def check_open(self) -> None:
        """ShuttingDownError once the server is shutting down."""
        if self._closing.is_set():
            raise ShuttingDownError("the server is shutting down; send this again once it is back")

    def wait_for_teaching(self) -> None:
        """Wait until what was accepted to be learned is learned."""
        if self._teacher is not None:
            self._teacher.join()

    def close(self) -> None:
        """Finish what is under way and let the work folder go."""
        self.shut_down()
        self.wait_for_teaching()
        with self._changing:  # a request that changes the model may still be under way
            pass
        self._pool.shutdown(wait=True)
        self.uploads.close()
        self.work.close()

    # -- asking ----------------------------------------------------------------------------------------------------

    def answer(self, path: Path) -> Answer:
        """The answer for a clip; the caller holds a slot of `queue`."""
        return self._in_pool(lambda: self._answer(path))

    def look(self, path: Path) -> Look:
        """The answer with all that there is to see of it; the caller holds a slot of `queue`."""
        return self._in_pool(lambda: self._look(path))

    def events(self, path: Path) -> tuple[Event, ...]:
        """The events of a long clip; the caller holds a slot of `queue`."""
        return self._in_pool(lambda: self._events(path))

    def _in_pool(self, work: Callable[[], T]) -> T:
        self.check_open()
        return self._pool.submit(work).result()

    def _answer(self, path: Path) -> Answer:
        with self.uploads.checked(path) as session:
            features = self.recognizer.reader.features(path, media=session)
        return self.recognizer.answer(features)

    def _look(self, path: Path) -> Look:
        with self.uploads.checked(path) as session:
            features = self.recognizer.reader.features(path, media=session)
            return look(self.recognizer, path, features, session)

    def _events(self, path: Path) -> tuple[Event, ...]:
        with self.uploads.checked(path) as session:
            return events(self.recognizer, path, session.probe(path).duration, session)

    # -- teaching --------------------------------------------------------------------------------------------------

    def check_may_change(self) -> None:
        """ReadOnlyError, ShuttingDownError or LearningError where the model cannot be changed now."""
        self.check_open()
        if self.read_only:
            raise ReadOnlyError("this recognizer is served read-only: it can be asked, not changed")
        if self._changing.locked():
            raise LearningError(ONE_AT_A_TIME)

    def _begin_change(self) -> None:
        """Claim the model for one change; whoever calls releases `_changing`."""
        self.check_may_change()
        if not self._changing.acquire(blocking=False):
            raise LearningError(ONE_AT_A_TIME)
        if self._closing.is_set():
            self._changing.release()
            self.check_open()

    @contextmanager
    def _one_change(self) -> Iterator[None]:
        """Claim the model for one change; errors of a full disk name no path."""
        self._begin_change()
        try:
            with without_server_paths():
                yield
        finally:
            self._changing.release()

    def start_teaching(self, label: str, clips: Sequence[Upload]) -> Teaching:
        """Begin to teach a class from uploads, which are moved into the work folder; go on in the background."""
        label = checked_name(label)
        if not 1 <= len(clips) <= self.limits.clips:
            raise InputError(f"give 1 to {self.limits.clips} clips at a time, not {len(clips)}")
        self._begin_change()
        try:
            last = self.teaching.number if self.teaching else 0
            number = max(self.work.next_teaching(), last + 1)
            teaching = Teaching(number=number, label=label, clips=len(clips))
            with without_server_paths():
                kept = self.work.incoming.accept(number, label, clips)
        except BaseException:
            self._changing.release()
            raise
        self._start_teacher(teaching, kept)
        return teaching

    def _start_teacher(self, teaching: Teaching, clips: Sequence[Upload]) -> None:
        self._teacher = threading.Thread(target=self._teach, args=(teaching, clips), name="teach")
        self.teaching = teaching
        self._teacher.start()

    def _teach(self, teaching: Teaching, clips: Sequence[Upload]) -> None:
        try:
            run_teaching(
                teaching,
                clips,
                recognizer=self.recognizer,
                old=self.held_out_so_far(),
                uploads=self.uploads,
                work=self.work,
            )
        finally:
            self.work.incoming.remove(teaching.number)
            self.teachings["failed" if teaching.error else "done"] += 1
            self._changing.release()
            teaching.ended.set()

    def _take_over(self) -> None:
        """Resume the teaching that an earlier process accepted, or report it as lost."""
        finished = {sitting.get("teaching") for sitting in self.work.sittings}
        if self.work.lost:
            self.teaching = Teaching.of_lost(self.work.lost[-1])
        last = next((sitting for sitting in reversed(self.work.sittings) if "teaching" in sitting), None)
        if last is not None and (self.teaching is None or self.teaching.number < last["teaching"]):
            self.teaching = Teaching.of_sitting(last)
        if self.read_only:
            return  # a server that may teach resumes it
        for accepted in self.work.incoming.found():
            what = f"{accepted.label!r} ({len(accepted.names)} clips), accepted before the last stop"
            problem = accepted.problem(self.work.incoming.path(accepted.number))
            if accepted.number in finished:
                self.work.incoming.remove(accepted.number)
            elif problem:
                self.work.add_lost(accepted, problem)
                self.teaching = Teaching.of_lost(self.work.lost[-1])
                self.messages.append(f"lost: {what}: {problem}")
            elif self._changing.acquire(blocking=False):
                self.messages.append(f"resuming: {what}")
                teaching = Teaching(number=accepted.number, label=accepted.label, clips=len(accepted.names))
                self._start_teacher(teaching, self.work.incoming.begin_again(accepted))

    # -- other changes ---------------------------------------------------------------------------------------------

    def rename(self, label: str, new_label: str) -> dict[str, Any]:
        """Give a class another name; the entry of the work folder."""
        new_label = checked_name(new_label)
        if label == new_label:
            raise InputError(f"the class is called {label!r} already")
        return self._change(lambda state: changes.rename_class(state, label, new_label))

    def forget(self, label: str, clips: Sequence[Upload] = ()) -> dict[str, Any]:
        """Forget a class, or only the given clips of it; the entry of the work folder."""
        if len(clips) > self.limits.clips:
            raise InputError(f"give at most {self.limits.clips} clips at a time, not {len(clips)}")
        if not clips:
            return self._change(lambda state: changes.forget_class(state, label))
        return self._change(
            lambda state: changes.forget_clips(
                state,
                label,
                clips,
                recognizer=self.recognizer,
                uploads=self.uploads,
                held_out=self.held_out_so_far(),
            )
        )

    def merge(
        self, archive: Upload, *, same_classes: bool = False, renamed: Mapping[str, str] | None = None
    ) -> dict[str, Any]:
        """Add what the model in a zip file learned (`changes.merge_model`); the entry of the work folder."""
        renamed = {old: checked_name(new) for old, new in (renamed or {}).items()}
        return self._change(
            lambda state: changes.merge_model(
                state,
                archive,
                same_classes=same_classes,
                renamed=renamed,
                most_bytes=2 * self.limits.upload_bytes,
            )
        )

    def _change(self, make: Callable[[SavedModel], changes.Change]) -> dict[str, Any]:
        with self._one_change():
            return changes.apply_change(
                make, recognizer=self.recognizer, held_out=self.held_out_so_far(), work=self.work
            )

    def undo(self) -> dict[str, Any]:
        """Undo the last change; its entry of the work folder."""
        with self._one_change():
            before = self.work.model_before()
            if before is None:
                raise NothingToUndoError("there is nothing to undo")
            snapshot = Recognizer.load(before).snapshot()
            undone = self.work.undo()
            self.recognizer.restore(snapshot)
            return undone

    # -- what it is ------------------------------------------------------------------------------------------------

    @property
    def learning(self) -> bool:
        """Whether a teaching is under way."""
        return self.teaching is not None and not self.teaching.ended.is_set()

    def held_out_so_far(self) -> HeldOut:
        """Clips of the known classes that were never learned."""
        return self.work.held_out(self.held_out)

    def classes(self) -> list[dict[str, Any]]:
        """Name, clips learnt (None where the model does not say), and whether it was taught here."""
        counts = self.recognizer.counts or {}
        taught = {label for label, _ in taught_classes(self.work.sittings)}
        return [
            {"label": label, "clips": counts.get(label), "taught_here": label in taught}
            for label in self.recognizer.classes_
        ]
