"""What a run will hold in memory, known before it begins: from shapes, batch sizes and the room that it may take.

N clips of a batch, E exemplars, T time slices, S spatial tokens, D width. Everything here is a function of the
configuration, the store and the limit, so a run that is gone on with decides as before.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from math import prod
from pathlib import Path

import torch

from avcil.data.modality import Modality
from avcil.errors import AvcilError, InputError
from avcil.methods.base import GradientMethod
from avcil.methods.exemplars import ExemplarMemory
from avcil.nn.fused_attention import BLOCK_ROWS, BLOCK_ROWS_GPU
from avcil.nn.network import Network
from avcil.training.config import TrainConfig
from avcil.training.device_config import EVALUATION_BYTES, DeviceConfig
from avcil.training.distributed import ProcessGroup
from avcil.training.memory_pool import SHARE, Budget, MemoryPool, device_memory, free_disk, machine_memory
from avcil.training.task_data import TaskData
from avcil.utils.prefetch import DEPTH
from avcil.utils.rng import seeded
from avcil.utils.sizes import bytes_of, in_words

COPIES = 7
"""Of all weights: themselves, gradients, Adam's two averages, the best epoch's, the teacher's, a checkpoint's.

A checkpoint takes more while it is written, between iterations, when their room is free.
"""
BLOCK_WIDTH = 1024
"""D of the widest features that blocks were sized for."""
LENT_BLOCKS = 4
"""Tokens, old maps, gradients of a block, and what a matrix product packs for itself."""
OPERATOR_BLOCKS = 6
"""What PyTorch's operators write of a block where the compiled pass cannot compute: it takes one dtype alone."""
SUMS = 14
"""Arrays of (T, D) a clip on the way through the attention and back: sums, temporal maps, products, their gradients."""
OUTPUT_SUMS = 3
"""Of a batch in parts: the outputs of all parts, together, and the gradients by them."""
SPARE = 64 * 2**20
"""For what is too small to be listed: logits, features, what PyTorch keeps for itself."""


@dataclass(frozen=True, kw_only=True)
class StepClips:
    """How many clips one step holds."""

    new: int
    old: int
    """Exemplars, or all older clips where the method learns from those."""
    validation: int


@dataclass(frozen=True, kw_only=True)
class ClipSizes:
    """Bytes of one clip."""

    stored: int
    """Its tokens as the store has them"""
    tokens: int
    """as they are computed with"""
    keys: int
    """what the attention keeps for the way back"""
    maps: int
    """the teacher's spatial attention"""
    sums: int
    """one sum over its spatial tokens, (T, D)"""
    read: int
    """all its tokens in the dtype of the weights, while their mean is taken"""

    @classmethod
    def of(
        cls,
        method: GradientMethod,
        modality: Modality,
        grid: tuple[int, int, int] | None,
        stored: torch.dtype,
        device_config: DeviceConfig,
    ) -> ClipSizes:
        """Of a clip with tokens `grid` (T, S, D)."""
        if not modality.has_visual or grid is None:
            return cls(stored=0, tokens=0, keys=0, maps=0, sums=0, read=0)
        if not modality.has_audio and not method.whole_tokens:  # its mean token
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
            if modality.has_audio and method.recalls_maps
            else 0,
            sums=grid[0] * grid[2] * device_config.weights.itemsize if modality.has_audio else 0,
            read=0,
        )


