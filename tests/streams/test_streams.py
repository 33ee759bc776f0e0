"""Properties of every stream for stores of any size, and the sizes specified for each stream."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from avcil.datasets.benchmark import Benchmark
from avcil.errors import InputError
from avcil.features import StoredClip
from avcil.streams.base import UNUSED, Stream, StreamResults
from avcil.streams.registry import STREAMS, parse_stream

TEXTS = (
    "class-incremental",
    "few-shot,ways=2,shots=2",
    "online,batch_size=4",
    "recurring,parts=2",
    "blurry,tasks=3,disjoint=0.4,blurry=0.5,parts=2",
    "domain-incremental,order=b:a",
    "missing-modality,audio=0.25,visual=0.5",
    "class-removal,classes=2",
)
each_stream = pytest.mark.parametrize("text", TEXTS, ids=lambda text: text.partition(",")[0])


def clips(classes: int = 6, train: int = 8) -> list[StoredClip]:
    """Clips of two domains, `a` and `b`."""
    counts = {"train": train, "val": 2, "test": 4}
    return [
        StoredClip(
            clip_id=f"{'ab'[i % 2]}/c{number}/{split}/{i}",
            label=f"c{number}",
            split=split,
            path="",
            start=None,
            end=None,
            visual=True,
            audio=True,
        )
        for number in range(classes)
        for split, count in counts.items()
        for i in range(count)
    ]


def build(text: str, stored: list[StoredClip], seed: int = 0) -> Stream:
    spec = parse_stream(text)
    labels = {clip.label for clip in stored}
    steps = Benchmark.from_classes(labels, 2, class_order_seed=seed) if spec.kind.uses_steps else None
    return spec.build(stored, steps, seed=seed)


def test_every_stream_is_tested():
    """A new file in streams/ needs an entry in TEXTS."""
    assert sorted(text.partition(",")[0] for text in TEXTS) == STREAMS.names()


@each_stream
@given(seed=st.integers(0, 2**31), classes=st.integers(5, 9), train=st.integers(4, 9))
def test_invariants(text, seed, classes, train):
    """A clip has at most one task; a class is new once, with training clips; no test clip precedes its class."""
    stored = clips(classes, train)
    stream = build(text, stored, seed)
    assert stream.task_of_row.shape == (len(stored),)
    new = [label for labels in stream.benchmark.steps for label in labels]
    assert len(new) == len(set(new))
    first = {label: task for task, labels in enumerate(stream.benchmark.steps) for label in labels}
    for clip, task in zip(stored, stream.task_of_row.tolist(), strict=True):
        if task != UNUSED:
            assert task >= first[clip.label]
    brought = {
        clip.label
        for clip, task in zip(stored, stream.task_of_row.tolist(), strict=True)
        if clip.split == "train" and task == first.get(clip.label)
    }
    assert brought == set(new)


@each_stream
def test_streams_are_deterministic(text):
    """Equal clips and seeds give equal streams; with random choices, another seed gives another stream."""
    one, again, other = (build(text, clips(), seed) for seed in (0, 0, 1))
    assert one.fingerprint == again.fingerprint
    assert one.benchmark == again.benchmark
    if not text.startswith("domain-incremental"):
        assert (one.fingerprint, one.benchmark.steps) != (other.fingerprint, other.benchmark.steps)


@each_stream
def test_clips_outside_the_benchmark(text):
    """The stream is the same as for a store without these clips."""
    stored = clips()
    extra = [StoredClip(**{**vars(clip), "clip_id": clip.clip_id + "x"}) for clip in stored]
    mixed = [clip for pair in zip(extra, stored, strict=True) for clip in pair]
    spec = parse_stream(text)
    steps = Benchmark.from_classes({clip.label for clip in stored}, 2) if spec.kind.uses_steps else None
    alone = spec.build(stored, steps, seed=3)
    among = spec.build(mixed, steps, seed=3, is_part=lambda clip: not clip.clip_id.endswith("x"))
    assert (among.task_of_row[::2] == UNUSED).all()
    assert among.task_of_row[1::2].tolist() == alone.task_of_row.tolist()
    assert {(row - 1) // 2: parts for row, parts in among.hidden.items()} == alone.hidden


def train_tasks(stream: Stream, stored: list[StoredClip]) -> dict[str, Counter[int]]:
    """How many training clips each class has at each task."""
    result: dict[str, Counter[int]] = {}
    for clip, task in zip(stored, stream.task_of_row.tolist(), strict=True):
        if clip.split == "train" and task != UNUSED:
            result.setdefault(clip.label, Counter())[task] += 1
    return result


def test_few_shot_sizes():
    """Base classes have all clips, later ones `shots`, in tasks of `ways`."""
    stored = clips(9)
    stream = build("few-shot,base=5,ways=2,shots=3", stored)
    assert [len(labels) for labels in stream.benchmark.steps] == [5, 2, 2]
    counts = train_tasks(stream, stored)
    assert [sum(counts[label].values()) for labels in stream.benchmark.steps for label in labels] == (
        [8] * 5 + [3] * 4
    )


def test_few_shot_metrics():
    """An example with two tasks of 3 and 1 test clips."""
    stream = build("few-shot", clips())
    R = np.array([[0.9, np.nan], [0.6, 0.4]])
    results = StreamResults(stream=stream, R=R, n=np.array([3, 1]), train_clips=[8, 5])
    result = parse_stream("few-shot").kind.metrics(results)
    assert result == pytest.approx(
        {
            "base_accuracy": 0.6,
            "new_accuracy": 0.4,
            "harmonic_mean": 0.48,
            "performance_drop": 0.9 - (0.6 * 3 + 0.4) / 4,
        }
    )


def test_recurring_parts():
    """Each class has two parts in two steps; the classes of the last step have one part."""
    stored = clips()
    stream = build("recurring,parts=2", stored)
    counts = train_tasks(stream, stored)
    for task, labels in enumerate(stream.benchmark.steps):
        for label in labels:
            assert len(counts[label]) == (1 if task == 2 else 2)
            assert min(counts[label]) == task
            assert sum(counts[label].values()) == 8


def test_blurry_shares():
    """Disjoint classes have one task; the given share of other clips is in other tasks; each clip is used."""
    stored = clips(40, 30)
    stream = build("blurry,tasks=5,disjoint=0.5,blurry=0.4", stored)
    counts = train_tasks(stream, stored)
    assert sum(sum(own.values()) for own in counts.values()) == 40 * 30
    spread = [own for own in counts.values() if len(own) > 1]
    assert len(spread) == 20
    moved = 1 - sum(max(own.values()) for own in spread) / (20 * 30)
    assert moved == pytest.approx(0.4 * 4 / 5, abs=0.05)  # a moved clip may be moved to its own task


def test_area_under_the_curve():
    """The accuracy after a task has the number of clips of the task as weight."""
    stream = build("online", clips())
    R = np.array([[0.9, np.nan], [0.5, 0.5]])
    results = StreamResults(stream=stream, R=R, n=np.array([2, 2]), train_clips=[30, 10])
    assert parse_stream("online").kind.metrics(results) == {
        "a_auc": pytest.approx((0.9 * 30 + 0.5 * 10) / 40)
    }


def test_missing_modality_rates():
    """Per class, the given shares of different training clips; no validation or test clips."""
    stored = clips()
    stream = build("missing-modality,audio=0.25,visual=0.5", stored)
    result = Counter((stored[row].label, parts) for row, parts in stream.hidden.items())
    assert result == {
        (f"c{i}", (part,)): count for i in range(6) for part, count in (("audio", 2), ("visual", 4))
    }
    assert {stored[row].split for row in stream.hidden} == {"train"}


def test_domains_from_a_file(tmp_path):
    """Domains are in the order of the file; clips that it does not list are not used."""
    stored = clips(3)
    path = tmp_path / "domains.csv"
    rows = [(clip.clip_id, "room" if i % 2 else "hall") for i, clip in enumerate(stored)][2:]
    path.write_text("clip_id,domain\n" + "".join(f"{clip_id},{domain}\n" for clip_id, domain in rows))
    stream = parse_stream(f"domain-incremental,file={path}").build(stored, None, seed=0)
    assert stream.benchmark.steps == (("c0", "c1", "c2"), ())
    assert stream.task_of_row[:6].tolist() == [UNUSED, UNUSED, 0, 1, 0, 1]


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("few-shots", "few-shot"),
        ("few-shot,shots", "OPTION=VALUE"),
        ("few-shot,shots=0", "1 or more"),
        ("few-shot,shots=9", "needs 9 training clips of each class"),
        ("few-shot,base=6", "cannot be divided"),
        ("few-shot,shot=1", "shots"),
        ("recurring,parts=1", "2 or more"),
        ("blurry,disjoint=2", "option disjoint must be 0 or more and at most 1"),
        ("blurry,tasks=7", "as many classes"),
        ("domain-incremental,order=a:x", "domain"),
        ("domain-incremental,order=a", "2 domains or more"),
        ("missing-modality,audio=0.01", "withhold no clip"),
        ("domain-incremental,file=none.csv", "no file none.csv"),
        ("missing-modality,audio=0.7,visual=0.7", "at most 1"),
        ("class-removal,classes=5", "from 1 to 4"),
        ("online,batch_size=x", "number"),
    ],
)
def test_invalid_streams(text, words):
    """The message names the allowed values."""
    with pytest.raises(InputError, match=words):
        build(text, clips())


@pytest.mark.parametrize(
    "text", ["few-shot,ways=2,shots=2", "recurring,parts=2", "missing-modality,audio=0.25,visual=0.25"]
)
def test_clips_are_drawn_at_random(text):
    """Which clips are used, come first or lack a modality depends on the seed, not on their order."""
    stored = clips(train=20)
    spec, steps = parse_stream(text), Benchmark.from_classes({clip.label for clip in stored}, 2)
    drawn = set()
    for seed in range(12):
        stream = spec.build(stored, steps if spec.kind.uses_steps else None, seed=seed)
        rows = [row for row, clip in enumerate(stored) if clip.label == "c0" and clip.split == "train"]
        last = stream.task_of_row[rows].max()
        drawn.add(tuple((int(stream.task_of_row[r] == last), r in stream.hidden) for r in rows))
    assert len(drawn) > 2


def test_removed_classes_are_random():
    """The first class of the first task is kept, so that there is always a test clip."""
    removed = {build("class-removal,classes=2", clips(9), seed).removed[-1] for seed in range(8)}
    assert len(removed) > 4


def test_domains_are_shuffled_by_a_seed():
    """Runs with different class order seeds have different orders of domains."""
    orders = {tuple(build("domain-incremental", clips(3), seed).task_of_row.tolist()) for seed in range(6)}
    assert len(orders) == 2


def test_class_folders_are_not_domains():
    """Ids such as dog/clip.mp4 have the class before the "/"; the tasks would be classes."""
    stored = [StoredClip(**{**vars(clip), "clip_id": clip.clip_id.split("/", 1)[1]}) for clip in clips(3)]
    with pytest.raises(InputError, match=r"not a stream of domains.*before the first.*file=domains\.csv"):
        build("domain-incremental", stored)


def test_domain_metrics():
    """An example with three domains."""
    stream = build("domain-incremental", clips(3))
    R = np.array([[0.9, np.nan, np.nan], [0.7, 0.8, np.nan], [0.5, 0.6, 0.4]])
    results = StreamResults(stream=stream, R=R, n=np.array([2, 2, 2]), train_clips=[1, 1, 1])
    assert parse_stream("domain-incremental").kind.metrics(results) == {
        "first_domain_before": 0.9,
        "first_domain_after": 0.5,
        "last_domain": 0.4,
    }
    assert parse_stream("blurry").kind.metrics(results) == {"a_auc": pytest.approx((0.9 + 0.75 + 0.5) / 3)}


def test_prescribed_options():
    """One-pass streams and few-shot learning set options of training."""
    once = {"epochs": 1, "batch_size": 4, "exemplar_batch_size": 4, "selection": "last"}
    assert parse_stream("online,batch_size=4").kind.settings() == once
    assert parse_stream("blurry,batch_size=4").kind.settings() == once
    assert parse_stream("few-shot").kind.settings() == {"selection": "last"}


def test_fingerprint_depends_on_the_whole_stream():
    """A run must not be resumed with other clips in its tasks."""
    tasks = np.array([0, 1, 0])
    steps = Benchmark.from_steps([["a"], ["b"]])
    prints = {
        Stream(benchmark=steps, task_of_row=tasks).fingerprint,
        Stream(benchmark=steps, task_of_row=np.array([0, 1, 1])).fingerprint,
        Stream(benchmark=steps, task_of_row=tasks, hidden={0: ("audio",)}).fingerprint,
        Stream(benchmark=steps, task_of_row=tasks, removed=((), ("a",))).fingerprint,
    }
    assert len(prints) == 4
