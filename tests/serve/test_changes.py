"""Rename, forget, merge and undo with the HTTP API, and errors."""

from __future__ import annotations

import errno
import io
import json
import os
import shutil
import stat
import zipfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import httpx
import pytest

from avcil.inference import Recognizer
from avcil.saved_models.folder import load_saved
from avcil.serve.incoming import Upload
from avcil.serve.render_learning import learning_html, undo_label, undone_html
from avcil.serve.service import Service
from avcil.serve.state_directory import StateDirectory


def post(url: str, name: str, files: list[Path] = (), **fields: object) -> httpx.Response:
    sent = [("files", (clip.name, clip.read_bytes())) for clip in files]
    return httpx.post(f"{url}/api/{name}", data=fields, files=sent or None, timeout=60)


def merge(url: str, content: bytes, **fields: object) -> httpx.Response:
    return httpx.post(f"{url}/api/merge", data=fields, files={"file": ("other.zip", content)}, timeout=60)


def labels(url: str) -> list[str]:
    return [known["label"] for known in httpx.get(f"{url}/api/classes").json()]


def teach(served, label: str, clips: list[Path]) -> None:
    assert post(served.url, "teach", clips, label=label).status_code == 202
    served.service.wait_for_learning()
    assert served.service.job.error is None


def predicted(url: str, clip: Path) -> str:
    answer = httpx.post(f"{url}/api/predict", files={"file": (clip.name, clip.read_bytes())}, timeout=60)
    return answer.json()["label"]


def test_rename_and_forget_are_there_after_a_restart_and_undone(run, serve_run, new_clips):
    """An added class is renamed and forgotten; its frame, held-out clips and taught_here follow the name."""
    clips = new_clips(0)
    with serve_run(run) as served:
        old = labels(served.url)
        teach(served, "owl", clips)
        told = post(served.url, "rename", label="owl", new_label="  barn   owl ").json()
        assert (told["kind"], told["change"]) == ("rename", "“owl” renamed to “barn owl”")
        assert told["accuracy_before"] is told["accuracy_after"] is None
        assert labels(served.url) == told["classes"] == [*old, "barn owl"]
        assert predicted(served.url, clips[0]) == "barn owl"
        renamed = post(served.url, "rename", label=old[0], new_label="first").json()
        assert renamed["classes"] == ["first", *old[1:], "barn owl"]
    with serve_run(run) as served:
        service = served.service
        assert [known.label for known in service.classes() if known.taught_here] == ["barn owl"]
        assert httpx.get(f"{served.url}/api/teach").json()["state"] == "done"
        held_out = service.held_out_so_far()
        assert {"first", "barn owl"} <= set(held_out.labels)
        assert not {"owl", old[0]} & set(held_out.labels)
        told = post(served.url, "forget", label="barn owl").json()
        assert told["kind"] == "forget"
        assert told["classes"] == ["first", *old[1:]]
        assert told["test_clips"] == sum(label != "barn owl" for label in held_out.labels) > 0
        assert 0 <= told["accuracy_before"] <= told["accuracy_after"] <= 1
        assert predicted(served.url, clips[0]) != "barn owl"
    with serve_run(run) as served:
        for change in (
            "“barn owl” forgotten",
            f"“{old[0]}” renamed to “first”",
            "“owl” renamed to “barn owl”",
        ):
            assert httpx.post(f"{served.url}/api/undo").json()["change"] == change
        assert labels(served.url) == [*old, "owl"]
        assert "owl" in served.service.held_out_so_far().labels
        assert httpx.post(f"{served.url}/api/undo").json()["learned"] == 6
        assert labels(served.url) == old


