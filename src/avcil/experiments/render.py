"""The same tables as text, Markdown, LaTeX and HTML."""

from __future__ import annotations

import html
from collections.abc import Callable, Mapping, Sequence

from avcil.experiments.tables import Section, Table
from avcil.utils.text_table import text_table

STYLE = """
body { font: 15px/1.5 system-ui, sans-serif; margin: 2rem auto; max-width: 70rem; padding: 0 1rem; }
table { border-collapse: collapse; margin: 1rem 0 2rem; display: block; overflow-x: auto; }
caption { text-align: left; font-weight: 600; padding-bottom: .4rem; }
th, td { padding: .25rem .8rem; text-align: right; border-bottom: 1px solid #ddd; white-space: nowrap; }
th { border-bottom: 2px solid #888; }
.name { text-align: left; }
.notes { color: #555; }
.picture { margin: 1rem 0; padding: .5rem; background: #fff; }
.picture svg { max-width: 100%; height: auto; }
@media (prefers-color-scheme: dark) {
  body { background: #181818; color: #e6e6e6; }
  th, td { border-color: #444; }
  .notes { color: #aaa; }
}
"""


def as_text(sections: Sequence[Section]) -> str:
    """For a terminal."""
    parts = []
    for section in sections:
        parts.append(f"{section.title}\n{'=' * len(section.title)}\n")
        for table in section.tables:
            parts.append(f"{table.title}\n\n{_text(table)}")
        parts.append("".join(f"{note}\n" for note in section.notes))
    return "\n".join(parts)


def _text(table: Table) -> str:
    return text_table(table.rows, table.header, names=table.names, rule=True) + "\n"


def as_markdown(sections: Sequence[Section]) -> str:
    """For documents; the best of a column is bold."""
    parts = []
    for section in sections:
        parts.append(f"## {_markdown(section.title)}\n")
        for table in section.tables:
            rule = "|" + "|".join(
                " --- " if place < table.names else " ---: " for place in range(len(table.header))
            )
            lines = [_row(table.header, _markdown), rule + "|"]
            for cells in _marked(table, _markdown, "**{}**"):
                lines.append(f"| {' | '.join(cells)} |")
            parts.append(f"### {_markdown(table.title)}\n\n" + "\n".join(lines) + "\n")
        parts += [f"{_markdown(note)}\n" for note in section.notes]
    return "\n".join(parts)


def as_latex(sections: Sequence[Section]) -> str:
    """For papers; needs the package booktabs."""
    parts = ["% needs \\usepackage{booktabs}\n"]
    for section in sections:
        for table in section.tables:
            columns = "l" * table.names + "r" * (len(table.header) - table.names)
            body = [" & ".join(cells) + r" \\" for cells in _marked(table, _latex, r"\textbf{{{}}}")]
            lines = [
                r"\begin{table}",
                r"\centering",
                rf"\caption{{{_latex(section.title)}. {_latex(table.title)}.}}",
                rf"\begin{{tabular}}{{{columns}}}",
                r"\toprule",
                " & ".join(map(_latex, table.header)) + r" \\",
                r"\midrule",
                *body,
                r"\bottomrule",
                r"\end{tabular}",
                r"\end{table}",
            ]
            parts.append("\n".join(lines) + "\n")
        parts.append("".join(f"% {note}\n" for note in section.notes))
    return "\n".join(parts)


def as_html(sections: Sequence[Section], *, title: str, pictures: Mapping[str, str] | None = None) -> str:
    """One page that needs nothing else; `pictures` are SVG by their headings."""
    body = []
    for heading, svg in (pictures or {}).items():
        drawing = svg[svg.index("<svg") :]
        body.append(f'<h2>{html.escape(heading)}</h2>\n<figure class="picture">{drawing}</figure>')
    for section in sections:
        body.append(f"<h2>{html.escape(section.title)}</h2>")
        for table in section.tables:
            body.append(f"<table>\n<caption>{html.escape(table.title)}</caption>")
            body.append(f"<thead><tr>{_html_cells('th', table.header, table.names)}</tr></thead>\n<tbody>")
            for cells in _marked(table, html.escape, "<strong>{}</strong>"):
                body.append(f"<tr>{_html_cells('td', cells, table.names)}</tr>")
            body.append("</tbody></table>")
        notes = "<br>".join(map(html.escape, section.notes))
        body.append(f'<p class="notes">{notes}</p>')
    head = f'<meta charset="utf-8">\n<title>{html.escape(title)}</title>\n<style>{STYLE}</style>'
    page = [f"<h1>{html.escape(title)}</h1>", *body]
    top = f'<!doctype html>\n<html lang="en">\n<head>\n{head}\n</head>\n<body>\n'
    return top + "\n".join(page) + "\n</body></html>\n"


def _html_cells(tag: str, cells: Sequence[str], names: int) -> str:
    return "".join(
        f'<{tag} class="name">{text}</{tag}>' if place < names else f"<{tag}>{text}</{tag}>"
        for place, text in enumerate(cells)
    )


def _marked(table: Table, escape: Callable[[str], str], strong: str) -> list[list[str]]:
    """The rows, escaped, the best cells made to stand out."""
    return [
        [
            strong.format(escape(text)) if (row, column) in table.best else escape(text)
            for column, text in enumerate(cells)
        ]
        for row, cells in enumerate(table.rows)
    ]


def _row(cells: Sequence[str], escape: Callable[[str], str]) -> str:
    return f"| {' | '.join(map(escape, cells))} |"


def _markdown(text: str) -> str:
    for special in "\\|*_<`":
        text = text.replace(special, f"\\{special}")
    return text


LATEX = {
    "\\": r"\textbackslash{}",
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
    "±": r"$\pm$",
    "–": "--",
    "<": "$<$",
    ">": "$>$",
    **{letter: f"\\{letter}" for letter in "&%$#_{}"},
}


def _latex(text: str) -> str:
    return "".join(LATEX.get(letter, letter) for letter in text)
