"""The network of gradient methods as an ONNX graph: projections, guided attention, head.

B clips, T time slices, S spatial tokens, Da and Dv widths of audio and visual features, D width of the projections, C
classes, P proxies of a class. The equations are those of `nn.network`, `nn.attention`, `nn.head` and `nn.proxy_head`;
T and S can differ between calls.
"""

from __future__ import annotations

import numpy as np
from torch import nn
from torch.nn import functional as F

from avcil.errors import InputError
from avcil.export.graph import Graph
from avcil.nn.head import LinearHead
from avcil.nn.network import Network
from avcil.nn.proxy_head import ProxyHead


def add_network(graph: Graph, network: Network, audio: str | None, visual: str | None) -> str:
    """Add the scores (B, C) for the inputs audio (B, Da) and visual (B, T, S, Dv); one can be None."""
    return NetworkGraph(graph, network).scores(audio, visual)


class NetworkGraph:
    """Adds the nodes of a network to a graph."""

    def __init__(self, graph: Graph, network: Network) -> None:
        self.graph, self.network = graph, network
        self.dtype = str(next(network.parameters()).dtype).removeprefix("torch.")

    def scores(self, audio: str | None, visual: str | None) -> str:
        """(B, C)"""
        graph, network, features = self.graph, self.network, []
        if audio is not None:
            audio = graph.cast(audio, self.dtype, name="audio_exact")
            projected = self._linear("audio_projection", audio)
            features.append(graph.node("Relu", projected, name="audio_feature"))
        if visual is not None:
            visual = graph.cast(visual, self.dtype, name="visual_exact")
            if audio is None:  # attention is uniform
                pooled = graph.reduced("ReduceMean", visual, [1, 2], name="mean_token")
            else:
                pooled = self._attended(audio, visual)
            projected = self._linear("visual_projection", pooled)
            features.append(graph.node("Relu", projected, name="visual_feature"))
        feature = features[0] if len(features) == 1 else graph.node("Add", *features, name="feature")
        if network.classifier_weight is not None and network.classifier_bias is not None:
            weight, bias = network.classifier_weight, network.classifier_bias
            return graph.affine(feature, weight.T, bias, name="classifier")
        if network.class_means is not None:
            return self._nearest_mean(feature)
        if isinstance(network.head, LinearHead):
            return graph.affine(feature, network.head.weight.T, network.head.bias, name="head")
        if isinstance(network.head, ProxyHead):
            return self._proxy_logits(feature, network.head)
        raise InputError(
            f"a network with a head of kind {network.head.kind!r} cannot be exported; supported are a linear head, "
            "proxies and the nearest-mean classifier"
        )

    def _linear(self, name: str, value: str) -> str:
        layer = getattr(self.network, name)
        assert isinstance(layer, nn.Linear)
        return self.graph.affine(value, layer.weight.T, layer.bias, name=name)

    def _attended(self, audio: str, visual: str) -> str:
        """x (B, D): A_s = softmax_S(P p), u = sum_S A_s P, A_t = softmax_T(u p), x = sum_T A_t sum_S A_s V."""
        graph = self.graph
        query = graph.node("Tanh", self._linear("audio_attention", audio), name="query")  # p (B, D)
        keys = graph.node("Tanh", self._linear("visual_attention", visual), name="keys")  # P (B, T, S, D)
        by_token = graph.with_axes(query, [1, 2], name="query_by_token")
        by_slice = graph.with_axes(query, [1], name="query_by_slice")
        logits = graph.node("Mul", keys, by_token, name="spatial_logits")
        spatial = graph.node("Softmax", logits, name="spatial_attention", axis=2)
        summary = self._weighted_sum(spatial, keys, 2, "summary")  # u (B, T, D)
        slices = self._weighted_sum(spatial, visual, 2, "slices")
        logits = graph.node("Mul", summary, by_slice, name="temporal_logits")
        temporal = graph.node("Softmax", logits, name="temporal_attention", axis=1)
        return self._weighted_sum(temporal, slices, 1, "attended")

    def _weighted_sum(self, weights: str, values: str, axis: int, name: str) -> str:
        weighted = self.graph.node("Mul", weights, values, name=f"{name}_weighted")
        return self.graph.reduced("ReduceSum", weighted, [axis], name=name)

    def _unit(self, feature: str) -> str:
        """hat(h) (B, D)"""
        return self.graph.unit(feature, self.dtype, name="unit_feature")

    def _nearest_mean(self, feature: str) -> str:
        """-|hat(h) - mu_c|^2 (B, C)"""
        assert self.network.class_means is not None
        by_class = self.graph.with_axes(self._unit(feature), [1], name="feature_by_class")
        difference = self.graph.node("Sub", by_class, self.network.class_means, name="difference")
        squared = self.graph.node("Mul", difference, difference, name="squared_difference")
        distance = self.graph.reduced("ReduceSum", squared, [2], name="distance")
        return self.graph.node("Neg", distance, name="negative_distance")

    def _proxy_logits(self, feature: str, head: ProxyHead) -> str:
        """eta sum_p softmax_p(sim_cp) sim_cp (B, C), sim_cp = 2 hat(h) . hat(w_cp) - 2"""
        graph = self.graph
        proxies = F.normalize(head.all_proxies().detach(), dim=2).flatten(0, 1)  # (C P, D)
        cosine = graph.node("MatMul", self._unit(feature), proxies.T, name="cosine")
        two = graph.constant("two", np.array(2.0, dtype=self.dtype))
        doubled = graph.node("Mul", cosine, two, name="cosine_doubled")
        flat = graph.node("Sub", doubled, two, name="similarity_flat")
        shape = np.array([-1, head.classes, head.proxies], dtype=np.int64)
        similarity = graph.node("Reshape", flat, shape, name="similarity")
        weights = graph.node("Softmax", similarity, name="proxy_weights", axis=2)
        total = self._weighted_sum(weights, similarity, 2, "class_similarity")
        return graph.node("Mul", total, head.scale, name="logits")