def test_clips_are_forgotten(served, new_clips, tmp_path):
    """The model equals one that never learned them; held-out clips and too many clips are errors."""
    first, second = new_clips(0), new_clips(1)
    kept = first[:3]
    teach(served, "owl", kept)
    expected = served.service.recognizer.snapshot()
    teach(served, "owl", second[:3])
    told = post(served.url, "forget", second[:3], label="owl").json()
    assert told["change"] == "3 clips of “owl” forgotten"
    after = served.service.recognizer.snapshot()
    assert after.learning.counts == expected.learning.counts
    clip = served.service.recognizer.reader.features(kept[0])
    scores = [served.service.recognizer.scores(clip, state=state) for state in (after, expected)]
    assert scores[0].allclose(scores[1], rtol=1e-6, atol=1e-8)
    refused = post(served.url, "forget", [*kept, second[0]], label="owl")
    assert (refused.status_code, refused.json()["error"]["code"]) == (422, "bad_input")
    assert "only 3 were learned" in refused.json()["error"]["message"]
    junk = tmp_path / "junk.mp4"
    junk.write_bytes(b"junk")
    refused = post(served.url, "forget", [kept[0], junk], label="owl")
    assert refused.status_code == 422
    assert "junk.mp4" in refused.json()["error"]["message"]
    assert "/tmp" not in refused.text
    assert post(served.url, "forget", kept, label="owl").json()["change"] == "3 clips of “owl” forgotten"
    assert "owl" not in labels(served.url)  # no clip of it is left
    teach(served, "rook", second)
    held = served.service.state_directory.updates[-1]["held_out"]
    assert held == ["rook", "rook"]
    refused = post(served.url, "forget", second, label="rook")
    assert "was held out for evaluation" in refused.json()["error"]["message"]
    assert labels(served.url)[-1] == "rook"


@pytest.fixture
def other(run, new_clips, tmp_path) -> Recognizer:
    """The same run with one more class."""
    recognizer = Recognizer.load(run)
    recognizer.learn(new_clips(1), ["rook"] * 8)
    return recognizer


def zipped(recognizer: Recognizer, folder: Path) -> bytes:
    """Its zip file from GET /api/model."""
    recognizer.save(folder / "saved")
    return packed({f"model/{path.name}": path.read_bytes() for path in (folder / "saved").iterdir()})


def packed(files: dict[str | zipfile.ZipInfo, bytes], method: int = zipfile.ZIP_STORED) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", method) as archive:
        for name, content in files.items():
            archive.writestr(name, content)
    return buffer.getvalue()


@pytest.fixture
def roomy(run, serve_run):
    """A server of the run with a larger limit of uploads."""
    with serve_run(run, limits={"upload_bytes": 4_000_000}) as found:
        yield found


def test_merge(roomy, other, new_clips, tmp_path):
    """The model has the classes of both and equals that of Recognizer.merge; equal names need an option."""
    url, old = roomy.url, labels(roomy.url)
    content = zipped(other, tmp_path)
    clash = merge(url, content)
    assert clash.status_code == 422
    assert "both models have" in clash.json()["error"]["message"]
    names = [f"{label}={label} 2" for label in old]
    told = merge(url, content, rename=names).json()
    assert told["classes"] == [*old, *(f"{label} 2" for label in old), "rook"]
    assert told["change"] == f"“other.zip” merged ({len(old) + 1} classes, {len(old) + 1} of them new)"
    assert any("they count twice" in note for note in told["notes"])
    assert told["test_clips"] > 0
    assert httpx.post(f"{url}/api/undo").json()["kind"] == "merge"
    assert labels(url) == old
    told = merge(url, content, same_classes="true").json()
    assert told["classes"] == [*old, "rook"]
    expected = Recognizer.load(roomy.service.run)
    expected.merge(other, same_classes=True)
    features = expected.reader.features(new_clips(1)[3])
    assert roomy.service.recognizer.predict_clip(features) == expected.predict_clip(features)
    downloaded = httpx.get(f"{url}/api/model").content
    assert (
        merge(url, downloaded, rename=[f"{label}={label} 3" for label in told["classes"]]).status_code == 200
    )


def link(name: str) -> zipfile.ZipInfo:
    info = zipfile.ZipInfo(name)
    info.external_attr = (stat.S_IFLNK | 0o777) << 16
    return info


