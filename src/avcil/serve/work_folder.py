"""What people taught a served model, and how they changed it, on the disk: the given run is never written to.

    state.json        the entries (entries.py) that count, in order, as "sittings": a teaching or another change each;
                      an entry counts from the moment it is written here
    sittings/K/model  the recognizer after entry K, a model's folder
    sittings/K/heldout.safetensors   features of clips that were kept for measuring: audio (n, Da), visual (n, T, S, Dv)
    sittings/K/frame.png             a frame to know the class by
    sittings/K.undone the folder of a sitting that was undone, until state.json has been written without it
    incoming/N        a teaching that was accepted and is not finished (incoming.py)

A kill leaves either the state before a sitting or the state after it. Undoing renames the sitting's folder, which needs
no room on a full disk, removes what is in it, and only then writes state.json.
"""

from __future__ import annotations

import hashlib
import os
import re
import shutil
from collections.abc import Callable
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import Any

from avcil.errors import InputError, StorageError
from avcil.inference.held_out import HeldOut
from avcil.models import checks
from avcil.serve.entries import check_entry, check_teaching, current_label
from avcil.serve.incoming import Accepted, Incoming
from avcil.utils.files import STALE_PART, folder_lock, read_json, sync_folder, write_json
from avcil.utils.input_files import open_regular

FORMAT, VERSION = "avcil-served", 2
READ_VERSIONS = (1, 2)
"""Version 1 held teachings alone."""
OWN = {".lock", "state.json", "sittings", "incoming"}
KEPT = 10
"""Sittings that can be undone one after another; older ones lose their folder of the model, not what they taught."""


