"""The same tables as text, Markdown, LaTeX and HTML."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

from markupsafe import Markup

from avcil.experiments.tables import Section, Table
from avcil.utils.templates import render
from avcil.utils.text_table import text_table


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
    drawings = {heading: Markup(svg[svg.index("<svg") :]) for heading, svg in (pictures or {}).items()}
    return (
        str(render("avcil.experiments", "tables", sections=sections, title=title, drawings=drawings)) + "\n"
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