@dataclass(frozen=True, kw_only=True)
class MemoryPlan:
    """Rooms and sizes of a run."""

    limit: int
    """Bytes that it may take: of the GPU where it computes on one, else of the machine."""
    device_config: DeviceConfig
    """As given, but for how many clips are asked about at once."""
    sizes: ClipSizes
    network: int
    """Bytes of all copies of the weights."""
    batch: tuple[int, int]
    """New clips and exemplars of a batch at most."""
    at_once: int
    """Clips of a process that go through the network at once."""
    is_in_parts: bool
    """Whether these are fewer than its part of a batch."""
    copies_batches: bool
    """Whether tokens of a batch are copied together: on a GPU, where they come from the store, and mean tokens."""
    data: int
    """Bytes of the limit that are left for clips and for what the teacher said."""
    steps: tuple[StepClips, ...]
    on_machine: int
    """Processes that share the machine"""

    @property
    def clips_at_once(self) -> int | None:
        """None where the whole batch fits."""
        return self.at_once if self.is_in_parts else None

    @property
    def iteration(self) -> int:
        """Bytes that an iteration, or a look at validation clips, holds at its fullest."""
        return max(
            iteration_bytes(
                self.sizes, self.device_config, self.at_once, self.batch, copied=self.copies_batches
            ),
            evaluation_bytes(self.sizes, self.device_config, self.steps),
        )

    def budget(self, folder: Path) -> Budget:
        """What is left for data, with `folder`'s disk for scratch files."""
        disk = MemoryPool(left=free_disk(folder) // self.on_machine)
        if self.device_config.on_gpu:
            host = MemoryPool(left=int(SHARE * machine_memory()) // self.on_machine)
            return Budget(device=MemoryPool(left=self.data), host=host, disk=disk)
        return Budget(host=MemoryPool(left=self.data), disk=disk)

    def held(self, clips: StepClips) -> tuple[int, list[str]]:
        """Bytes of data that a step holds within the limit, and what finds no room there, in words."""
        left, beyond = self.data, []
        per_clip = self.sizes.tokens if self.device_config.on_gpu else self.sizes.stored
        for name, size in (
            ("the validation clips", clips.validation * per_clip),
            ("the training clips", (clips.new + clips.old) * per_clip),
            ("the teacher's attention maps", clips.old * self.sizes.maps),
        ):
            if size > left:
                beyond.append(f"{name} ({in_words(size)})")
            else:
                left -= size
        return self.data - left, beyond

    def text(self) -> str:
        """The peak of the run, and what it consists of."""
        steps = self.steps
        fullest = max(steps, key=lambda clips: self.held(clips)[0])
        held = self.held(fullest)[0]
        beyond = list(dict.fromkeys(words for clips in steps for words in self.held(clips)[1]))
        parts = [f"clips {in_words(held)}", f"an iteration {in_words(self.iteration)}"]
        parts.append(f"network and optimizer {in_words(self.network)}")
        total = in_words(held + self.iteration + self.network)
        allowed = f"of {in_words(self.limit)} allowed ({', '.join(parts)})"
        text = f"memory: {total} at most, beside the program's own, {allowed}"
        if self.clips_at_once is not None:
            text += f"; {self.at_once} clip{'s' if self.at_once > 1 else ''} of a batch at a time"
        if beyond:
            text += f"; no room for {', '.join(beyond[:3])}, which are kept elsewhere, or read or made when needed"
        return text


def iteration_bytes(
    sizes: ClipSizes,
    device_config: DeviceConfig,
    at_once: int,
    batch: tuple[int, int],
    *,
    copied: bool = True,
) -> int:
    """Of `at_once` clips on their way through the network and back: tokens, keys, maps, and blocks at work.

    `copied`: whether the batch's tokens and the teacher's maps of it are copied together, or taken from where they
    stand block by block.
    """
    gathered = sizes.stored if sizes.stored != sizes.tokens else 0
    clip = sizes.keys + (sizes.tokens + gathered if copied else 0)
    rows = BLOCK_ROWS_GPU if device_config.on_gpu else BLOCK_ROWS
    exact = sizes.tokens // device_config.tokens.itemsize * device_config.weights.itemsize
    block = min(at_once * exact, max(exact, rows * BLOCK_WIDTH * device_config.weights.itemsize))
    is_compiled = device_config.on_gpu or device_config.tokens == device_config.weights
    blocks = LENT_BLOCKS if is_compiled else LENT_BLOCKS + OPERATOR_BLOCKS
    outputs = at_once * SUMS * sizes.sums + (sum(batch) * OUTPUT_SUMS * sizes.sums if copied else 0)
    maps = min(at_once, batch[1]) * sizes.maps if copied else 0
    return at_once * clip + maps + outputs + blocks * block + SPARE


def evaluation_bytes(sizes: ClipSizes, device_config: DeviceConfig, steps: Sequence[StepClips]) -> int:
    """Of the clips that a model is asked about at once, those read ahead among them: test clips always are."""
    most = max(clips.validation for clips in steps)
    asked = min(device_config.eval_batch_size_for(sizes.tokens), most) * _asked_clip(sizes)
    pooled = 2 * min(device_config.eval_batch_size_for(sizes.read), most) * sizes.read
    return max(asked, pooled) + SPARE


def _asked_clip(sizes: ClipSizes) -> int:
    """Bytes that a clip takes while a model is asked about it."""
    gathered = sizes.stored if sizes.stored != sizes.tokens else 0
    return (DEPTH + 2) * sizes.tokens + gathered + SUMS * sizes.sums


def plan_memory(
    config: TrainConfig,
    method: GradientMethod,
    device_config: DeviceConfig,
    data: TaskData,
    *,
    memory: ExemplarMemory | None,
    team: ProcessGroup,
) -> MemoryPlan:
    """The plan of a run, or of one process of a team; `memory` is an empty one of the size to be kept.

    Raises InputError where not even one clip at a time fits.
    """
    shared = 1 if device_config.on_gpu else team.on_machine
    limit = (
        bytes_of(config.max_memory) if config.max_memory else device_memory(device_config.device) // shared
    )
    sizes = ClipSizes.of(
        method,
        data.modality,
        data.store.visual_shape,
        getattr(torch, data.store.manifest.dtype),
        device_config,
    )
    network = COPIES * weight_count(method, data) * device_config.weights.itemsize
    steps = tuple(step_clips(method, data, memory))
    batch = _batch(config, method, steps)
    room, share = limit - network, -(-sum(batch) // team.size)
    at_once = _most_clips(sizes, device_config, share, batch, room)
    if at_once == 0:
        needed = 2 * iteration_bytes(sizes, device_config, 1, batch) + network
        raise InputError(
            f"training needs {in_words(needed)} of memory even with one clip at a time; it may take "
            f"{in_words(limit)}. Give --max-memory {-(-needed // 10**6)}MB or more if the machine has it, or use "
            "features with fewer tokens, or --method blade, which keeps sums alone"
        )
    clips = max(1, (room // 2) // max(1, _asked_clip(sizes), 2 * sizes.read))
    asked = min(EVALUATION_BYTES[device_config.device.type], clips * max(1, sizes.tokens, sizes.read))
    plan = MemoryPlan(
        limit=limit,
        device_config=replace(device_config, asked_bytes=asked),
        sizes=sizes,
        network=network,
        batch=batch,
        at_once=at_once,
        is_in_parts=at_once < share,
        copies_batches=device_config.on_gpu or not sizes.keys,
        data=0,
        steps=steps,
        on_machine=team.on_machine,
    )
    plan = replace(plan, data=max(0, room - plan.iteration))
    if all(not plan.held(clips)[1] for clips in steps):
        return plan
    plan = replace(plan, copies_batches=True)
    waiting = (DEPTH + 1) * at_once * sizes.tokens  # batches that are read ahead
    return replace(plan, data=max(0, room - plan.iteration - waiting))


def step_clips(method: GradientMethod, data: TaskData, memory: ExemplarMemory | None) -> Iterator[StepClips]:
    """What each step of a run will hold."""
    for index in range(len(data.benchmark.steps)):
        train = [len(data.rows("train", task)) for task in range(index + 1)]
        known = sum(map(len, data.benchmark.steps[:index]))
        if method.batching == "all":
            old = sum(train[:-1])
        else:
            old = 0 if memory is None or not known else min(known * memory.quota(known), sum(train[:-1]))
        validation = sum(len(data.rows("val", task)) for task in range(index + 1))
        yield StepClips(new=train[-1], old=old, validation=validation)


def weight_count(method: GradientMethod, data: TaskData) -> int:
    """Numbers of the network that knows all classes."""
    widths = {
        "audio_width": data.store.audio_width or 0,
        "visual_width": (data.store.visual_shape or (0, 0, 0))[2],
    }
    with seeded(0, "count"):
        head = method.build_head(Network.feature_width(data.modality, **widths))
        head.grow(len(data.benchmark.classes))
        network = Network(data.modality, head=head, **widths)
    return sum(tensor.numel() for tensor in network.state_dict().values())


def _batch(config: TrainConfig, method: GradientMethod, steps: Sequence[StepClips]) -> tuple[int, int]:
    """New clips and exemplars of the largest batch."""
    if method.batching == "paired":
        new, old = max(clips.new for clips in steps), max(clips.old for clips in steps)
        return min(config.batch_size, new), min(config.exemplar_batch_size, old)
    return min(config.batch_size, max(clips.new + clips.old for clips in steps)), 0


def _most_clips(
    sizes: ClipSizes, device_config: DeviceConfig, share: int, batch: tuple[int, int], room: int
) -> int:
    """The most clips at once, `share` at most, that leave half of the room to data; 0 if one does not."""
    low, high = 0, share
    while low < high:
        middle = (low + high + 1) // 2
        if iteration_bytes(sizes, device_config, middle, batch) <= room // 2:
            low = middle
        else:
            high = middle - 1
    return low


@contextmanager
def memory_errors(config: TrainConfig) -> Iterator[None]:
    """Where memory runs out in spite of the plan, say what to change."""
    try:
        yield
    except (torch.OutOfMemoryError, MemoryError) as error:
        raise out_of_memory(config) from error
    except RuntimeError as error:  # PyTorch's word for it where the processor computes
        if "can't allocate memory" not in str(error):
            raise
        raise out_of_memory(config) from error


def out_of_memory(config: TrainConfig) -> AvcilError:
    """The error of a run that met other users of its memory."""
    asked = f"--max-memory {config.max_memory}" if config.max_memory else "its share of the memory"
    return AvcilError(
        f"memory ran out: something else uses what training planned to use, {asked}. Run the same command again with a "
        "smaller --max-memory, such as half of what is free; it goes on from the last checkpoint"
    )