class WorkFolder:
    """The folder of one served model, held for one process."""

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
        """Let another process have it."""
        self._held.close()

    @property
    def sittings(self) -> list[dict[str, Any]]:
        """What was taught and counts, in order."""
        return self.state["sittings"]

    @property
    def lost(self) -> list[dict[str, Any]]:
        """Teachings that were accepted and are lost: number, label, clips, reason."""
        return self.state.get("lost", [])

    def next_teaching(self) -> int:
        """A number that no teaching had that is still on record."""
        numbers = [sitting.get("teaching", 0) for sitting in self.sittings]
        return 1 + max([*numbers, *(lost["number"] for lost in self.lost)], default=0)

    def add_lost(self, accepted: Accepted, reason: str) -> None:
        """Put a lost teaching on record and remove what is left of it."""
        entry = {
            "number": accepted.number,
            "label": accepted.label,
            "clips": len(accepted.names),
            "reason": f"it was accepted, but {reason}. Send its clips again",
        }
        self._write(lost=[*self.lost, entry][-KEPT:])
        self.incoming.remove(accepted.number)

    def path(self, sitting: dict[str, Any]) -> Path:
        """The folder of a sitting."""
        return self.folder / "sittings" / f"{sitting['number']:06d}"

    def model(self) -> Path:
        """The model that counts now."""
        return self.path(self.sittings[-1]) / "model" if self.sittings else self.base

    def model_before(self) -> Path | None:
        """The model before the last sitting; None where there is none, or it is not kept any more."""
        if not self.sittings:
            return None
        if len(self.sittings) == 1:
            return self.base
        model = self.path(self.sittings[-2]) / "model"
        return model if model.is_dir() else None

    def held_out(self, of_run: HeldOut) -> HeldOut:
        """The held-out clips of the run and of all teachings, with the present names of their classes."""
        found = of_run.relabeled(lambda label: current_label(label, self.sittings))
        for position, entry in enumerate(self.sittings):
            clips = HeldOut.load(self.path(entry) / "heldout.safetensors", entry["held_out"])
            names = {label: current_label(label, self.sittings[position + 1 :]) for label in clips.labels}
            found += clips.relabeled(names.__getitem__)
        return found

    def add(self, entry: dict[str, Any], write: Callable[[Path], None]) -> dict[str, Any]:
        """Let `write` fill a new sitting's folder, then make it count; nothing is left of it where that fails."""
        entry = {"number": self.state["next"], **entry}
        folder = self.path(entry)
        try:
            shutil.rmtree(folder, ignore_errors=True)
            folder.mkdir(parents=True)
            write(folder)
            self._write(sittings=[*self.sittings, entry], next=entry["number"] + 1)
        except BaseException:
            shutil.rmtree(folder, ignore_errors=True)
            raise
        for old in self.sittings[: -KEPT - 1]:
            shutil.rmtree(self.path(old) / "model", ignore_errors=True)
        return entry

    def undo(self) -> dict[str, Any]:
        """Take the last sitting out, and give what it was."""
        last = self.sittings[-1]
        folder = self.path(last)
        marker = folder.with_name(f"{folder.name}.undone")
        os.rename(folder, marker)  # from here on it is undone
        sync_folder(marker.parent)
        self.state = self.state | {"sittings": self.sittings[:-1]}
        self._finish_undo(marker)
        return last

    def _finish_undo(self, marker: Path) -> None:
        """Free what an undone sitting took, then record that it is undone; the marker stays where that fails."""
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
        fresh = {"format": FORMAT, "version": VERSION, "base": digest, "next": 1, "sittings": []}
        if not path.exists():
            names = {entry.name for entry in self.folder.iterdir()} - OWN
            foreign = sorted(name for name in names if not STALE_PART.fullmatch(name))
            if foreign:
                raise InputError(
                    f"{self.folder} holds {', '.join(foreign[:3])}, which avcil serve did not put there. Choose "
                    "another --state-dir: what it does not know there would be removed"
                )
            return fresh
        state = read_json(path)
        if (
            not isinstance(state, dict)
            or state.get("format") != FORMAT
            or state.get("version") not in READ_VERSIONS
        ):
            raise InputError(
                f"{path} was not written by avcil serve, or by a newer one. Choose another --state-dir"
            )
        _check_state(state, path)
        if state["base"] != digest:
            raise InputError(
                f"{self.folder} holds what another model was taught; the model in {self.base} is not that one any "
                "more. Choose another --state-dir, or remove the folder to begin anew"
            )
        return state | {"version": VERSION}

    def _clean(self) -> None:
        """Remove what a kill left and does not count, and finish what it interrupted."""
        for marker in (self.folder / "sittings").glob("*.undone"):
            if not _is_own(marker, r"[0-9]{6,}\.undone"):
                continue
            number = marker.name.removesuffix(".undone")
            kept = [sitting for sitting in self.sittings if self.path(sitting).name != number]
            self.state = self.state | {"sittings": kept}
            self._finish_undo(marker)
        counting = {self.path(sitting) for sitting in self.sittings}
        for folder in (self.folder / "sittings").glob("*"):
            if folder not in counting and _is_own(folder, r"[0-9]{6,}"):
                shutil.rmtree(folder, ignore_errors=True)


def _is_own(folder: Path, name: str) -> bool:
    """Whether it is a folder under a name that a server gives."""
    return bool(re.fullmatch(name, folder.name, re.ASCII)) and not folder.is_symlink() and folder.is_dir()


def _check_state(state: dict[str, Any], path: Path) -> None:
    """Refuse a state.json that no server wrote; InputError names what is wrong."""
    try:
        if not isinstance(checks.entry(state, "base"), str):
            raise InputError("base must be a text")
        following = checks.whole_number(state, "next", least=1, most=2**40)
        sittings = checks.entry(state, "sittings")
        if not isinstance(sittings, list):
            raise InputError(f"sittings is {sittings!r:.60}; it must be a list")
        numbers = [checks.whole_number(sitting, "number", least=1, most=2**40) for sitting in sittings]
        if numbers != sorted(set(numbers)) or (numbers and numbers[-1] >= following):
            raise InputError(f"the sittings are numbered {numbers!r:.60}, and the next is {following}")
        for sitting in sittings:
            check_entry(sitting)
        if not isinstance(state.get("lost", []), list):
            raise InputError("lost must be a list")
        for lost in state.get("lost", []):
            check_teaching(lost, number="number")
            if not isinstance(checks.entry(lost, "reason"), str):
                raise InputError("the reason of a lost teaching must be a text")
    except InputError as error:
        raise InputError(
            f"{path} is damaged: {error}. Choose another --state-dir, or remove the folder"
        ) from None


def _digest(model: Path) -> str:
    """Of the numbers of a model."""
    with open_regular(model / "model.safetensors") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
