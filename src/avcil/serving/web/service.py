"""One recogniser for many people: a bounded pool asks it, one teaching at a time goes on in the background.

Whatever is accepted is finished, whether or not who asked for it is still there.
"""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, TypeVar

from avcil.errors import AvcilError, InputError
from avcil.media import probe
from avcil.serving.recognizer import Answer, Recognizer, model_folder
from avcil.serving.web import heldout
from avcil.serving.web.admission import Admission
from avcil.serving.web.limits import LearningError, Limits, NothingToUndoError, ReadOnlyError
from avcil.serving.web.look import Look, look
from avcil.serving.web.teaching import Teaching, Upload, teach
from avcil.serving.web.work_folder import WorkFolder

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
            self.held_out, self.no_held_out = heldout.of_run(self.run, self.recognizer.modality)
        except BaseException:
            self.work.close()
            raise
        self.teaching: Teaching | None = None
        self._changing = threading.Lock()
        self.queue = Admission(self.limits.workers, self.limits.waiting)
        self.teachings: Counter[str] = Counter()  # those that ended, by result
        self._pool = ThreadPoolExecutor(self.limits.workers, thread_name_prefix="ask")
        self._teacher: threading.Thread | None = None

    def close(self) -> None:
        """Finish what is under way and let the work folder go."""
        if self._teacher is not None:
            self._teacher.join()
        self._pool.shutdown(wait=True)
        self.work.close()

    # -- asking ----------------------------------------------------------------------------------------------------

    def answer(self, path: Path) -> Answer:
        """The answer for a clip; the caller holds a slot of `queue`."""
        return self._in_pool(lambda: self._checked(path, lambda: self.recognizer.answer(path)))

    def look(self, path: Path) -> Look:
        """The answer with all that there is to see of it; the caller holds a slot of `queue`."""
        return self._in_pool(lambda: self._checked(path, lambda: look(self.recognizer, path)))

    def _in_pool(self, work: Callable[[], T]) -> T:
        return self._pool.submit(work).result()

    def _checked(self, path: Path, work: Callable[[], T]) -> T:
        self.check_length(path)
        return work()

    def check_length(self, path: Path) -> None:
        """Refuse a clip that is too long; MediaError for what is no media file."""
        seconds = probe(path).duration
        if seconds > self.limits.seconds:
            raise InputError(
                f"{path}: the clip lasts {seconds:.0f} s; at most {self.limits.seconds:.0f} s are taken. Cut it"
            )

    # -- teaching --------------------------------------------------------------------------------------------------

    def check_may_teach(self) -> None:
        """ReadOnlyError or LearningError where nothing can be taught now."""
        if self.read_only:
            raise ReadOnlyError("this recogniser is served read-only: it can be asked, not taught")
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
            number = 1 + (self.teaching.number if self.teaching else 0)
            teaching = Teaching(number=number, label=label, clips=len(clips))
            kept = teaching.take(clips, self.work.incoming)
            self._teacher = threading.Thread(target=self._teach, args=(teaching, kept), name="teach")
            self._teacher.start()
        except BaseException:
            self._changing.release()
            raise
        self.teaching = teaching
        return teaching

    def _teach(self, teaching: Teaching, clips: Sequence[Upload]) -> None:
        try:
            teach(self, teaching, clips)
        finally:
            teaching.clean(self.work.incoming)
            self.teachings["failed" if teaching.error else "done"] += 1
            self._changing.release()
            teaching.ended.set()

    def undo(self) -> dict[str, Any]:
        """Know again what it knew before the last sitting; the sitting that was undone."""
        if self.read_only:
            raise ReadOnlyError("this recogniser is served read-only: nothing can be undone")
        if not self._changing.acquire(blocking=False):
            raise LearningError("it is learning now. Wait for that to end, then undo it")
        try:
            before = self.work.model_before()
            if before is None:
                raise NothingToUndoError("there is nothing to undo")
            snapshot = Recognizer.load(before).snapshot()
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

    def held_out_so_far(self) -> heldout.HeldOut:
        """Clips of all classes known that were never learnt from."""
        found = self.held_out
        for sitting in self.work.sittings:
            found += heldout.load(self.work.path(sitting) / "heldout.safetensors", sitting["held_out"])
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


def words(error: BaseException, path: Path | None = None, name: str = "the clip") -> str:
    """An error for people on the other side of the wire: no path of this machine."""
    text = str(error) if isinstance(error, AvcilError) else f"unexpected {type(error).__name__}"
    if path is not None:
        text = text.replace(str(path), name).replace(str(path.parent), "the upload")
    return text
