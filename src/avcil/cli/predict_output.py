"""Print and write predictions as text, JSON and CSV."""

from __future__ import annotations

import sys
import textwrap
from pathlib import Path
from typing import TYPE_CHECKING, Any

from avcil.cli.result_writer import YES_NO, ResultWriter, TextStream
from avcil.data.clips import one_line
from avcil.errors import AvcilError
from avcil.utils.text_table import text_table

if TYPE_CHECKING:
    from avcil.inference import Prediction
    from avcil.inference.contribution_table import ContributionTable
    from avcil.inference.explanation import Explanation

COLUMNS = (
    "path",
    "label",
    "probability",
    "in_distribution",
    "p_value",
    "threshold",
    "modality",
    "notes",
    "error",
)
_WIDTH = 100
"""Line width of wrapped text."""


class ClipWriter(ResultWriter):
    """Writes predictions of clips."""

    def __init__(self, form: str, out: Path | None, *, top: int) -> None:
        super().__init__(form, out, columns=COLUMNS)
        self.top = top

    def add(self, path: Path, prediction: Prediction | AvcilError) -> None:
        """Write the prediction of a clip, or the error."""
        for kind, stream in self.each():
            if kind == "json":
                self.write_object(stream, _prediction_json(path, prediction, self.top))
            elif kind == "csv":
                self.write_row(stream, _row(path, prediction))
            else:
                _print(path, prediction, self.top, stream)

    def add_explanation(self, explanation: Explanation) -> None:
        """Write an explanation below the prediction in the text format."""
        for kind, stream in self.each():
            if kind == "text":
                print("\n".join(_explanation_lines(explanation.contribution_table())), file=stream)


def _prediction_json(path: Path, prediction: Prediction | AvcilError, top: int) -> dict[str, Any]:
    """A prediction, or an error, as a JSON object."""
    if isinstance(prediction, AvcilError):
        return {"path": str(path), "error": str(prediction)}
    ranked = list(prediction.probabilities.items())[:top]
    return {
        "path": str(path),
        "label": prediction.label,
        "probability": prediction.probability,
        "predictions": [{"label": label, "probability": probability} for label, probability in ranked],
        "in_distribution": prediction.in_distribution,
        "p_value": prediction.p_value,
        "threshold": prediction.threshold,
        "background": prediction.background,
        "modality": prediction.modality,
        "notes": prediction.notes,
    }


def explanation_json(explanation: Explanation) -> dict[str, Any]:
    """An explanation as a JSON object; maps are nested lists."""
    return {
        **_prediction_json(Path(explanation.prediction.path), explanation.prediction, 5),
        "runner_up": explanation.runner_up,
        "margin": explanation.margin,
        "contributions": explanation.contributions,
        "contribution_kind": explanation.contribution_kind,
        "encoder_contributions": explanation.encoder_contributions,
        "alone": {name: {"label": label, "probability": p} for name, (label, p) in explanation.alone.items()},
        "map": explanation.map_kind,
        "spatial": None if explanation.spatial is None else explanation.spatial.tolist(),
        "temporal": None if explanation.temporal is None else explanation.temporal.tolist(),
    }


def _explanation_lines(table: ContributionTable) -> list[str]:
    """The contributions to a prediction as lines of text."""
    if table.missing:
        return textwrap.wrap(table.missing, _WIDTH, initial_indent="  ", subsequent_indent="  ")
    rows = [(f"  {row.name}" if row.is_encoder else row.name, row) for row in table.rows]
    values = text_table(
        [[name, f"{row.value:+z7.2f}", one_line(row.remark)] for name, row in rows], names=3, indent=4
    )
    difference = f"score difference to {one_line(table.second)} {table.difference:+.2f}"
    meaning = textwrap.wrap(table.meaning, _WIDTH, initial_indent="  ", subsequent_indent="  ")
    return [f"  contributions to {one_line(table.label)}, {difference}:", values, *meaning]


def _row(path: Path, prediction: Prediction | AvcilError) -> list[Any]:
    if isinstance(prediction, AvcilError):
        return [path, "", "", "", "", "", "", "", str(prediction)]
    numbers = [
        "" if value is None else f"{value:.6f}" for value in (prediction.p_value, prediction.threshold)
    ]
    known = YES_NO[prediction.in_distribution]
    return [
        path,
        prediction.label,
        f"{prediction.probability:.6f}",
        known,
        *numbers,
        prediction.modality,
        prediction.notes,
        "",
    ]


def _print(path: Path, prediction: Prediction | AvcilError, top: int, stream: TextStream) -> None:
    if isinstance(prediction, AvcilError):
        print(f"avcil: {prediction}", file=sys.stderr, flush=True)
        return
    print(one_line(str(path)), file=stream)
    ranked = [(one_line(label), p) for label, p in list(prediction.probabilities.items())[:top]]
    rows = [[label, f"{100 * p:5.1f} %", "█" * round(30 * p)] for label, p in ranked]
    print(text_table(rows, names=3, indent=2), file=stream)
    if prediction.in_distribution is False:
        print(f"  possibly an unknown class: {prediction.why_unknown}", file=stream)
    if prediction.notes:
        print(f"  note: {prediction.notes}", file=stream)