HOSTILE: dict[str, tuple[Callable[[dict[str, bytes]], bytes], int, str]] = {
    "not a zip": (lambda files: b"no zip file at all", 415, "not a zip file"),
    "empty file": (lambda files: b"", 415, "not a zip file"),
    "empty zip": (lambda files: packed({}), 422, "no config.json"),
    "cut off": (lambda files: packed(files)[:-300], 422, "incomplete"),
    "only its beginning": (lambda files: packed(files)[:40], 422, "incomplete"),
    "damaged bytes": (lambda files: _flipped(packed(files)), 422, "damaged"),
    "parent folder": (lambda files: packed(files | {"../evil.txt": b"x"}), 422, "'../evil.txt'"),
    "path inside": (lambda files: packed(files | {"model/../../evil": b"x"}), 422, "not part of a model"),
    "absolute path": (lambda files: packed(files | {"/tmp/evil": b"x"}), 422, "not part of a model"),
    "backslashes": (lambda files: packed(files | {"..\\evil": b"x"}), 422, "not part of a model"),
    "name with NUL": (lambda files: _with_nul(files), 422, "not part of a model"),
    "unknown file": (lambda files: packed(files | {"model/run.py": b"x"}), 422, "not part of a model"),
    "file twice": (lambda files: packed(files | {"config.json": b"{}"}), 422, "twice"),
    "link": (lambda files: packed(files | {link("model/.lock"): b"/etc/passwd"}), 422, "link or device"),
    "bomb": (
        lambda files: packed(files | {"model/README.md": bytes(30_000_000)}, zipfile.ZIP_DEFLATED),
        422,
        "compression ratio above 100",
    ),
    "too large": (
        lambda files: packed(
            {"model/README.md": os.urandom(200_000) + bytes(9_000_000)}, zipfile.ZIP_DEFLATED
        ),
        422,
        "the limit is 8 MB",
    ),
    "long list": (
        lambda files: packed({f"model/{n:060d}": b"" for n in range(1000)}),
        422,
        "has 1000 files",
    ),
    "other compression": (
        lambda files: packed(files, zipfile.ZIP_LZMA),
        422,
        "another compression than deflate",
    ),
    "no model in it": (lambda files: packed({"model/README.md": b"x"}), 422, "no config.json"),
    "changed by hand": (
        lambda files: packed(files | {"model/labels.json": b'["x"]'}),
        422,
        "labels.json has 1",
    ),
    "no statistics": (
        lambda files: packed({k: v for k, v in files.items() if "learning" not in k}),
        422,
        "without the files for merging",
    ),
}


def _flipped(content: bytes) -> bytes:
    middle = content.index(b"model/model.safetensors") + 2000
    return content[:middle] + bytes([content[middle] ^ 1]) + content[middle + 1 :]


def _with_nul(files: dict[str, bytes]) -> bytes:
    content = packed(files | {"model/.lockXabcd": b""})
    return content.replace(b"model/.lockXabcd", b"model/.lock\0abcd")


def test_hostile_zip_files(roomy, blade):
    """Each gets a clear error without a path of the machine, and changes nothing."""
    files = {f"model/{path.name}": path.read_bytes() for path in (blade / "model").iterdir()}
    old = labels(roomy.url)
    for how, (make, status, said) in HOSTILE.items():
        answer = merge(roomy.url, make(files), same_classes="true")
        error = answer.json()["error"]
        code = "not_a_zip" if status == 415 else "bad_input"
        assert (answer.status_code, error["code"]) == (status, code), (how, error)
        assert said in error["message"], how
        assert "avcil-" not in answer.text, how
    assert labels(roomy.url) == old
    assert roomy.service.state_directory.updates == []


def test_models_of_other_features_are_not_merged(roomy, other, tmp_path):
    """The error names the difference."""
    state = other.snapshot()
    description = json.loads(json.dumps(state.description))
    description["audio"]["encoder"]["name"] = "other-encoder"
    answer = merge(roomy.url, zipped(Recognizer(replace(state, description=description)), tmp_path))
    assert answer.status_code == 422
    assert "different audio encoders" in answer.json()["error"]["message"]


