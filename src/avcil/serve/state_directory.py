"""The state directory of a served model, with all its changes. Nothing is written to the folder that the user gave.

    state.json       the entries (state_entries.py) of all changes in order, as "updates"; writing an entry commits it
    updates/K/model  the model folder after entry K
    updates/K/heldout.safetensors   features of held-out clips: audio (n, Da), visual (n, T, S, Dv)
    updates/K/frame.png             an example frame of the class
    updates/K.undone the folder of an entry that was undone, until state.json is written without it
    incoming/N       a learning job that is accepted and not finished (incoming.py)

A kill leaves either the state before a change or the state after it. Undo renames the folder of the entry, which needs
no disk space, removes its content, and then writes state.json.
"""

from __future__ import annotations

import os
import re
import shutil
from collections.abc import Callable
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import Any

from avcil.errors import InputError, StorageError
from avcil.inference.held_out import HeldOut
from avcil.serve.incoming import Accepted, Incoming
from avcil.serve.state_entries import ChangeEntry, LostJob, check_entry, check_job, current_label
from avcil.utils import checks
from avcil.utils.files import STALE_PART, folder_lock, read_json, sync_folder, write_json
from avcil.utils.input_files import regular_file_sha256

_FORMAT, VERSION = "avcil-served", 3
_READ_VERSIONS = (1, 2, 3)
"""Version 1 has only learning; before version 3, updates were called sittings, and the key learned was learnt."""
_KNOWN_FILES = {".lock", "state.json", "updates", "sittings", "incoming"}
_MAX_UNDO = 10
"""Number of changes that can be undone; the models of older entries are removed."""


def default_state_dir(model: Path) -> Path:
    """The folder MODEL.taught beside the run directory or model folder."""
    model = model.absolute()
    return model.with_name(f"{model.name}.taught")


