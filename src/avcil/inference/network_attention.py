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

    There is one map per channel. Channels are weighted by their influence |x_d dz/dx_d| on the largest logit z, where
    x are the attended tokens, so that channels which do not matter for this clip do not show.
    """
    with torch.inference_mode(False), torch.enable_grad():
        output = network(audio.clone(), visual.clone(), maps=True)
        (slope,) = torch.autograd.grad(network.classify(output).max(), output.attended)
    share = (slope * output.attended).abs()[0].detach()
    share = share / share.sum() if share.sum() > 0 else torch.full_like(share, 1 / len(share))
    spatial = (output.spatial_log.detach().exp() @ share)[0].double().numpy()
    temporal = (output.temporal_log.detach().exp() @ share)[0].double().numpy()
    return spatial, temporal
