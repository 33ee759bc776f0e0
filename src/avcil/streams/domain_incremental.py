"""Domain-incremental learning: each task has clips of all classes from another domain.

A domain is a recording condition: a speaker, a room, a camera, noise.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from avcil.datasets.benchmark import Benchmark, natural_key
from avcil.errors import InputError, unknown_name
from avcil.features import StoredClip
from avcil.streams.base import UNUSED, Stream, StreamResults, StreamType
from avcil.utils.csv_files import read_columns
from avcil.utils.listing import quoted

_HINT = "List the domains in a CSV file with the columns clip_id,domain: --stream domain-incremental,file=domains.csv"


@dataclass(frozen=True, kw_only=True)
class DomainOptions:
    """Options of the stream `domain-incremental`."""

    file: str = ""
    """A CSV file with the columns clip_id and domain. Clips that it does not list are not used. Default: the domain is
    the first part of the clip id, up to the first "/", as `avcil features join` writes it."""
    order: str = ""
    """The domains in order, separated by ":". Other domains are not used. Default: the order in which they first occur
    in the file, or alphabetical order; shuffled if --class-order-seed is above 0."""


class DomainIncremental(StreamType):
    """The same classes from one domain after the other."""

    summary = "tasks with the same classes of different domains: speakers, rooms, noise"
    Options = DomainOptions
    uses_steps = False
    repeats_classes = True

    def build(self, clips: Sequence[StoredClip], steps: Benchmark | None, *, seed: int) -> Stream:
        domain_of = _from_file(Path(self.options.file)) if self.options.file else _from_ids(clips)
        domains = _ordered(list(dict.fromkeys(domain_of.values())), self.options.order, seed)
        domain_of = {clip_id: domain for clip_id, domain in domain_of.items() if domain in domains}
        unknown = sorted(domain_of.keys() - {clip.clip_id for clip in clips})
        if unknown:
            raise InputError(
                f"{self.options.file} lists {len(unknown)} clips that the store does not have, such as {unknown[0]!r}"
            )
        if len(domains) < 2:
            raise InputError(
                f"stream domain-incremental needs 2 domains or more; found: {quoted(domains) or 'none'}. "
                f"{self._origin} {_HINT}"
            )
        tasks = np.array(
            [domains.index(domain_of[c.clip_id]) if c.clip_id in domain_of else UNUSED for c in clips],
            dtype=np.int64,
        )
        domains_of: dict[str, set[int]] = defaultdict(set)
        for clip, task in zip(clips, tasks.tolist(), strict=True):
            if clip.split == "train" and task != UNUSED:
                domains_of[clip.label].add(task)
        if all(len(at) == 1 for at in domains_of.values()):
            raise InputError(
                f"no class has training clips in two of the domains {quoted(domains)}, so this is not a stream "
                f"of domains. {self._origin} {_HINT}"
            )
        first = {label: min(at) for label, at in domains_of.items()}
        labels = sorted(first, key=natural_key)
        new = tuple(tuple(name for name in labels if first[name] == task) for task in range(len(domains)))
        _check(clips, tasks, domains, first, self._origin)
        return Stream(benchmark=Benchmark(name="domain-incremental", steps=new), task_of_row=tasks)

    @property
    def _origin(self) -> str:
        if self.options.file:
            return f"The domains are those in {self.options.file}."
        return 'The domain of a clip is the part of its id before the first "/".'

    def metrics(self, results: StreamResults) -> dict[str, float]:
        """Accuracy on the first domain before and after the others, and on the last domain."""
        R = results.R
        return {
            "first_domain_before": float(R[0, 0]),
            "first_domain_after": float(R[-1, 0]),
            "last_domain": float(R[-1, -1]),
        }


def _ordered(domains: list[str], order: str, seed: int) -> list[str]:
    if not order and seed:
        return [domains[i] for i in np.random.default_rng([seed, 6]).permutation(len(domains))]
    names = [name.strip() for name in order.split(":")] if order else domains
    for name in names:
        if name not in domains:
            raise unknown_name("domain", name, domains)
    return list(dict.fromkeys(names))


def _from_ids(clips: Sequence[StoredClip]) -> dict[str, str]:
    return {clip.clip_id: clip.clip_id.split("/", 1)[0] for clip in clips if "/" in clip.clip_id}


def _from_file(path: Path) -> dict[str, str]:
    expected = "Expected is a CSV file with the columns clip_id and domain"
    rows = read_columns(path, ("clip_id", "domain"), expected=expected)
    return {clip_id: domain for _, (clip_id, domain) in rows if domain}


def _check(
    clips: Sequence[StoredClip], tasks: np.ndarray, domains: Sequence[str], first: dict[str, int], origin: str
) -> None:
    """Reject a domain without training or test clips, and clips of a class that no earlier domain has."""
    used = [(clip, int(task)) for clip, task in zip(clips, tasks, strict=True) if task != UNUSED]
    for task, domain in enumerate(domains):
        for split in ("train", "test"):
            if not any(clip.split == split and at == task for clip, at in used):
                raise InputError(f"domain {domain!r} has no {split} clip. {origin} {_HINT}")
    early = [clip for clip, at in used if first.get(clip.label, len(domains)) > at]
    if early:
        raise InputError(
            f"{early[0].split} clip {early[0].clip_id!r} is of class {early[0].label!r}, which has no training "
            f"clip in its domain or an earlier one ({len(early)} such clips). Leave them out of the "
            "file, or change the order"
        )
