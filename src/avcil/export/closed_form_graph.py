"""Closed-form models as ONNX graphs: pooling, embedding, scores of each kind of model, p-values.

B clips, T time slices, S spatial tokens, Da and Dv widths of audio and visual features, M features of which a head uses
m, C classes. The equations are those of `closed_form.embedding`, `closed_form.linear_model` and
`closed_form.p_values`, in float64; T and S can differ between calls.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence

import numpy as np
import torch
from onnx import TensorProto

from avcil.closed_form.embedding import STANDARDIZING, TO_LENGTH, Embedding
from avcil.closed_form.head import HistogramUnknownTest, UnknownTest
from avcil.closed_form.linear_model import LinearModel
from avcil.closed_form.p_values import BINS, MAX_SCORE
from avcil.closed_form.projected_model import ProjectedModel
from avcil.closed_form.quadratic_model import QuadraticModel
from avcil.closed_form.single_head_model import SingleHeadModel
from avcil.data.modality import Modality
from avcil.errors import InputError
from avcil.export.graph import Graph


def add_closed_form(
    graph: Graph, model: LinearModel, modality: Modality, audio: str | None, visual: str | None
) -> tuple[str, str | None]:
    """Add scores (B, C) and, if the model has them, p-values (B,).

    Args:
        graph: The graph.
        model: The model.
        modality: The modality of the inputs, one of `model.input_modalities`.
        audio: Name of the input (B, Da), or None.
        visual: Name of the input (B, T, S, Dv), or None.
    """
    builder = _ClosedForm(graph, model)
    head = model.heads[modality]
    features = builder.features(builder.vectors(audio, visual), head.columns)
    raw = graph.affine(features, head.weight, head.bias, name="raw_scores")
    scores = graph.node("Mul", raw, head.inverse_temperature, name="scaled_scores")
    return scores, None if head.unknown is None else builder.p_values(head.unknown, features, raw)


def add_quadratic(graph: Graph, model: QuadraticModel, audio: str | None, visual: str | None) -> str:
    """Add scores (B, C) = -s (h - mu_c)^T A_c (h - mu_c) for inputs audio (B, Da) and visual (B, T, S, Dv)."""
    builder = _ClosedForm(graph, model)
    features = builder.features(builder.vectors(audio, visual), torch.arange(model.means.shape[1]))
    difference = graph.node("Sub", features, model.means[:, None], name="difference")  # (C, B, P)
    transformed = graph.node("MatMul", difference, model.matrices, name="transformed")
    product = graph.node("Mul", transformed, difference, name="product")
    distance = graph.reduced("ReduceSum", product, [2], name="distance")
    by_clip = graph.node("Transpose", distance, name="distance_by_clip", perm=[1, 0])
    return graph.node("Mul", by_clip, -model.inverse_temperature, name="scores_of_classes")


def add_projected(graph: Graph, model: ProjectedModel, audio: str | None, visual: str | None) -> str:
    """Add scores (B, C) = s GELU(u V) Theta for inputs audio (B, Da) and visual (B, T, S, Dv)."""
    builder, total, begin = _ClosedForm(graph, model), "", model.embedding.sizes[0]
    parts = list(builder.parts(builder.vectors(audio, visual)))
    blocks = {start: part for start, _, part in parts if start >= begin}
    projections = model.weights["projections"]
    for projection, (_, part) in zip(projections, sorted(blocks.items()), strict=True):
        unit = graph.unit(graph.node("MatMul", part, projection, name="product"))
        total = graph.node("Add", total, unit, name="sum_of_projections") if total else unit
    mean = graph.node("Div", total, float(len(projections)), name="mean_projection")
    weight = graph.cast(graph.constant("hidden", model.weights["hidden"]), "float64", name="hidden_exact")
    hidden = builder.gelu(graph.node("MatMul", mean, weight, name="hidden_product"))
    raw = graph.node("MatMul", hidden, model.weights["classifier"], name="raw_scores")
    return graph.node("Mul", raw, model.inverse_temperature, name="scores_of_classes")


class _ClosedForm:
    """Adds the nodes of a model to a graph."""

    def __init__(self, graph: Graph, model: LinearModel | SingleHeadModel) -> None:
        self.graph, self.model = graph, model

    def vectors(self, audio: str | None, visual: str | None) -> dict[int, str]:
        """The pooled vectors of the inputs, float64, by their number in the embedding."""
        graph, by_number = self.graph, {}
        if audio is not None:
            by_number[0] = graph.cast(audio, "float64", name="audio_exact")
        if visual is not None:
            tokens = graph.cast(visual, "float64", name="visual_exact")
            first = int(self.model.modality.has_audio)
            by_number[first] = graph.reduced("ReduceMean", tokens, [1, 2], name="mean_token")
            if self.model.pooling == "mean-deviation":
                by_number[first + 1] = self._deviation(tokens)
        return by_number

    def _deviation(self, tokens: str) -> str:
        """Standard deviation (B, Dv) over T and S."""
        graph = self.graph
        mean = graph.reduced("ReduceMean", tokens, [1, 2], name="mean_to_subtract", keep=True)
        difference = graph.node("Sub", tokens, mean, name="difference_from_mean")
        squared = graph.node("Mul", difference, difference, name="squared_difference")
        variance = graph.reduced("ReduceMean", squared, [1, 2], name="variance")
        return graph.node("Sqrt", variance, name="deviation")

    def features(self, vectors: dict[int, str], used: torch.Tensor) -> str:
        """Columns `used` (B, m) of the features of the embedding; only features of present vectors are computed."""
        parts: list[str] = []
        index: dict[int, int] = {}
        for begin, width, part in self.parts(vectors):
            start = len(index)
            index |= {begin + column: start + column for column in range(width)}
            parts.append(part)
        joined = parts[0] if len(parts) == 1 else self.graph.node("Concat", *parts, name="features", axis=1)
        columns = np.array([index[int(column)] for column in used], dtype=np.int64)
        if np.array_equal(columns, np.arange(len(index))):
            return joined
        return self.graph.node("Gather", joined, columns, name="features_used", axis=1)

    def parts(self, vectors: dict[int, str]) -> Iterator[tuple[int, int, str]]:
        """Yield the ranges of columns: first column, width, values (B, width)."""
        begin = 0
        for embedding, at in self.model.embedding.blocks:
            pieces = list(self._standardized(embedding, at, vectors))
            if embedding.config.activation == "none":  # concatenated vectors, each of which can be missing
                for offset, width, piece in pieces:
                    yield begin + offset, width, piece
            elif len(pieces) == len(at):
                features = self._random_features(embedding, [piece for *_, piece in pieces])
                yield begin, embedding.width, features
            begin += embedding.width

    def _standardized(
        self, embedding: Embedding, at: tuple[int, ...], vectors: dict[int, str]
    ) -> Iterator[tuple[int, int, str]]:
        """Yield z of each present vector: first column in the block, width, values."""
        graph, offset, tensors = self.graph, 0, embedding.tensors()
        for number, width in zip(at, embedding.widths, strict=True):
            part = slice(offset, offset + width)
            if number in vectors:
                value = vectors[number]
                if embedding.config.normalize in STANDARDIZING:
                    centered = graph.node("Sub", value, tensors["mean"][part], name="centered")
                    inverse = tensors["inverse_deviation"][part]
                    value = graph.node("Mul", centered, inverse, name="standardized")
                if embedding.config.normalize in TO_LENGTH:
                    value = graph.node("Mul", graph.unit(value), math.sqrt(width), name="normalized")
                yield offset, width, value
            offset += width

    def gelu(self, value: str) -> str:
        """z (1 + erf(z / sqrt(2))) / 2. The opset has no Gelu, and ONNX Runtime has Erf only for float32."""
        graph = self.graph
        scaled = graph.node("Mul", value, math.sqrt(0.5), name="scaled_for_erf")
        single = graph.cast(scaled, "float32", name="single_for_erf")
        error = graph.cast(graph.node("Erf", single, name="erf"), "float64", name="erf_exact")
        raised = graph.node("Add", error, 1.0, name="raised")
        return graph.node("Mul", graph.node("Mul", value, 0.5, name="half_value"), raised, name="gelu")

    def _random_features(self, embedding: Embedding, pieces: list[str]) -> str:
        """phi(z W / sqrt(P) + b); W is stored in float32, as in the model."""
        graph, tensors, activation = self.graph, embedding.tensors(), embedding.config.activation
        z = pieces[0] if len(pieces) == 1 else graph.node("Concat", *pieces, name="standardized_all", axis=1)
        weight = graph.cast(
            graph.constant("projection", tensors["weight"]), "float64", name="projection_exact"
        )
        scaled = graph.node("Div", weight, math.sqrt(sum(embedding.widths)), name="projection_scaled")
        h = graph.node("MatMul", z, scaled, name="projected")
        if activation in ("relu", "tanh"):
            return graph.node(activation.capitalize(), h, name="random_features")
        if activation == "gelu":
            return self.gelu(h)
        if activation != "fourier":
            raise InputError(f"an embedding with activation {activation!r} cannot be exported")
        offset = graph.cast(graph.constant("offset", tensors["offset"]), "float64", name="offset_exact")
        wave = graph.node("Cos", graph.node("Add", h, offset, name="phase"), name="wave")
        return graph.node("Mul", wave, math.sqrt(2 / embedding.config.features), name="random_features")

    def p_values(self, test: UnknownTest | HistogramUnknownTest, features: str, raw: str) -> str:
        """p-values (B,) from features (B, m) and scores (B, C) before the inverse temperature."""
        graph = self.graph
        if isinstance(test, UnknownTest):
            transformed = self._transformed(features, [part.inverse for part in test.parts])
            bias = torch.stack([part.bias for part in test.parts]).sum(dim=0)
            weight = torch.cat([part.weight for part in test.parts])
            raw = graph.affine(features, weight, bias, name="class_mean_scores")
        else:
            transformed = self._transformed(features, [test.inverse])
        norm = self._summed(graph.node("Mul", transformed, features, name="product"), "squared_norm")
        best = graph.reduced("ReduceMax", raw, [1], name="best_score")
        twice = graph.node("Mul", best, 2.0, name="twice_best")
        nearest = graph.node("Sub", norm, twice, name="nearest")
        if isinstance(test, HistogramUnknownTest):
            return self._binned(test, nearest, norm)
        column = graph.with_axes(nearest, [1], name="distance")
        is_above = graph.node("GreaterOrEqual", test.distances[None], column, name="at_or_above")
        count = self._summed(graph.cast(is_above, "float64", name="above"), "count_above")
        numerator = graph.node("Add", count, 1.0, name="count_plus_one")
        return graph.node("Div", numerator, 1.0 + len(test.distances), name="p_value")

    def _transformed(self, features: str, matrices: Sequence[torch.Tensor]) -> str:
        """The product (B, m) of features and a block diagonal matrix; `matrices` are its blocks."""
        graph, start, parts = self.graph, 0, []
        for matrix in matrices:
            columns = np.arange(start, start + len(matrix))
            inputs = features
            if len(matrices) > 1:
                inputs = graph.node("Gather", features, columns, name="block", axis=1)
            parts.append(graph.node("MatMul", inputs, matrix, name="transformed"))
            start += len(matrix)
        return parts[0] if len(parts) == 1 else graph.node("Concat", *parts, name="transformed_all", axis=1)

    def _binned(self, test: HistogramUnknownTest, nearest: str, norm: str) -> str:
        """Look up the p-value of each clip in a table by bin."""
        graph = self.graph
        positive = graph.node("Max", norm, torch.finfo(torch.float64).tiny, name="positive_norm")
        score = graph.node("Div", nearest, positive, name="nonconformity")
        position = graph.node("Mul", score, BINS / MAX_SCORE, name="position")
        index = graph.node("Cast", position, name="bin", to=TensorProto.INT64)
        clipped = graph.node("Clip", index, np.array(0), np.array(BINS - 1), name="clipped_bin")
        middles = (torch.arange(BINS, dtype=torch.float64) + 0.5) * (MAX_SCORE / BINS)
        return graph.node("Gather", test.histogram.p_values(middles), clipped, name="p_value", axis=0)

    def _summed(self, value: str, name: str) -> str:
        return self.graph.reduced("ReduceSum", value, [1], name=name)
