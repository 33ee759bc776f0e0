"""The page with several users, a closed browser, a camera, and only a keyboard."""

from __future__ import annotations

import threading

import numpy as np
import pytest

from avcil.media import write_video

pytestmark = pytest.mark.browser


@pytest.fixture
def slow(served, monkeypatch):
    """Learning waits for the returned event."""
    go_on, learn = threading.Event(), served.service.recognizer.learn

    def waiting(*words, **more):
        assert go_on.wait(60)
        return learn(*words, **more)

    monkeypatch.setattr(served.service.recognizer, "learn", waiting)
    yield go_on
    go_on.set()


def test_page_reopened_during_learning(visit, served, slow, new_clips):
    """The reopened page shows the progress and then the result."""
    visitor = visit(served.url)
    visitor.begin("owl", new_clips(0))
    visitor.page.get_by_role("heading", name="Training on “owl”").wait_for()
    visitor.context.close()
    again = visit(served.url, width=390)
    again.go("Teach")
    again.page.get_by_role("heading", name="Training on “owl”").wait_for()
    slow.set()
    again.page.get_by_role("heading", name="Class “owl” was added").wait_for()
    later = visit(served.url)
    later.go("Teach")
    row = later.page.locator(".accuracy tr", has_text="owl")
    row.wait_for()
    assert row.locator("td").all_inner_texts() == ["–", "100 %", "2"]


def test_two_users_learn(visit, served, slow, new_clips):
    """While one user's class is learned, the other one sees the progress, cannot start, and gets an error."""
    one, other = visit(served.url), visit(served.url)
    other.go("Teach")
    other.page.fill("#teach-label input, #teach-label textarea", "second")
    one.begin("first", new_clips(0))
    other.page.get_by_role("heading", name="Training on “first”").wait_for()
    other.page.locator("#teach-start:disabled").wait_for()
    # a page that has not been updated yet
    other.page.evaluate("document.querySelector('#teach-start').disabled = false")
    other.page.click("#teach-start")
    other.page.locator("#teach-message").get_by_text("give 1 to 12 clips").wait_for()
    slow.set()
    one.page.get_by_role("heading", name="Class “first” was added").wait_for()
    other.page.get_by_role("heading", name="Class “first” was added").wait_for()
    assert "second" not in served.service.recognizer.classes_


def test_two_users_predict_at_once(visit, served, trained):
    """Each user sees the prediction of the own clip."""
    clips = sorted((trained / "clips").glob("test-*.mp4"))[:2]
    people = [visit(served.url), visit(served.url)]
    for visitor, clip in zip(people, clips, strict=True):
        visitor.page.set_input_files("#predict-file input[type=file]", str(clip))
    for visitor, clip in zip(people, clips, strict=True):
        visitor.page.locator("#prediction .eyebrow", has_text=clip.name).wait_for()
        message = visitor.page.locator("#prediction .verdict").inner_text()
        assert message == served.service.recognizer.predict(clip)


def test_clip_from_the_camera(visit, served):
    """It is recorded with video and audio, and predicted when the recording stops."""
    visitor = visit(served.url)
    visitor.page.get_by_role("tab", name="Record a clip").click()
    visitor.page.locator("#predict-camera button").first.click()
    record = visitor.page.locator("#predict-camera button", has_text="Record")
    record.click()
    stop = visitor.page.locator("#predict-camera button", has_text="Stop")
    stop.wait_for()
    visitor.page.wait_for_timeout(2000)
    stop.click()
    visitor.page.locator("#prediction .eyebrow", has_text="Your recording").wait_for()
    assert visitor.page.locator("#prediction .frames img").count() >= 2
    assert visitor.page.locator("#prediction .spectrogram").count() == 1
    assert visitor.seen == []


def test_page_of_a_long_clip(visit, serve_run, run, tmp_path):
    """Timeline, contributions, map and spectrogram, on the smallest phone."""
    rng = np.random.default_rng(0)
    frames = [np.full((48, 64, 3), 40 + 15 * second, np.uint8) for second in range(14) for _ in range(4)]
    waveform = (0.1 * rng.standard_normal(14 * 16000)).astype(np.float32)
    write_video(tmp_path / "long.mp4", frames, 4.0, waveform=waveform, sample_rate=16000)
    with serve_run(run, limits={"seconds": 20.0}) as served:
        visitor = visit(served.url, width=360)
        visitor.ask(tmp_path / "long.mp4")
        assert visitor.page.locator("#prediction .eyebrow").inner_text() == "long.mp4"
        for heading in ("Contributions", "Timeline", "Spatial sensitivity", "Spectrogram"):
            visitor.page.get_by_role("heading", name=heading).wait_for()
        assert visitor.page.locator(".events tr").count() == visitor.page.locator(".strip i").count() >= 1
        assert visitor.fits()


