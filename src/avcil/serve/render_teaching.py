"""The page's view of training and of the known classes, as HTML; every name that people chose is escaped."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape
from typing import Any

from avcil.serve.render import PARTS, notes_html, percent, problem_html
from avcil.serve.teaching import Teaching

LISTED = 10
"""Sittings that are listed."""


def header_html(classes: int, modality: str, *, read_only: bool) -> str:
    """The top of the page."""
    what = "Predict the class of a clip" + ("" if read_only else ", or teach the model a class")
    return (
        f'<header class="top"><h1>{_counted(classes, "class", "classes")}, from {PARTS.get(modality, modality)}</h1>'
        f"<p>{what}. Clips stay on the machine that serves this page.</p></header>"
    )


def teaching_html(teaching: Teaching | None, sittings: Sequence[dict[str, Any]]) -> str:
    """Progress or result of the current update, and the earlier ones."""
    parts = [_teaching(teaching)] if teaching is not None and not _taken_back(teaching, sittings) else []
    if sittings:
        items = "".join(
            f"<li><strong>{escape(s['label'])}</strong> <span class='soft'>{_counted(s['learnt'], 'clip', 'clips')}"
            "</span></li>"
            for s in reversed(sittings[-LISTED:])
        )
        parts.append(f'<h3>Taught here, latest first</h3><ol class="sittings">{items}</ol>')
    return "".join(parts)


def _taken_back(teaching: Teaching, sittings: Sequence[dict[str, Any]]) -> bool:
    return teaching.sitting is not None and teaching.sitting not in {s["number"] for s in sittings}


def _teaching(teaching: Teaching) -> str:
    left = [f"{clip['name']}: {clip['reason']}" for clip in teaching.left_out]
    if not teaching.ended.is_set():
        return _under_way(teaching)
    if teaching.error is not None:
        return problem_html(f"“{teaching.label}” was not added: {teaching.error}") + _left_out(left)
    return _done(teaching, left)


def _under_way(teaching: Teaching) -> str:
    count = f", {teaching.done} of {teaching.total}" if teaching.total > 1 else ""
    known = teaching.total > 1
    share = 100 * teaching.done / teaching.total if known else 0
    bar = f'<div class="meter{"" if known else " waiting"}"><i style="width:{share:.0f}%"></i></div>'
    return (
        f'<div class="card" role="status"><h2>Training on “{escape(teaching.label)}”</h2><p class="soft">'
        f"{escape(teaching.doing).capitalize()}{count}. You can close this page; training continues.</p>{bar}</div>"
    )


def _done(teaching: Teaching, left: Sequence[str]) -> str:
    result = teaching.result
    assert result is not None
    label = escape(teaching.label)
    title = f"Class “{label}” was added" if result["new_class"] else f"Class “{label}” was updated"
    before, after = result["accuracy_before"], result["accuracy_after"]
    rows = "".join(
        f"<tr><th scope='row'>{name}</th><td>{percent(old)}</td><td><strong>{percent(after[key])}</strong></td>"
        f"<td>{count}</td></tr>"
        for name, key, old, count in (
            ("Old classes", "old", before["old"], result["old_clips"]),
            (f"“{label}”", "new", None if result["new_class"] else before["new"], result["held_out"]),
        )
    )
    aside = f"; {result['held_out']} held out for evaluation" if result["held_out"] else ""
    return (
        f'<div class="card" role="status"><h2>{title}</h2>'
        f'<p class="soft">Trained on {_counted(result["learnt"], "clip", "clips")}{aside}.</p>'
        "<table class='accuracy'><thead><tr><th scope='col'>Accuracy</th><th scope='col'>Before</th>"
        f"<th scope='col'>After</th><th scope='col'>Test clips</th></tr></thead><tbody>{rows}</tbody></table>"
        f"{notes_html(result['notes'])}{_left_out(left)}</div>"
    )


def _left_out(left: Sequence[str]) -> str:
    return f'<p class="soft">Skipped clips:</p>{notes_html(left)}' if left else ""


def known_html(label: str, known: bool) -> str:
    """A message for a class name that exists, while it is typed."""
    if not known:
        return ""
    return f'<p class="soft" role="status">Class “{escape(label)}” exists already; the clips are added to it.</p>'


def undone_html(label: str) -> str:
    """A message after an update was undone."""
    return (
        f'<div class="hint" role="status">“{escape(label)}” was undone; the model is as it was before.</div>'
    )


def gallery_html(classes: Sequence[dict[str, Any]], pictures: dict[str, str]) -> str:
    """The classes known with a frame each; `pictures` are data URIs by class."""
    cards = ""
    for known in classes:
        label = escape(known["label"])
        picture = pictures.get(known["label"])
        letter = escape(known["label"][:1])
        frame = (
            f'<img alt="" src="{picture}">'
            if picture
            else f'<div class="blank" aria-hidden="true">{letter}</div>'
        )
        facts = [] if known["clips"] is None else [_counted(known["clips"], "clip", "clips")]
        facts += ["taught here"] if known["taught_here"] else []
        cards += (
            f'<li class="known">{frame}<div class="caption"><b title="{label}">{label}</b>'
            f"<span>{', '.join(facts)}</span></div></li>"
        )
    return f'<ul class="gallery">{cards}</ul>'


def _counted(count: int, one: str, many: str) -> str:
    return f"{count} {one if count == 1 else many}"
