"""The model of a learner in closed form as a graph: pooling, embedding, linear scores, and how odd a clip is.

B clips, T time slices, S spatial tokens, Da and Dv widths of audio and visual features, M features of which a head uses
m, C classes. The equations are those of `closed_form.embedding`, `closed_form.model` and `closed_form.p_values`, in
float64 as there; T and S may vary from call to call.
"""

from __future__ import annotations

import math
from collections.abc import Iterator

import numpy as np
import torch
from onnx import TensorProto

from avcil.closed_form.embedding import STANDARDIZING, TO_LENGTH, Embedding
from avcil.closed_form.head import Nonconformity, UnknownTest
from avcil.closed_form.model import LinearScores
from avcil.closed_form.p_values import BINS, MAX_SCORE
from avcil.closed_form.quadratic_model import QuadraticScores
from avcil.data.modality import Modality
from avcil.errors import InputError
from avcil.export.graph import Graph
from avcil.export.network_graph import SMALLEST_LENGTH


def add_closed_form(
    graph: Graph, model: LinearScores, given: Modality, audio: str | None, visual: str | None
) -> tuple[str, str | None]:
    """Scores (B, C) of inputs audio (B, Da) and visual (B, T, S, Dv), and p-values (B,) where the model has them.

    `given`: the part of a clip that there is, one of the model's `answers`.
    """
    builder = _ClosedForm(graph, model)
    head = model.heads[given]
    features = builder.features(builder.vectors(audio, visual), head.columns)
    raw = graph.node("MatMul", features, graph.constant("head_weight", head.weight), name="head_product")
    raw = graph.node("Add", raw, graph.constant("head_bias", head.bias), name="raw_scores")
    scores = graph.node(
        "Mul", raw, builder.number("sharpness", head.inverse_temperature), name="sharp_scores"
    )
    return scores, None if head.unknown is None else builder.p_values(head.unknown, features, raw)


def add_quadratic(graph: Graph, model: QuadraticScores, audio: str | None, visual: str | None) -> str:
    """Scores (B, C) of inputs audio (B, Da) and visual (B, T, S, Dv): -s (h - mu_c)^T A_c (h - mu_c)."""
    builder = _ClosedForm(graph, model)
    features = builder.features(builder.vectors(audio, visual), torch.arange(model.means.shape[1]))
    means = graph.constant("class_means", model.means[:, None])
    away = graph.node("Sub", features, means, name="away")  # (C, B, P)
    turned = graph.node("MatMul", away, graph.constant("class_matrices", model.matrices), name="turned")
    product = graph.node("Mul", turned, away, name="turned_along")
    distance = graph.reduced("ReduceSum", product, [2], name="distance")
    across = graph.node("Transpose", distance, name="distance_by_clip", perm=[1, 0])
    factor = builder.number("minus_inverse_temperature", -model.inverse_temperature)
    return graph.node("Mul", across, factor, name="scores_of_classes")


