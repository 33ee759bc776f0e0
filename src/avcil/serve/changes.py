"""Changes of a served model other than learning: rename and forget classes, merge another model.

The changed model is computed, saved and committed with one write of state.json, and then replaces the current model. An
error or a kill before that write changes nothing.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from avcil.errors import AvcilError
from avcil.inference import forgetting, merging, renaming
from avcil.inference.held_out import HeldOut
from avcil.inference.recognizer import Recognizer
from avcil.saved_models.folder import SavedModel, load_saved
from avcil.serve.decoding import UploadReader
from avcil.serve.incoming import Upload
from avcil.serve.limits import NothingToUndoError
from avcil.serve.model_zip import unpack_model
from avcil.serve.state_directory import StateDirectory
from avcil.serve.state_entries import FORGET, MERGE, RENAME, ChangeEntry, kind_of


@dataclass(frozen=True, kw_only=True)
class Change:
    """A model after a change, and the entry of the change in state.json."""

    state: SavedModel
    entry: ChangeEntry
    notes: tuple[str, ...] = ()


def rename_class(state: SavedModel, label: str, new_label: str) -> Change:
    """Rename a class."""
    after = renaming.rename(state, {label: new_label})
    entry: ChangeEntry = {"kind": RENAME, "label": label, "new_label": new_label, "held_out": []}
    return Change(state=after, entry=entry)


def forget_class(state: SavedModel, label: str) -> Change:
    """Forget a class."""
    after = forgetting.forget_class(state, label)
    return Change(state=after, entry=_forget_entry(label, None, [label]))


def _forget_entry(label: str, clips: int | None, forgotten: list[str]) -> ChangeEntry:
    return {"kind": FORGET, "label": label, "clips": clips, "forgotten": forgotten, "held_out": []}


def forget_clips(
    state: SavedModel,
    label: str,
    clips: Sequence[Upload],
    *,
    recognizer: Recognizer,
    uploads: UploadReader,
) -> Change:
    """Forget clips of a class.

    Args:
        state: The model.
        label: The class.
        clips: The clips that were learned.
        recognizer: Computes their features.
        uploads: Decodes them.

    Raises:
        InputError: A clip cannot be read or was not learned as this class.
    """
    paths = [clip.path for clip in clips]
    try:
        after, report = forgetting.forget(
            state, lambda _: uploads.features(paths, recognizer.reader), paths, [label] * len(clips)
        )
    except AvcilError as error:
        for clip in clips:
            error.args = (str(error).replace(str(clip.path), clip.name),)
        raise
    forgotten = [name for name in state.labels if name not in after.labels]
    return Change(state=after, entry=_forget_entry(label, len(clips), forgotten), notes=report.notes)


def merge_model(
    state: SavedModel,
    archive: Upload,
    *,
    same_classes: bool,
    renamed: Mapping[str, str],
    max_bytes: int,
) -> Change:
    """Merge another model.

    Args:
        state: The model.
        archive: The other model, as a zip file from `GET /api/model`.
        same_classes: Whether classes with the same name are the same class.
        renamed: New names of classes of the other model, by their old names.
        max_bytes: Maximum total size of the files of the other model.

    Raises:
        InputError: The file is not a zip file of a model, or the models cannot be merged.
    """
    with tempfile.TemporaryDirectory(prefix="avcil-merge-") as folder:
        model = Path(folder) / "model"
        unpack_model(archive.path, model, max_bytes=max_bytes)
        try:
            other = load_saved(model)
            after = merging.merge(state, other, same_classes=same_classes, renamed=renamed)
        except AvcilError as error:
            error.args = (str(error).replace(f"{model}/", "").replace(str(model), "the zip file"),)
            raise
    shared = merging.shared_clips(state, other)
    entry: ChangeEntry = {
        "kind": MERGE,
        "label": archive.name[:100],
        "classes": list(other.labels),
        "new_classes": [label for label in after.labels if label not in state.labels],
        "held_out": [],
    }
    note = f"both models learned at least {shared} of the same clips; they count twice"
    return Change(state=after, entry=entry, notes=(note,) if shared else ())


def apply_change(
    make: Callable[[SavedModel], Change],
    *,
    recognizer: Recognizer,
    held_out: HeldOut,
    directory: StateDirectory,
) -> ChangeEntry:
    """Compute, evaluate, save and commit a change, and replace the model of the recognizer.

    Args:
        make: Computes the change from the current model.
        recognizer: Has the current model.
        held_out: Clips that were not learned, for evaluation.
        directory: The state directory.

    Returns:
        The entry in state.json.
    """
    before = recognizer.snapshot()
    change = make(before)
    result = _evaluated(before, change, held_out)
    saved = Recognizer(change.state)
    entry: ChangeEntry = {**change.entry, "result": result}
    entry = directory.add(entry, lambda folder: saved.save(folder / "model"))
    recognizer.restore(change.state)
    if entry["kind"] == RENAME:  # the threshold of the class applies to the new name
        recognizer.rejection = recognizer.rejection.renamed({entry["label"]: entry["new_label"]})
    return entry


def undo_change(recognizer: Recognizer, directory: StateDirectory) -> ChangeEntry:
    """Undo the last change; returns its entry.

    Raises:
        NothingToUndoError: There is no change, or the model before it is no longer stored.
    """
    before = directory.model_before()
    if before is None:
        raise NothingToUndoError("there is nothing to undo")
    snapshot = Recognizer.load(before).snapshot()
    undone = directory.undo()
    recognizer.restore(snapshot)
    if kind_of(undone) == RENAME:
        recognizer.rejection = recognizer.rejection.renamed({undone["new_label"]: undone["label"]})
    return undone


def _evaluated(before: SavedModel, change: Change, held_out: HeldOut) -> dict[str, Any]:
    """Accuracy before and after on held-out clips of the classes that are in both models."""
    both = set(before.labels) & set(change.state.labels)
    clips = held_out.relabeled(lambda label: label if label in both else None)
    if change.entry["kind"] == RENAME:  # predictions do not change
        clips = HeldOut()
    count = len(clips.labels)
    accuracies = [clips.correct(state).total() / count if count else None for state in (before, change.state)]
    return {
        "accuracy_before": accuracies[0],
        "accuracy_after": accuracies[1],
        "test_clips": count,
        "notes": [*change.notes, *clips.notes],
    }