def test_bad_requests(served):
    """Unknown classes, forms with missing or additional fields, another method."""
    url, old = served.url, labels(served.url)
    for name, fields, said in (
        ("rename", {"label": "nothing", "new_label": "x"}, "has no class 'nothing'"),
        ("rename", {"label": old[0], "new_label": old[1]}, "already"),
        ("rename", {"label": old[0], "new_label": old[0]}, "already"),
        ("rename", {"label": old[0], "new_label": " "}, "1 to 100 printable characters"),
        ("rename", {"label": old[0], "new_label": "a\x00b"}, "1 to 100 printable characters"),
        ("rename", {"label": old[0]}, "new_label"),
        ("rename", {"label": old[0], "new_label": "x", "more": "y"}, "unknown field 'more'"),
        ("rename", {"label": [old[0], old[1]], "new_label": "x"}, "is given 2 times"),
        ("forget", {"label": "nothing"}, "has no class 'nothing'"),
        ("forget", {}, "label"),
        ("merge", {}, "file"),
    ):
        answer = httpx.post(f"{url}/api/{name}", data=fields)
        assert answer.status_code == 422, (name, fields, answer.text)
        assert said in answer.json()["error"]["message"], (name, fields)
    pairs = merge(url, b"PK", rename="a")
    assert (pairs.status_code, "OLD=NEW" in pairs.text) == (422, True)
    assert httpx.get(f"{url}/api/rename").status_code == 405
    large = httpx.post(f"{url}/api/rename", data={"label": old[0], "new_label": "x" * 2_000_000})
    assert large.status_code == 413
    assert merge(url, bytes(600_000)).status_code == 413
    elsewhere = httpx.post(
        f"{url}/api/forget", data={"label": old[0]}, headers={"origin": "https://elsewhere.example"}
    )
    assert elsewhere.status_code == 403
    for label in old[:-1]:
        assert post(url, "forget", label=label).status_code == 200
    last = post(url, "forget", label=old[-1])
    assert (last.status_code, "a model needs at least one class" in last.text) == (422, True)


def test_read_only_and_exclusive(run, serve_run):
    """Status 403 and 409, before anything is read."""
    with serve_run(run, read_only=True) as served:
        first = labels(served.url)[0]
        answers = [
            post(served.url, "rename", label=first, new_label="x"),
            post(served.url, "forget", label=first),
        ]
        answers.append(merge(served.url, b"PK"))
        assert {answer.status_code for answer in answers} == {403}
    with serve_run(run) as served, served.service._one_change():
        answers = [
            post(served.url, "rename", label=first, new_label="x"),
            post(served.url, "forget", label=first),
        ]
        answers += [merge(served.url, b"PK"), httpx.post(f"{served.url}/api/undo")]
        assert {(a.status_code, a.json()["error"]["code"]) for a in answers} == {(409, "learning")}


@contextmanager
def full_disk(folder: Path, name: str) -> Iterator[list[str]]:
    """Within the context, files of this name below a folder cannot be flushed: no space. Gives the failed files."""
    sync, failed = os.fsync, []

    def no_space(descriptor: int) -> None:
        path = os.readlink(f"/proc/self/fd/{descriptor}")
        if path.startswith(str(folder)) and f"/.{name}." in path:
            failed.append(path)
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        sync(descriptor)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(os, "fsync", no_space)
        yield failed


@pytest.mark.parametrize("name", ["model.safetensors", "learning.safetensors", "state.json"])
def test_a_full_disk(run, serve_run, other, new_clips, tmp_path, name):
    """Each change gets 507 without a path; the old model still predicts, no files remain, and then the change works."""
    clips, work, content = new_clips(0)[:3], tmp_path / "work", zipped(other, tmp_path)
    with serve_run(run, state_dir=work, limits={"upload_bytes": 4_000_000}) as served:
        url = served.url
        teach(served, "owl", clips)
        old, before = labels(url), served.service.recognizer.snapshot()
        files = {path: path.read_bytes() for path in work.rglob("*") if path.is_file()}
        changes: dict[str, Callable[[], httpx.Response]] = {
            "rename": lambda: post(url, "rename", label="owl", new_label="barn owl"),
            "forget clips": lambda: post(url, "forget", clips[:1], label="owl"),
            "forget": lambda: post(url, "forget", label="owl"),
            "merge": lambda: merge(url, content, same_classes="true"),
        }
        for change, ask in changes.items():
            with full_disk(work, name) as failed:
                answer = ask()
            assert failed, change
            assert (answer.status_code, answer.json()["error"]["code"]) == (507, "no_space"), change
            assert "disk is full" in answer.json()["error"]["message"]
            assert "/" not in answer.json()["error"]["message"]
            assert labels(url) == old
            assert served.service.recognizer.snapshot() is before
            assert predicted(url, clips[0]) == "owl"
            assert {path: path.read_bytes() for path in work.rglob("*") if path.is_file()} == files, change
            again = ask()
            assert again.status_code == 200, (change, again.text)
            assert httpx.post(f"{url}/api/undo").status_code == 200
            before = served.service.recognizer.snapshot()
            files = {path: path.read_bytes() for path in work.rglob("*") if path.is_file()}
    with serve_run(run, state_dir=work) as served:
        assert labels(served.url) == old


