"""One recognizer for many people: a bounded pool asks it, one teaching at a time goes on in the background.

Whatever is accepted is finished, whether or not who asked for it is still there.
"""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar

from avcil.errors import AvcilError, InputError, StorageError
from avcil.inference.answering import Answer
from avcil.inference.held_out import HeldOut, clips_of_run
from avcil.inference.recognizer import Recognizer
from avcil.inference.timeline import Event
from avcil.runs.run_model import model_folder
from avcil.serve.admission import Admission
from avcil.serve.decoding import UploadReader
from avcil.serve.incoming import Upload
from avcil.serve.limits import (
    LearningError,
    Limits,
    NothingToUndoError,
    ReadOnlyError,
    ShuttingDownError,
)
from avcil.serve.look import Look, events, look
from avcil.serve.teaching import FULL_DISK, Teaching, run_teaching
from avcil.serve.work_folder import WorkFolder
from avcil.utils.files import is_storage_error

T = TypeVar("T")


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
            self.held_out = clips_of_run(self.run, self.recognizer.snapshot())
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

    def check_may_teach(self) -> None:
        """ReadOnlyError, ShuttingDownError or LearningError where nothing can be taught now."""
        self.check_open()
        if self.read_only:
            raise ReadOnlyError("this recognizer is served read-only: it can be asked, not taught")
        if self._changing.locked():
            raise LearningError(
                "it is learning already; one teaching at a time. Wait for it to end, then try again"
            )

    def start_teaching(self, label: str, clips: Sequence[Upload]) -> Teaching:
        """Begin to teach a class from uploads, which are moved into the work folder; go on in the background."""
        label = class_name(label)
        if not label or len(label) > 100 or not label.isprintable():
            raise InputError("name the class: 1 to 100 printable characters")
        if not 1 <= len(clips) <= self.limits.clips:
            raise InputError(f"give 1 to {self.limits.clips} clips at a time, not {len(clips)}")
        self.check_may_teach()
        if not self._changing.acquire(blocking=False):
            self.check_may_teach()
            raise LearningError(
                "it is learning already; one teaching at a time. Wait for it to end, then try again"
            )
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
        last = self.work.sittings[-1] if self.work.sittings else {}
        if "teaching" in last and (self.teaching is None or self.teaching.number < last["teaching"]):
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

    def undo(self) -> dict[str, Any]:
        """Know again what it knew before the last sitting; the sitting that was undone."""
        self.check_open()
        if self.read_only:
            raise ReadOnlyError("this recognizer is served read-only: nothing can be undone")
        if not self._changing.acquire(blocking=False):
            raise LearningError("it is learning now. Wait for that to end, then undo it")
        try:
            before = self.work.model_before()
            if before is None:
                raise NothingToUndoError("there is nothing to undo")
            snapshot = Recognizer.load(before).snapshot()
            with without_server_paths():
                undone = self.work.undo()
            self.recognizer.restore(snapshot)
            return undone
        finally:
            self._changing.release()

    # -- what it is ------------------------------------------------------------------------------------------------

    @property
    def learning(self) -> bool:
        """Whether a teaching is under way."""
        return self.teaching is not None and not self.teaching.ended.is_set()

    def held_out_so_far(self) -> HeldOut:
        """Clips of all classes known that were never learnt from."""
        found = self.held_out
        for sitting in self.work.sittings:
            found += HeldOut.load(self.work.path(sitting) / "heldout.safetensors", sitting["held_out"])
        return found

    def classes(self) -> list[dict[str, Any]]:
        """Name, clips learnt (None where the model does not say), and whether it was taught here."""
        counts = self.recognizer.counts or {}
        taught = {sitting["label"] for sitting in self.work.sittings}
        return [
            {"label": label, "clips": counts.get(label), "taught_here": label in taught}
            for label in self.recognizer.classes_
        ]


def class_name(text: str) -> str:
    """A name as people type it, without the blanks around it and with single ones in it.

    >>> class_name("  door   bell ")
    'door bell'
    """
    return " ".join(text.split())


def default_work(run: Path) -> Path:
    """Beside the run: its name and `.taught`."""
    run = run.absolute()
    return run.with_name(f"{run.name}.taught")


@contextmanager
def without_server_paths() -> Iterator[None]:
    """Raise errors of a full or read-only disk as a `StorageError` that names no path of this machine."""
    try:
        yield
    except (StorageError, OSError) as error:
        if not is_storage_error(error):
            raise
        raise StorageError(FULL_DISK) from error


def words(error: BaseException, path: Path | None = None, name: str = "the clip") -> str:
    """An error for people on the other side of the wire: no path of this machine."""
    if is_storage_error(error):
        return FULL_DISK
    text = str(error) if isinstance(error, AvcilError) else f"unexpected {type(error).__name__}"
    if path is not None:
        text = text.replace(str(path), name).replace(str(path.parent), "the upload")
    return text
