"""Drawing validation and test clips from the training clips of each class."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from avcil.data.clips import SPLITS, Clip
from avcil.errors import InputError
from avcil.utils.listing import quoted


def draw_splits(
    clips: Sequence[Clip], given: set[str], val_fraction: float, test_fraction: float, seed: int
) -> tuple[list[Clip], list[str]]:
    """Draw clips of train for the splits that the folder does not have. Returns the clips and notes."""
    fractions = {"test": test_fraction, "val": val_fraction}
    drawn = {split: part for split, part in fractions.items() if split not in given and part > 0}
    by_class = defaultdict(list)
    for clip in clips:
        if clip.split == "train":
            by_class[clip.label].append(clip.clip_id)
    split_of: dict[str, str] = {}
    few = sorted(label for label, ids in by_class.items() if len(ids) <= len(drawn))
    if few:
        shown = ", ".join(f"{label!r} ({len(by_class[label])})" for label in few[:5])
        more = f" and {len(few) - 5} more" if len(few) > 5 else ""
        raise InputError(
            f"too few usable clips to draw {' and '.join(drawn)} from: {shown}{more}. Each class needs at least "
            f"{len(drawn) + 1}, one per split: add clips to it, or move its folder away"
        )
    for label, ids in by_class.items():
        order = iter(np.random.default_rng([seed, *label.encode()]).permutation(sorted(ids)).tolist())
        for split, count in draw_counts(len(ids), drawn).items():
            split_of |= {next(order): split for _ in range(count)}
    notes = []
    if drawn:
        parts = " and ".join(f"{part:.0%} for {split}" for split, part in sorted(drawn.items()))
        source = "train" if given else "each class"
        notes.append(f"drawn from {source} with seed {seed}: {parts}, at least one clip per class")
    if "val" not in given | drawn.keys():
        notes.append("there is no val split for the selection of the best epoch: train with --selection last")
    return [replace(clip, split=split_of.get(clip.clip_id, clip.split)) for clip in clips], notes


def draw_counts(n: int, fractions: Mapping[str, float]) -> dict[str, int]:
    """Number of clips for each split: its fraction of n, at least one; at least one clip remains in train."""
    counts = {split: max(1, round(n * part)) for split, part in fractions.items()}
    while sum(counts.values()) >= n:
        counts[max(counts, key=lambda split: counts[split])] -= 1
    return counts


def check_classes(folder: Path, clips: Sequence[Clip]) -> None:
    """Raise InputError for classes without clips in train or test."""
    labels_of_split = {split: {clip.label for clip in clips if clip.split == split} for split in SPLITS}
    every = {clip.label for clip in clips}
    for split, verb in (("train", "learned"), ("test", "tested")):
        lacking = sorted(every - labels_of_split[split])
        if lacking:
            raise InputError(
                f"{folder}: no usable clip in {split} of class {quoted(lacking)}, so it cannot be {verb}. "
                f"Add a clip to {split}, or move the folders of the class away"
            )