class _ClosedForm:
    """Adds a model's nodes to a graph."""

    def __init__(self, graph: Graph, model: LinearScores | QuadraticScores) -> None:
        self.graph, self.model = graph, model

    def number(self, name: str, value: float) -> str:
        """A constant, float64."""
        return self.graph.constant(name, np.array(value, dtype=np.float64))

    # -- a clip's vectors ------------------------------------------------------------------------------------------

    def vectors(self, audio: str | None, visual: str | None) -> dict[int, str]:
        """The pooled vectors that there are, float64, by the number under which the embedding knows them."""
        graph, found = self.graph, {}
        if audio is not None:
            found[0] = graph.cast(audio, "float64", name="audio_exact")
        if visual is not None:
            tokens = graph.cast(visual, "float64", name="visual_exact")
            first = int(self.model.modality.has_audio)
            found[first] = graph.reduced("ReduceMean", tokens, [1, 2], name="mean_token")
            if self.model.pooling == "mean-deviation":
                found[first + 1] = self._deviation(tokens)
        return found

    def _deviation(self, tokens: str) -> str:
        """Standard deviation (B, Dv) over T and S."""
        graph = self.graph
        mean = graph.reduced("ReduceMean", tokens, [1, 2], name="mean_to_subtract", keep=True)
        away = graph.node("Sub", tokens, mean, name="away_from_mean")
        squared = graph.node("Mul", away, away, name="away_squared")
        variance = graph.reduced("ReduceMean", squared, [1, 2], name="variance")
        return graph.node("Sqrt", variance, name="deviation")

    # -- embedding ---------------------------------------------------------------------------------------------------

    def features(self, vectors: dict[int, str], used: torch.Tensor) -> str:
        """Columns `used` (B, m) of the embedding's features, of which only those there are are made."""
        parts: list[str] = []
        place: dict[int, int] = {}
        for begin, width, part in self._parts(vectors):
            start = len(place)
            place |= {begin + column: start + column for column in range(width)}
            parts.append(part)
        joined = parts[0] if len(parts) == 1 else self.graph.node("Concat", *parts, name="features", axis=1)
        columns = np.array([place[int(column)] for column in used], dtype=np.int64)
        if np.array_equal(columns, np.arange(len(place))):
            return joined
        return self.graph.node(
            "Gather", joined, self.graph.constant("columns", columns), name="features_used", axis=1
        )

    def _parts(self, vectors: dict[int, str]) -> Iterator[tuple[int, int, str]]:
        """Stretches of the features: where each begins, its width, its values (B, width)."""
        begin = 0
        for embedding, at in self.model.embedding.blocks:
            pieces = list(self._standardized(embedding, at, vectors))
            if embedding.config.activation == "none":  # vectors side by side, each of which may be lacking
                for offset, width, piece in pieces:
                    yield begin + offset, width, piece
            elif len(pieces) == len(at):
                yield (
                    begin,
                    embedding.width,
                    self._random_features(embedding, [piece for *_, piece in pieces]),
                )
            begin += embedding.width

    def _standardized(
        self, embedding: Embedding, at: tuple[int, ...], vectors: dict[int, str]
    ) -> Iterator[tuple[int, int, str]]:
        """z of each vector that there is: its place in the block, its width, its values."""
        graph, offset, tensors = self.graph, 0, embedding.tensors()
        for number, width in zip(at, embedding.widths, strict=True):
            part = slice(offset, offset + width)
            if number in vectors:
                value = vectors[number]
                if embedding.config.normalise in STANDARDIZING:
                    mean = graph.constant("mean", tensors["mean"][part])
                    inverse = graph.constant("inverse_deviation", tensors["inverse_deviation"][part])
                    centered = graph.node("Sub", value, mean, name="centered")
                    value = graph.node("Mul", centered, inverse, name="standardized")
                if embedding.config.normalise in TO_LENGTH:
                    value = self._of_one_length(value, width)
                yield offset, width, value
            offset += width

    def _of_one_length(self, value: str, width: int) -> str:
        """sqrt(width) z / |z|"""
        graph = self.graph
        length = graph.reduced("ReduceL2", value, [1], name="length", keep=True)
        least = self.number("smallest_length", SMALLEST_LENGTH)
        unit = graph.node(
            "Div", value, graph.node("Max", length, least, name="length_above_zero"), name="unit"
        )
        return graph.node("Mul", unit, self.number("root_of_width", math.sqrt(width)), name="of_one_length")

    def _random_features(self, embedding: Embedding, pieces: list[str]) -> str:
        """phi(z W / sqrt(P) + b); W is kept in float32, as the model keeps it."""
        graph, tensors, activation = self.graph, embedding.tensors(), embedding.config.activation
        z = pieces[0] if len(pieces) == 1 else graph.node("Concat", *pieces, name="standardized_all", axis=1)
        weight = graph.cast(
            graph.constant("projection", tensors["weight"]), "float64", name="projection_exact"
        )
        root = self.number("root_of_pooled_width", math.sqrt(sum(embedding.widths)))
        scaled = graph.node("Div", weight, root, name="projection_scaled")
        h = graph.node("MatMul", z, scaled, name="projected")
        if activation in ("relu", "tanh"):
            return graph.node(activation.capitalize(), h, name="random_features")
        if activation != "fourier":
            raise InputError(f"an embedding with activation {activation!r} cannot be written as ONNX")
        offset = graph.cast(graph.constant("offset", tensors["offset"]), "float64", name="offset_exact")
        wave = graph.node("Cos", graph.node("Add", h, offset, name="phase"), name="wave")
        size = self.number("amplitude", math.sqrt(2 / embedding.config.features))
        return graph.node("Mul", wave, size, name="random_features")

    # -- unknown classes -----------------------------------------------------------------------------------------------

    def p_values(self, test: UnknownTest | Nonconformity, features: str, raw: str) -> str:
        """(B,) p-values of features (B, m) and scores (B, C) before the inverse temperature."""
        graph = self.graph
        inverse = graph.constant("unknown_inverse", test.inverse)
        turned = graph.node("MatMul", features, inverse, name="turned")
        length = self._summed(graph.node("Mul", turned, features, name="turned_along"), "squared_length")
        best = graph.reduced("ReduceMax", raw, [1], name="best_score")
        nearest = graph.node(
            "Sub", length, graph.node("Mul", best, self.number("two", 2.0), name="twice_best"), name="nearest"
        )
        if isinstance(test, Nonconformity):
            return self._binned(test, nearest, length)
        seen = graph.constant("distances_seen", test.seen[None])
        column = graph.node("Unsqueeze", nearest, graph.constant("last_axis", np.array([1])), name="distance")
        above = graph.cast(
            graph.node("GreaterOrEqual", seen, column, name="at_or_above"), "float64", name="above"
        )
        count = self._summed(above, "count_above")
        more = graph.node("Add", count, self.number("one", 1.0), name="count_and_one")
        return graph.node("Div", more, self.number("count_of_all", 1.0 + len(test.seen)), name="p_value")

    def _binned(self, test: Nonconformity, nearest: str, length: str) -> str:
        """The value of each clip's bin in a table of all bins' p-values."""
        graph = self.graph
        least = self.number("smallest_number", torch.finfo(torch.float64).tiny)
        odd = graph.node(
            "Div", nearest, graph.node("Max", length, least, name="length_positive"), name="oddity"
        )
        place = graph.node("Mul", odd, self.number("bins_per_unit", BINS / MAX_SCORE), name="place")
        whole = graph.node("Cast", place, name="bin", to=TensorProto.INT64)
        first, last = (graph.constant(name, np.array(at)) for name, at in (("first", 0), ("last", BINS - 1)))
        within = graph.node("Clip", whole, first, last, name="bin_within")
        middles = (torch.arange(BINS, dtype=torch.float64) + 0.5) * (MAX_SCORE / BINS)
        table = graph.constant("p_value_of_bin", test.counts.p_values(middles))
        return graph.node("Gather", table, within, name="p_value", axis=0)

    def _summed(self, value: str, name: str) -> str:
        return self.graph.reduced("ReduceSum", value, [1], name=name)