def test_invalid_files_and_names(visit, served, trained, tmp_path):
    """The errors have no path of the machine; valid input then succeeds."""
    (tmp_path / "notes.mp4").write_text("no video at all\n" * 50)
    visitor = visit(served.url, width=390)
    visitor.page.set_input_files("#predict-file input[type=file]", str(tmp_path / "notes.mp4"))
    problem = visitor.page.locator("#prediction .problem")
    assert "notes.mp4 is not a media file" in problem.inner_text().replace(":", "")
    assert "/tmp" not in problem.inner_text()
    visitor.go("Teach")
    visitor.page.click("#teach-start:enabled")
    visitor.page.locator("#teach-message").get_by_text("the name of a class must have").wait_for()
    visitor.page.fill("#teach-label input, #teach-label textarea", served.service.recognizer.classes_[0])
    visitor.page.locator("#teach-known").get_by_text("already").wait_for()


def test_keyboard_only(visit, served, trained):
    """Tabs, the file input and the class name can be used without a mouse."""
    visitor = visit(served.url)
    visitor.page.get_by_role("tab", name="Teach").focus()
    visitor.page.keyboard.press("Enter")
    visitor.page.locator("#teach-label input, #teach-label textarea").wait_for()
    reached = set()
    for _ in range(12):
        visitor.page.keyboard.press("Tab")
        reached.add(visitor.page.evaluate("document.activeElement.closest('[id^=teach-]')?.id"))
    assert {"teach-label", "teach-files", "teach-start"} <= reached


STILL = """() => {
    const running = document.getAnimations().filter(one =>
        one.playState === "running" && one.effect.getComputedTiming().iterations !== Infinity);
    const faded = [...document.querySelectorAll(".known")].filter(one => {
        for (let at = one; at; at = at.parentElement) if (getComputedStyle(at).opacity < 1) return true;
        return false;
    });
    return running.length + faded.length === 0;
}"""
"""Nothing fades in and no part waits for the server, which Gradio shows at low opacity and so with little contrast."""


def checked(axe, page):
    """The violations that axe reports when the page is idle."""
    page.wait_for_function(STILL)
    return axe.run(page)


def test_fields_are_visible(visit, served):
    """Each field for text and each dropdown has a border, so that users see where to enter something."""
    user = visit(served.url)
    for tab, fields in (
        ("Teach", ["teach-label"]),
        ("Classes", ["change-class", "change-name", "merge-rename"]),
    ):
        user.go(tab)
        for field in fields:
            inner = user.page.locator(f"#{field} :is(input, textarea)").first
            inner.wait_for()
            widths = inner.evaluate(
                "(box) => { const found = []; for (; !box.id; box = box.parentElement)"
                " found.push(parseFloat(getComputedStyle(box).borderBottomWidth)); return found; }"
            )
            assert max(widths) >= 1, field


@pytest.mark.parametrize("dark", [False, True])
def test_accessibility(visit, served, trained, dark):
    """axe finds no serious problems in any tab or prediction: contrast, labels, roles, order of headings."""
    axe = pytest.importorskip("axe_playwright_python.sync_playwright").Axe()
    visitor = visit(served.url, dark=dark)
    visitor.page.locator("#test-clips img").first.wait_for()
    result = {"ask": checked(axe, visitor.page)}
    visitor.ask(next((trained / "clips").glob("test-*.mp4")))
    result["answer"] = checked(axe, visitor.page)
    visitor.go("Teach")
    visitor.page.click("#teach-start:enabled")
    visitor.page.locator("#teach-message .problem").wait_for()
    result["teach"] = checked(axe, visitor.page)
    visitor.go("Classes")
    visitor.page.locator(".known").first.wait_for()
    result["gallery"] = checked(axe, visitor.page)
    bad = {
        (tab, problem["id"], problem["nodes"][0]["html"])
        for tab, report in result.items()
        for problem in report.response["violations"]
        if problem["impact"] != "minor"  # gradio's gallery has two labels for an image
    }
    assert bad == set()


def test_api_page(visit, served):
    """It lists all routes and sends no request to other hosts."""
    visitor = visit(served.url)
    visitor.page.goto(f"{served.url}/api/docs")
    visitor.page.locator(".opblock").nth(6).wait_for()
    listed = {
        text.replace("\u200b", "") for text in visitor.page.locator(".opblock-summary-path").all_inner_texts()
    }
    names = ("predict", "teach", "rename", "forget", "merge", "undo", "classes", "model", "health")
    assert {f"/api/{name}" for name in names} == listed
    assert visitor.seen == []
