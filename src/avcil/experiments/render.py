"""Tables as text, Markdown, LaTeX and HTML."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

from markupsafe import Markup

from avcil.experiments.tables import ResultTable, Section
from avcil.utils.templates import render
from avcil.utils.text_table import markdown_table, text_table


def as_text(sections: Sequence[Section]) -> str:
    """Text with aligned columns."""
    parts = []
    for section in sections:
        parts.append(f"{section.title}\n{'=' * len(section.title)}\n")
        for table in section.tables:
            text = text_table(table.rows, table.header, names=table.names, rule=True)
            parts.append(f"{table.title}\n\n{text}\n")
        parts.append("".join(f"{note}\n" for note in section.notes))
    return "\n".join(parts)


def as_markdown(sections: Sequence[Section]) -> str:
    """Markdown; the best of a column is bold."""
    parts = []
    for section in sections:
        parts.append(f"## {_markdown(section.title)}\n")
        for table in section.tables:
            rows = _cells(table, _markdown, "**{}**")
            text = markdown_table(list(map(_markdown, table.header)), rows, names=table.names)
            parts.append(f"### {_markdown(table.title)}\n\n{text}\n")
        parts += [f"{_markdown(note)}\n" for note in section.notes]
    return "\n".join(parts)


def as_latex(sections: Sequence[Section]) -> str:
    """LaTeX; needs the package booktabs."""
    parts = ["% needs \\usepackage{booktabs}\n"]
    for section in sections:
        for table in section.tables:
            columns = "l" * table.names + "r" * (len(table.header) - table.names)
            body = [" & ".join(cells) + r" \\" for cells in _cells(table, _latex, r"\textbf{{{}}}")]
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


def as_html(sections: Sequence[Section], *, title: str, charts: Mapping[str, str] | None = None) -> str:
    """A self-contained page; `charts` are SVG texts by their headings."""
    markup = {heading: Markup(svg[svg.index("<svg") :]) for heading, svg in (charts or {}).items()}
    return str(render("avcil.experiments", "tables", sections=sections, title=title, charts=markup)) + "\n"


def _cells(table: ResultTable, escape: Callable[[str], str], strong: str) -> list[list[str]]:
    """The cells, escaped; the best ones with the markup `strong`."""
    return [
        [
            strong.format(escape(text)) if (row, column) in table.best else escape(text)
            for column, text in enumerate(cells)
        ]
        for row, cells in enumerate(table.rows)
    ]


def _markdown(text: str) -> str:
    for special in "\\|*_<`":
        text = text.replace(special, f"\\{special}")
    return text


_LATEX = {
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
    return "".join(_LATEX.get(letter, letter) for letter in text)
