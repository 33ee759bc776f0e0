"""Memory that training needs, in bytes, computed from shapes and batch sizes.

N clips of a batch, E exemplars, T time slices, S spatial tokens, D width.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import prod

import torch

from avcil.data.modality import Modality
from avcil.methods.base import GradientMethod
from avcil.nn.fused_attention import BLOCK_ROWS, BLOCK_ROWS_GPU
from avcil.nn.network import Network
from avcil.training.device_config import DeviceConfig
from avcil.training.task_data import TaskData
from avcil.utils.prefetch import DEPTH
from avcil.utils.rng import seeded

COPIES = 7
"""Copies of the weights: weights, gradients, two moments of Adam, the best epoch, the teacher, a checkpoint.

Writing a checkpoint needs more, but it happens between iterations, when their memory is free.
"""

_BLOCK_WIDTH = 1024
"""Width D for which the number of rows of a block was chosen."""

_WORKSPACE_BLOCKS = 4
"""Blocks of the fused attention: tokens, teacher maps, gradients, and packed operands of a matrix product."""

_OPERATOR_BLOCKS = 6
"""Further blocks if PyTorch operators replace the compiled kernel, which needs a single dtype."""

_ATTENTION_ARRAYS = 14
"""Arrays (T, D) per clip in the attention, forward and backward: sums, temporal maps, products, gradients."""

_OUTPUT_ARRAYS = 3
"""Arrays (T, D) per clip for the outputs of all parts of a batch and their gradients."""

OVERHEAD = 64 * 2**20
"""Bytes for small tensors: logits, features, and buffers of PyTorch."""


@dataclass(frozen=True, kw_only=True)
class StepClips:
    """Number of clips of one step."""

    new: int
    old: int
    """Exemplars, or all clips of earlier steps if the method trains on those."""
    validation: int


@dataclass(frozen=True, kw_only=True)
class ClipSizes:
    """Bytes of memory for one clip."""

    stored: int
    """tokens in the dtype of the store"""
    tokens: int
    """tokens in the dtype of the computation"""
    keys: int
    """keys that the attention stores for the backward pass"""
    maps: int
    """spatial attention maps of the teacher"""
    sums: int
    """one sum over its spatial tokens, (T, D)"""
    read: int
    """all tokens in the dtype of the weights, while their mean is computed"""

    @classmethod
    def of(
        cls,
        method: GradientMethod,
        modality: Modality,
        grid: tuple[int, int, int] | None,
        stored: torch.dtype,
        device_config: DeviceConfig,
    ) -> ClipSizes:
        """Sizes of a clip with tokens (T, S, D); `grid` is that shape."""
        if not modality.has_visual or grid is None:
            return cls(stored=0, tokens=0, keys=0, maps=0, sums=0, read=0)
        if not modality.has_audio and not method.needs_all_tokens:  # only the mean token is stored
            size = grid[2] * device_config.weights.itemsize
            return cls(
                stored=size,
                tokens=size,
                keys=0,
                maps=0,
                sums=0,
                read=prod(grid) * device_config.weights.itemsize,
            )
        tokens = prod(grid) * device_config.tokens.itemsize
        return cls(
            stored=prod(grid) * stored.itemsize,
            tokens=tokens,
            keys=tokens if modality.has_audio else 0,
            maps=prod(grid) * device_config.weights.itemsize
            if modality.has_audio and method.uses_teacher_attention
            else 0,
            sums=grid[0] * grid[2] * device_config.weights.itemsize if modality.has_audio else 0,
            read=0,
        )


def iteration_bytes(
    sizes: ClipSizes,
    device_config: DeviceConfig,
    clips_per_pass: int,
    batch: tuple[int, int],
    *,
    copied: bool = True,
) -> int:
    """Bytes for forward and backward pass of `clips_per_pass` clips: tokens, keys, maps, blocks.

    `copied`: whether tokens and teacher maps of the batch are copied, or read block by block from their tables.
    """
    gathered = sizes.stored if sizes.stored != sizes.tokens else 0
    clip = sizes.keys + (sizes.tokens + gathered if copied else 0)
    rows = BLOCK_ROWS_GPU if device_config.on_gpu else BLOCK_ROWS
    exact = sizes.tokens // device_config.tokens.itemsize * device_config.weights.itemsize
    block = min(clips_per_pass * exact, max(exact, rows * _BLOCK_WIDTH * device_config.weights.itemsize))
    is_compiled = device_config.on_gpu or device_config.tokens == device_config.weights
    blocks = _WORKSPACE_BLOCKS if is_compiled else _WORKSPACE_BLOCKS + _OPERATOR_BLOCKS
    outputs = clips_per_pass * _ATTENTION_ARRAYS * sizes.sums + (
        sum(batch) * _OUTPUT_ARRAYS * sizes.sums if copied else 0
    )
    maps = min(clips_per_pass, batch[1]) * sizes.maps if copied else 0
    return clips_per_pass * clip + maps + outputs + blocks * block + OVERHEAD


def evaluation_bytes(sizes: ClipSizes, device_config: DeviceConfig, steps: Sequence[StepClips]) -> int:
    """Bytes for one evaluation batch, including prefetched clips (test clips are always prefetched)."""
    most = max(clips.validation for clips in steps)
    evaluated = min(device_config.eval_batch_size_for(sizes.tokens), most) * evaluated_clip_bytes(sizes)
    pooled = 2 * min(device_config.eval_batch_size_for(sizes.read), most) * sizes.read
    return max(evaluated, pooled) + OVERHEAD


def evaluated_clip_bytes(sizes: ClipSizes) -> int:
    """Bytes per clip in an evaluation batch."""
    gathered = sizes.stored if sizes.stored != sizes.tokens else 0
    return (DEPTH + 2) * sizes.tokens + gathered + _ATTENTION_ARRAYS * sizes.sums


def weight_count(method: GradientMethod, data: TaskData) -> int:
    """Number of weights of the network with all classes."""
    widths = {
        "audio_width": data.store.audio_width or 0,
        "visual_width": (data.store.visual_shape or (0, 0, 0))[2],
    }
    with seeded(0, "count"):
        head = method.build_head(Network.feature_width(data.modality, **widths))
        head.add_classes(len(data.benchmark.classes))
        network = Network(data.modality, head=head, **widths)
    return sum(tensor.numel() for tensor in network.state_dict().values())
