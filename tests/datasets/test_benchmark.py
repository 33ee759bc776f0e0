"""Benchmarks: every class is in exactly one step, in an order that depends on the seed."""

import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from avcil.datasets import Benchmark
from avcil.errors import InputError

CLASSES = st.sets(
    st.text(st.characters(exclude_categories=["Cs", "Z", "C"]), min_size=1, max_size=6), min_size=1
)


@settings(deadline=None, max_examples=50)
@given(CLASSES, st.data(), st.none() | st.integers(0, 5))
def test_each_class_is_in_one_step(classes, data, seed):
    """Steps have equal sizes except the last; equal arguments give equal steps."""
    size = data.draw(st.integers(1, len(classes)))
    benchmark = Benchmark.from_classes(classes, size, seed)
    assert sorted(benchmark.classes) == sorted(classes)
    assert {len(step) for step in benchmark.steps[:-1]} <= {size}
    assert 1 <= len(benchmark.steps[-1]) <= size
    assert Benchmark.from_classes(sorted(classes, reverse=True), size, seed) == benchmark
    assert all(label in benchmark.steps[benchmark.task_of(label)] for label in classes)
    assert Benchmark.from_dict(json.loads(json.dumps(benchmark.to_dict()))) == benchmark


def test_order_is_natural_or_random():
    """Without a seed the order is natural (clip 2 before clip 10); different seeds give different orders."""
    classes = [f"clip {n}" for n in range(12)]
    assert Benchmark.from_classes(classes, 12).classes == tuple(classes)
    orders = {Benchmark.from_classes(classes, 12, seed).classes for seed in range(5)}
    assert len(orders) == 5


def test_natural_order_of_prefixes():
    """A name that is a prefix of another one can be compared with it."""
    assert Benchmark.from_classes(["a1b", "a", "a1", "1", "b"], 5).classes == ("1", "a", "a1", "a1b", "b")


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("s.json", '[["cat, big", "\\"dog\\""], ["-bell"]]'),
        ("s.csv", '"cat, big","""dog"""\n-bell\n\n'),
    ],
)
def test_steps_from_a_file(tmp_path, name, text):
    """Unequal steps, and class names with commas, quotes and a leading dash."""
    (tmp_path / name).write_text(text)
    benchmark = Benchmark.from_file(tmp_path / name)
    assert benchmark.steps == (("cat, big", '"dog"'), ("-bell",))
    assert benchmark.name == "s"


def test_integer_class_names(tmp_path):
    """Folders are often named 1, 2, 3, and files may have them without quotes and with a byte order mark."""
    (tmp_path / "s.json").write_bytes(b'\xef\xbb\xbf[[1, "2"], [10]]')
    assert Benchmark.from_file(tmp_path / "s.json").steps == (("1", "2"), ("10",))


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("s.json", '{"a": 1}', "list of lists"),
        ("s.json", '[["a", 1.0]]', "1.0 is not a class name"),
        ("s.json", '[["a", true]]', "true is not a class name"),
        ("s.json", '[["a", null]]', "list of lists"),
        ("s.json", '["ab"]', "list of lists"),
        ("s.json", "[]", "no step"),
        ("s.json", '[["a"], []]', "step 2 of 2 has no class"),
        ("s.json", '[["a"], ["a"]]', "given twice: 'a'"),
        ("s.json", '[[" "]]', "not empty"),
        ("s.csv", 'a,b\n"c"d\n', "not CSV"),
        ("s.txt", "a", ".json or .csv"),
    ],
)
def test_invalid_files(tmp_path, name, text, message):
    """Each error states what is allowed."""
    (tmp_path / name).write_text(text)
    with pytest.raises(InputError) as caught:
        Benchmark.from_file(tmp_path / name)
    assert message in str(caught.value)


def test_missing_file():
    """The error says that the file does not exist."""
    for name in ("none.json", "none.csv"):
        with pytest.raises(InputError, match="there is no"):
            Benchmark.from_file(name)


def test_classes_missing_in_the_store():
    """A misspelled class name gives the most similar names; classes in no step are reported."""
    benchmark = Benchmark.from_steps([["dog", "cat"], ["bell"]])
    with pytest.raises(InputError, match="unknown class 'bell'; did you mean bells"):
        benchmark.check_classes(["dog", "cat", "bells"], "the store s")
    assert benchmark.check_classes(["dog", "cat", "bell", "horn"], "the store s") == ("horn",)
    with pytest.raises(InputError, match="unknown class 'dogs'; did you mean dog"):
        benchmark.task_of("dogs")


@pytest.mark.parametrize("size", [0, -1, 4])
def test_invalid_step_sizes(size):
    """The error lists the possible sizes."""
    with pytest.raises(InputError, match="--classes-per-step"):
        Benchmark.from_classes(["a", "b", "c"], size)
