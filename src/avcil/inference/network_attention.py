"""The audio-guided attention of a network on one clip.

T time slices, S spatial tokens, Da and Dv widths of audio and visual features.
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from avcil.nn.network import Network


def network_attention(network: Network, audio: Tensor, visual: Tensor) -> tuple[np.ndarray, np.ndarray]:
    """Spatial (T, S) and temporal (T,) attention on one clip, audio (1, Da) and visual (1, T, S, Dv).

    The network has one map per channel. The result is their mean, weighted by the influence |x_d dz/dx_d| of each
    channel on the largest logit z, where x are the attended tokens.
    """
    with torch.inference_mode(False), torch.enable_grad():
        output = network(audio.clone(), visual.clone(), maps=True)
        (gradient,) = torch.autograd.grad(network.classify(output).max(), output.attended)
    weight = (gradient * output.attended).abs()[0].detach()
    weight = weight / weight.sum() if weight.sum() > 0 else torch.full_like(weight, 1 / len(weight))
    spatial = (output.spatial_log.detach().exp() @ weight)[0].double().numpy()
    temporal = (output.temporal_log.detach().exp() @ weight)[0].double().numpy()
    return spatial, temporal