class StateDirectory:
    """The locked state directory of one served model."""

    def __init__(self, folder: Path, model: Path) -> None:
        self.folder, self.base = Path(folder), Path(model)
        self._held = ExitStack()
        self._held.enter_context(folder_lock(self.folder, "serving"))
        try:
            self.state = self._read()
        except BaseException:
            self.close()
            raise
        self.incoming = Incoming(self.folder / "incoming")
        self._clean()

    def close(self) -> None:
        """Release the lock."""
        self._held.close()

    @property
    def updates(self) -> list[ChangeEntry]:
        """The entries of the changes in order."""
        return self.state["updates"]

    @property
    def lost(self) -> list[LostJob]:
        """Accepted jobs that are lost."""
        return self.state.get("lost", [])

    def next_job(self) -> int:
        """The number of the next job."""
        numbers = [update.get("teaching", 0) for update in self.updates]
        return 1 + max([*numbers, *(lost["number"] for lost in self.lost)], default=0)

    def add_lost(self, accepted: Accepted, reason: str) -> None:
        """Record a lost job and remove its files."""
        job = LostJob(
            number=accepted.number,
            label=accepted.label,
            clips=len(accepted.names),
            reason=f"it was accepted, but {reason}. Send its clips again",
        )
        self._write(lost=[*self.lost, job][-_MAX_UNDO:])
        self.incoming.remove(accepted.number)

    def path(self, update: ChangeEntry) -> Path:
        """The folder of an entry."""
        return self.folder / "updates" / f"{update['number']:06d}"

    def model(self) -> Path:
        """The current model."""
        return self.path(self.updates[-1]) / "model" if self.updates else self.base

    def model_before(self) -> Path | None:
        """The model before the last change; None if there is none, or if it was removed."""
        if not self.updates:
            return None
        if len(self.updates) == 1:
            return self.base
        model = self.path(self.updates[-2]) / "model"
        return model if model.is_dir() else None

    def held_out(self, of_run: HeldOut) -> HeldOut:
        """The held-out clips of the run and of all entries, with the current names of their classes."""
        clips_of_run = of_run.relabeled(lambda label: current_label(label, self.updates))
        for index, entry in enumerate(self.updates):
            clips = HeldOut.load(self.path(entry) / "heldout.safetensors", entry["held_out"])
            names = {label: current_label(label, self.updates[index + 1 :]) for label in clips.labels}
            clips_of_run += clips.relabeled(names.__getitem__)
        return clips_of_run

    def add(self, entry: ChangeEntry, write: Callable[[Path], None]) -> ChangeEntry:
        """Create a folder, fill it with `write`, and commit the entry; after an error, nothing is left."""
        entry = {"number": self.state["next"], **entry}
        folder = self.path(entry)
        try:
            shutil.rmtree(folder, ignore_errors=True)
            folder.mkdir(parents=True)
            write(folder)
            self._write(updates=[*self.updates, entry], next=entry["number"] + 1)
        except BaseException:
            shutil.rmtree(folder, ignore_errors=True)
            raise
        for old in self.updates[: -_MAX_UNDO - 1]:
            shutil.rmtree(self.path(old) / "model", ignore_errors=True)
        return entry

    def undo(self) -> ChangeEntry:
        """Remove the last entry and return it."""
        last = self.updates[-1]
        folder = self.path(last)
        marker = folder.with_name(f"{folder.name}.undone")
        os.rename(folder, marker)  # commits the undo
        sync_folder(marker.parent)
        self.state = self.state | {"updates": self.updates[:-1]}
        self._finish_undo(marker)
        return last

    def _finish_undo(self, marker: Path) -> None:
        """Remove the files of an undone entry, then write state.json; if that fails, the marker stays."""
        for path in marker.iterdir():
            is_folder = path.is_dir() and not path.is_symlink()
            shutil.rmtree(path) if is_folder else path.unlink()
        with suppress(StorageError):
            self._write()
            marker.rmdir()

    def _write(self, **changes: Any) -> None:
        state = self.state | changes
        write_json(self.folder / "state.json", state)
        self.state = state

    def _read(self) -> dict[str, Any]:
        path, digest = self.folder / "state.json", _digest(self.base)
        new_state = {"format": _FORMAT, "version": VERSION, "base": digest, "next": 1, "updates": []}
        if not path.exists():
            names = {entry.name for entry in self.folder.iterdir()} - _KNOWN_FILES
            others = sorted(name for name in names if not STALE_PART.fullmatch(name))
            if others:
                raise InputError(
                    f"{self.folder} contains {', '.join(others[:3])}, which is not a file of avcil serve. Choose "
                    "another --state-dir, because avcil serve removes unknown files"
                )
            return new_state
        state = read_json(path)
        if (
            not isinstance(state, dict)
            or state.get("format") != _FORMAT
            or state.get("version") not in _READ_VERSIONS
        ):
            raise InputError(
                f"{path} is not a state file of avcil serve, or of a newer version. Choose another --state-dir"
            )
        state = _converted(state)
        _check_state(state, path)
        if state["base"] != digest:
            raise InputError(
                f"{self.folder} has the changes of another model than the one in {self.base}. Choose another "
                "--state-dir, or remove the folder"
            )
        old_folder, folder = self.folder / "sittings", self.folder / "updates"
        if old_folder.is_dir() and not old_folder.is_symlink() and not folder.exists():
            os.rename(old_folder, folder)
        return state

    def _clean(self) -> None:
        """Remove uncommitted folders of a killed server, and finish an interrupted undo."""
        for marker in (self.folder / "updates").glob("*.undone"):
            if not _is_entry_folder(marker, r"[0-9]{6,}\.undone"):
                continue
            number = marker.name.removesuffix(".undone")
            others = [update for update in self.updates if self.path(update).name != number]
            self.state = self.state | {"updates": others}
            self._finish_undo(marker)
        committed = {self.path(update) for update in self.updates}
        for folder in (self.folder / "updates").glob("*"):
            if folder not in committed and _is_entry_folder(folder, r"[0-9]{6,}"):
                shutil.rmtree(folder, ignore_errors=True)


def _converted(state: dict[str, Any]) -> dict[str, Any]:
    """The state with the keys of the current version."""
    if "sittings" in state:
        state = {"updates" if key == "sittings" else key: value for key, value in state.items()}
    for update in state["updates"] if isinstance(state.get("updates"), list) else []:
        for holder in (update, update.get("result") if isinstance(update, dict) else None):
            if isinstance(holder, dict) and "learnt" in holder:
                holder["learned"] = holder.pop("learnt")
    return state | {"version": VERSION}


def _is_entry_folder(folder: Path, name: str) -> bool:
    """Whether it is a folder whose name matches the pattern `name`."""
    return bool(re.fullmatch(name, folder.name, re.ASCII)) and not folder.is_symlink() and folder.is_dir()


def _check_state(state: dict[str, Any], path: Path) -> None:
    """Check the content of state.json; InputError if it is invalid."""
    try:
        checks.typed(state, "base", str)
        following = checks.whole_number(state, "next", least=1, most=2**40)
        updates = checks.typed(state, "updates", list)
        numbers = [checks.whole_number(update, "number", least=1, most=2**40) for update in updates]
        if numbers != sorted(set(numbers)) or (numbers and numbers[-1] >= following):
            raise InputError(f"the numbers of the updates are {numbers!r:.60}, and the next is {following}")
        for update in updates:
            check_entry(update)
        for lost in checks.typed({"lost": []} | state, "lost", list):
            check_job(lost, number="number")
            checks.typed(lost, "reason", str)
    except InputError as error:
        raise InputError(
            f"{path} is damaged: {error}. Choose another --state-dir, or remove the folder"
        ) from None


def _digest(model: Path) -> str:
    """The SHA-256 of a model's tensors."""
    return regular_file_sha256(model / "model.safetensors")
