"""The page in a real Chromium: ask, teach two classes, ask again, undo, at desktop and phone width."""

from __future__ import annotations

import csv
import itertools
import shutil
from pathlib import Path

import pytest

SMALL_ENCODERS = ("--visual", "patch-motion", "--audio", "log-mel")
"""Faster than the default ones."""

pytestmark = pytest.mark.browser
ROOT = Path(__file__).parents[2]
WORDS = ROOT.parent / "shared" / "data" / "words51"
"""Spoken words with picture and sound: SPLIT/WORD/clip.mp4."""
KNOWN, NEW = ("blue", "again", "seven", "place"), ("white", "zero")


def walk(visitor, known: Path, first: tuple[str, list[Path]], second: tuple[str, list[Path]], asked) -> None:
    """The whole way of a visitor; `asked` holds a clip of each new class to ask about."""
    before = visitor.ask(known)
    for label, clips in (first, second):
        visitor.teach(label, clips)
    assert [visitor.ask(clip) for clip in asked] == [first[0], second[0]]
    assert visitor.ask(known) == before
    visitor.go("Classes")
    visitor.page.locator(".known", has_text=second[0]).wait_for()
    visitor.undo(second[0])
    assert visitor.ask(asked[1]) != second[0]
    assert visitor.ask(asked[0]) == first[0]


def looks_right(visitor) -> None:
    """No tab is wider than the window, nothing went wrong, and no other host was asked."""
    for tab in ("Predict", "Teach", "Classes"):
        visitor.go(tab)
        assert visitor.fits(), tab
    assert visitor.seen == []


@pytest.mark.parametrize("width", [1280, 390])
def test_ask_teach_ask_undo(visit, served, taught, new_clips, width):
    """All of it works, fits the width, and runs no markup that is hidden in names."""
    visitor = visit(served.url, width=width)
    evil = "<img src=x onerror=alert(1)>"
    clips = [new_clips(0), new_clips(1)]
    known = next((taught / "clips").glob("test-*.mp4"))
    walk(visitor, known, (evil, clips[0]), ("second", clips[1]), [clips[0][3], clips[1][3]])
    looks_right(visitor)
    assert evil in served.service.recognizer.classes_


@pytest.fixture(scope="module")
def words_run(avcil, tmp_path_factory) -> Path:
    """A recognizer of four spoken words."""
    folder = tmp_path_factory.mktemp("words")
    rows = [["path", "label", "split"]]
    for split, most in (("train", 12), ("test", 4)):
        for word in KNOWN:
            clips = sorted((WORDS / split / word).glob("*.mp4"))[:most]
            rows += [[str(clip), word, split] for clip in clips]
    with open(folder / "clips.csv", "w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows(rows)
    assert avcil("extract", folder / "clips.csv", "--out", folder / "features", *SMALL_ENCODERS) == 0
    assert avcil("train", folder / "features", "--classes-per-step", 2, "--out", folder / "run") == 0
    return folder / "run"


@pytest.mark.clips
@pytest.mark.skipif(not WORDS.is_dir(), reason="needs the spoken words beside the checkout")
@pytest.mark.parametrize("width", [1280, 390])
def test_two_new_words(visit, serve_run, words_run, tmp_path, width):
    """Two words that somebody speaks are taught to a recognizer of others; clips never sent tell that it knows them."""
    run = Path(shutil.copytree(words_run, tmp_path / "run"))
    clips = {
        (split, word): sorted((WORDS / split / word).glob("*.mp4"))[:12]
        for split, word in itertools.product(("train", "test"), (*KNOWN, *NEW))
    }
    with serve_run(run) as served:
        visitor = visit(served.url, width=width)
        first, second = ((word, clips["train", word]) for word in NEW)
        walk(visitor, clips["test", KNOWN[0]][0], first, second, [clips["test", word][0] for word in NEW])
        looks_right(visitor)