def test_kill_at_any_time(run, monkeypatch, tmp_path):
    """At each call that changes the disk, a copy of the state directory is what a kill there leaves: it opens with the
    model before a change or after it, and with no other files than those that count."""
    service = Service(run, state_dir=tmp_path / "work")
    copies: list[Path] = []
    busy = False

    def copying(name: str) -> None:
        call = getattr(os, name)

        def copied(*words, **more):
            nonlocal busy
            if not busy:
                busy = True
                copies.append(tmp_path / f"copy-{len(copies)}")
                shutil.copytree(tmp_path / "work", copies[-1])
                busy = False
            return call(*words, **more)

        monkeypatch.setattr(os, name, copied)

    old = service.recognizer.classes_
    known = [old]
    with monkeypatch.context():
        for name in ("replace", "rename", "fsync", "mkdir", "rmdir", "unlink"):
            copying(name)
        for change in (
            lambda: service.rename(old[0], "first"),
            lambda: service.forget(old[1]),
            service.undo,
        ):
            change()
            known.append(service.recognizer.classes_)
        monkeypatch.undo()
    service.close()
    assert known == [old, ("first", *old[1:]), ("first", *old[2:]), ("first", *old[1:])]
    assert len(copies) > 20
    seen = []
    for copy in copies:
        work = StateDirectory(copy, run / "model")
        seen.append(load_saved(work.model()).labels)
        assert sorted(path.name for path in (copy / "updates").glob("*")) == [
            f"{entry['number']:06d}" for entry in work.updates
        ]
        work.close()
    changes = [labels for at, labels in enumerate(seen) if at == 0 or labels != seen[at - 1]]
    assert changes in (known, known[:-1])


def test_a_state_of_an_earlier_version(run, new_clips, tmp_path):
    """A state directory of format version 1 can be opened and changed; it is then written as version 3."""
    service = Service(run, state_dir=tmp_path / "work")
    service.start_learning("owl", [Upload(clip, clip.name) for clip in new_clips(0)])
    service.close()
    path = tmp_path / "work" / "state.json"
    state = json.loads(path.read_text())
    for holder in (state["updates"][0], state["updates"][0]["result"]):
        holder["learnt"] = holder.pop("learned")
    path.write_text(json.dumps(state | {"version": 1, "sittings": state.pop("updates")}))
    (path.parent / "updates").rename(path.parent / "sittings")
    service = Service(run, state_dir=tmp_path / "work")
    service.rename("owl", "barn owl")
    service.close()
    state = json.loads(path.read_text())
    assert (state["version"], state["updates"][0]["learned"]) == (3, 6)
    assert "sittings" not in state
    service = Service(run, state_dir=tmp_path / "work")
    assert service.recognizer.classes_[-1] == "barn owl"
    service.close()


def test_the_page_lists_changes():
    """All kinds of changes are listed, names are escaped, and Undo names the last change."""
    trained = {"number": 1, "label": "owl", "learned": 3, "held_out": []}
    result = {"accuracy_before": 0.5, "accuracy_after": 1.0, "test_clips": 4, "notes": []}
    renamed = {"number": 2, "kind": "rename", "label": "owl", "new_label": "<b>", "result": result}
    shown = learning_html(None, [trained, renamed])
    assert "“owl” renamed to “&lt;b&gt;”" in shown
    assert "3 clips" in shown
    assert "100 %" in shown.replace("\N{NO-BREAK SPACE}", " ")
    assert undo_label([trained, renamed]) == "Undo: “owl” renamed to “<b>”"
    assert undo_label([trained]) == "Undo “owl”"
    assert "Undone: “owl” renamed to “&lt;b&gt;”." in undone_html(renamed)
