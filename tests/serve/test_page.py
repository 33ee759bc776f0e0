"""The page in Chromium: predict, add two classes, predict again, undo, at desktop and phone width."""

from __future__ import annotations

import csv
import itertools
import shutil
from pathlib import Path

import pytest

from avcil.inference import Recognizer

SMALL_ENCODERS = ("--visual", "patch-motion", "--audio", "log-mel")
"""Faster than the default ones."""

pytestmark = pytest.mark.browser
ROOT = Path(__file__).parents[2]
WORDS = ROOT.parent / "shared" / "data" / "words51"
"""Spoken words with picture and sound: SPLIT/WORD/clip.mp4."""
KNOWN, NEW = ("blue", "again", "seven", "place"), ("white", "zero")


def walk(visitor, known: Path, first: tuple[str, list[Path]], second: tuple[str, list[Path]], asked) -> None:
    """Predict, learn and undo; `asked` has a clip of each new class."""
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
    """No tab is wider than the window, there are no errors, and no request to other hosts."""
    for tab in ("Predict", "Teach", "Classes"):
        visitor.go(tab)
        assert visitor.fits(), tab
    assert visitor.seen == []


@pytest.mark.parametrize("width", [1280, 390])
def test_predict_learn_and_undo(visit, served, trained, new_clips, width):
    """The page works at each width, and names are escaped."""
    visitor = visit(served.url, width=width)
    evil = "<img src=x onerror=alert(1)>"
    clips = [new_clips(0), new_clips(1)]
    known = next((trained / "clips").glob("test-*.mp4"))
    walk(visitor, known, (evil, clips[0]), ("second", clips[1]), [clips[0][3], clips[1][3]])
    looks_right(visitor)
    assert evil in served.service.recognizer.classes_


@pytest.mark.parametrize("width", [1280, 390])
def test_rename_forget_merge_and_undo(visit, serve_run, run, new_clips, tmp_path, width):
    """Classes are renamed and, after a confirmation, forgotten; a model is merged; Undo names the change."""
    with serve_run(run, limits={"upload_bytes": 4_000_000}) as served:
        visitor = visit(served.url, width=width)
        page, first = visitor.page, served.service.recognizer.classes_[0]
        visitor.teach("owl", new_clips(0)[:3])
        visitor.go("Classes")
        page.locator(".known", has_text="owl").wait_for()  # the tab has its content
        choose(page, "owl")
        page.fill("#change-name input, #change-name textarea", "<b>barn owl</b>")
        page.click("#change-rename")
        page.locator("#classes-message").get_by_text("“owl” renamed to “<b>barn owl</b>”").wait_for()
        page.locator(".known", has_text="<b>barn owl</b>").wait_for()
        choose(page, first)
        page.click("#change-forget")
        page.get_by_text(f"Forget “{first}”?").wait_for()
        assert first in served.service.recognizer.classes_
        page.click("#change-yes")
        page.locator("#classes-message").get_by_text(f"“{first}” forgotten").wait_for()
        assert first not in served.service.recognizer.classes_
        (tmp_path / "other.zip").write_text("no zip file")
        page.set_input_files("#merge-file input[type=file]", str(tmp_path / "other.zip"))
        page.locator("#merge-file tr", has_text="other").wait_for()
        page.click("#merge-start")
        page.locator("#classes-message .problem").get_by_text("not a zip file").wait_for()
        visitor.go("Teach")
        listed = page.locator(".updates li")
        listed.nth(2).wait_for()
        changes = [f"“{first}” forgotten", "“owl” renamed to “<b>barn owl</b>”"]
        assert listed.all_inner_texts()[:2] == changes
        for change in changes:
            page.click(f"#teach-undo:enabled:has-text('{change[:6]}')")
            page.locator("#teach-message").get_by_text(f"Undone: {change}").wait_for()
        assert {"owl", first} <= set(served.service.recognizer.classes_)
        looks_right(visitor)


def test_merge_a_model(visit, serve_run, run, new_clips, tmp_path):
    """The zip file of a model with one more class is merged; the class is shown, predicted, and removed by Undo."""
    clips = new_clips(0)
    other = Recognizer.load(run)
    other.learn(clips[:7], ["owl"] * 7)
    other.save(tmp_path / "other")
    archive = shutil.make_archive(str(tmp_path / "other"), "zip", tmp_path / "other")
    with serve_run(run, limits={"upload_bytes": 4_000_000}) as served:
        visitor = visit(served.url)
        page, known = visitor.page, len(served.service.recognizer.classes_)
        visitor.go("Classes")
        page.locator(".known").first.wait_for()
        page.set_input_files("#merge-file input[type=file]", archive)
        page.locator("#merge-file tr", has_text="other").wait_for()
        page.check("#merge-same input[type=checkbox]")
        page.click("#merge-start")
        change = f"“other.zip” merged ({known + 1} classes, 1 of them new)"
        page.locator("#classes-message").get_by_text(change).wait_for()
        page.locator(".known", has_text="owl").wait_for()
        assert visitor.ask(clips[7]) == "owl"
        visitor.go("Teach")
        page.locator(".updates li", has_text=change).wait_for()
        page.click("#teach-undo:enabled:has-text('merged')")
        page.locator("#teach-message").get_by_text(f"Undone: {change}").wait_for()
        assert "owl" not in served.service.recognizer.classes_
        looks_right(visitor)


def test_background_clips(visit, served, new_clips):
    """They need no class name; similar clips are then possibly unknown, and the change is listed and undone."""
    clips = new_clips(0)
    visitor = visit(served.url, width=390)
    page = visitor.page
    visitor.go("Teach")
    page.check("#teach-background input[type=checkbox]")
    page.locator("#teach-label textarea:disabled, #teach-label input:disabled").wait_for()
    page.set_input_files("#teach-files input[type=file]", [str(clip) for clip in clips[:7]])
    page.wait_for_function("document.querySelectorAll('#teach-files tr').length >= 7")
    page.click("#teach-start:enabled")
    page.get_by_role("heading", name="Background clips were learned").wait_for()
    page.locator(".updates li", has_text="7 clips of the background learned").wait_for()
    page.locator("#teach-label textarea:enabled, #teach-label input:enabled").wait_for()
    visitor.ask(clips[7])
    page.locator("#prediction").get_by_text("more similar to the background clips").wait_for()
    visitor.go("Teach")
    page.click("#teach-undo:enabled:has-text('background')")
    page.locator("#teach-message").get_by_text("Undone: 7 clips of the background learned").wait_for()
    looks_right(visitor)


def choose(page, label: str) -> None:
    """Select a class in the form of the tab Classes."""
    page.fill("#change-class input", label)
    page.press("#change-class input", "Enter")


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
def test_two_words_are_added(visit, serve_run, words_run, tmp_path, width):
    """Two spoken words are added to a model of other words, and clips that were not learned are predicted."""
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
