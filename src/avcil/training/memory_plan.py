"""The memory plan of a run, computed before it starts.

The plan depends only on the configuration, the store and the limit, so a resumed run makes the same decisions.
T time slices, S spatial tokens, D width.
"""

from __future__ import annotations

import bisect
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

import torch

from avcil.errors import AvcilError, InputError
from avcil.methods.base import GradientMethod
from avcil.methods.exemplars import ExemplarMemory
from avcil.training.config import TrainConfig
from avcil.training.device_config import EVALUATION_BYTES, DeviceConfig
from avcil.training.distributed import ProcessGroup
from avcil.training.memory_pool import (
    HOST_FRACTION,
    Budget,
    MemoryPool,
    device_memory,
    free_disk,
    host_memory,
)
from avcil.training.memory_sizes import (
    COPIES,
    ClipSizes,
    StepClips,
    evaluated_clip_bytes,
    evaluation_bytes,
    iteration_bytes,
    weight_count,
)
from avcil.training.task_data import TaskData
from avcil.utils.byte_sizes import format_bytes, parse_bytes
from avcil.utils.prefetch import DEPTH


@dataclass(frozen=True, kw_only=True)
class MemoryPlan:
    """Memory of a run: the limit, and how it is divided."""

    limit: int
    """Bytes that the run may use: of the GPU if one is used, else of main memory."""
    device_config: DeviceConfig
    """As given, but with the batch size for evaluation that fits."""
    sizes: ClipSizes
    network: int
    """Bytes of all copies of the weights."""
    batch: tuple[int, int]
    """Maximum numbers of new clips and exemplars in a batch."""
    clips_per_pass: int
    """Clips per forward pass of a process."""
    is_in_parts: bool
    """Whether that is less than the batch of the process, which is then processed in parts."""
    copies_batches: bool
    """Whether tokens of a batch are copied: on a GPU, if they are read from the store, and for mean tokens."""
    data: int
    """Bytes that remain for clips and cached teacher outputs."""
    steps: tuple[StepClips, ...]
    local_size: int
    """Number of processes on this machine."""

    @property
    def clips_at_once(self) -> int | None:
        """Clips per part of a batch; None if the whole batch fits."""
        return self.clips_per_pass if self.is_in_parts else None

    @property
    def iteration(self) -> int:
        """Peak bytes of a training iteration or of the evaluation of validation clips."""
        return max(
            iteration_bytes(
                self.sizes, self.device_config, self.clips_per_pass, self.batch, copied=self.copies_batches
            ),
            evaluation_bytes(self.sizes, self.device_config, self.steps),
        )

    def budget(self, folder: Path) -> Budget:
        """The budget for data; temporary files are on the disk of `folder`."""
        disk = MemoryPool(available=free_disk(folder) // self.local_size)
        if self.device_config.on_gpu:
            host = MemoryPool(available=int(HOST_FRACTION * host_memory()) // self.local_size)
            return Budget(device=MemoryPool(available=self.data), host=host, disk=disk)
        return Budget(host=MemoryPool(available=self.data), disk=disk)

    def stored(self, clips: StepClips) -> tuple[int, list[str]]:
        """Bytes of the data of a step that fit within the limit, and a description of the data that do not fit."""
        remaining, not_fitting = self.data, []
        per_clip = self.sizes.tokens if self.device_config.on_gpu else self.sizes.stored
        for name, size in (
            ("the validation clips", clips.validation * per_clip),
            ("the training clips", (clips.new + clips.old) * per_clip),
            ("the teacher's attention maps", clips.old * self.sizes.maps),
        ):
            if size > remaining:
                not_fitting.append(f"{name} ({format_bytes(size)})")
            else:
                remaining -= size
        return self.data - remaining, not_fitting

    def text(self) -> str:
        """The peak memory of the run and its parts, for the user."""
        by_step = [self.stored(clips) for clips in self.steps]
        clips = max(size for size, _ in by_step)
        not_fitting = list(dict.fromkeys(words for _, names in by_step for words in names))
        parts = [f"clips {format_bytes(clips)}", f"an iteration {format_bytes(self.iteration)}"]
        parts.append(f"network and optimizer {format_bytes(self.network)}")
        total = format_bytes(clips + self.iteration + self.network)
        allowed = f"of {format_bytes(self.limit)} allowed ({', '.join(parts)})"
        text = f"memory: at most {total} in addition to the program itself, {allowed}"
        if self.clips_at_once is not None:
            text += (
                f"; {self.clips_per_pass} clip{'s' if self.clips_per_pass > 1 else ''} of a batch at a time"
            )
        if not_fitting:
            text += f"; no memory for {', '.join(not_fitting[:3])}, which are stored elsewhere or loaded when needed"
        return text


def plan_memory(
    config: TrainConfig,
    method: GradientMethod,
    device_config: DeviceConfig,
    data: TaskData,
    *,
    memory: ExemplarMemory | None,
    process_group: ProcessGroup,
) -> MemoryPlan:
    """The plan of a run, for this process.

    Args:
        config: Options of the run.
        method: The method.
        device_config: Device and dtypes.
        data: The clips of each step.
        memory: An empty exemplar memory of the configured size.
        process_group: The processes of the run.

    Raises:
        InputError: Not even a single clip fits.
    """
    limit = _memory_limit(config, device_config, process_group)
    stored = getattr(torch, data.store.manifest.dtype)
    sizes = ClipSizes.of(method, data.modality, data.store.visual_shape, stored, device_config)
    network = COPIES * weight_count(method, data) * device_config.weights.itemsize
    steps = tuple(_step_clips(method, data, memory))
    batch = _batch(config, method, steps)
    available, shard_size = limit - network, -(-sum(batch) // process_group.size)
    clips_per_pass = _clips_per_pass(sizes, device_config, shard_size, batch, available)
    if clips_per_pass == 0:
        raise _limit_too_small(limit, 2 * iteration_bytes(sizes, device_config, 1, batch) + network)
    plan = MemoryPlan(
        limit=limit,
        device_config=replace(device_config, eval_bytes=_eval_bytes(sizes, device_config, available)),
        sizes=sizes,
        network=network,
        batch=batch,
        clips_per_pass=clips_per_pass,
        is_in_parts=clips_per_pass < shard_size,
        copies_batches=device_config.on_gpu or not sizes.keys,
        data=0,
        steps=steps,
        local_size=process_group.local_size,
    )
    plan = replace(plan, data=max(0, available - plan.iteration))
    return plan if all(not plan.stored(clips)[1] for clips in steps) else _with_prefetching(plan, available)


def _with_prefetching(plan: MemoryPlan, available: int) -> MemoryPlan:
    """The plan if clips do not fit, so that batches are read from the store and copied."""
    plan = replace(plan, copies_batches=True)
    prefetched = (DEPTH + 1) * plan.clips_per_pass * plan.sizes.tokens
    return replace(plan, data=max(0, available - plan.iteration - prefetched))


def _memory_limit(config: TrainConfig, device_config: DeviceConfig, process_group: ProcessGroup) -> int:
    """Bytes that this process may use: as configured, or its part of the memory of the device."""
    if config.max_memory:
        return parse_bytes(config.max_memory)
    return device_memory(device_config.device) // (1 if device_config.on_gpu else process_group.local_size)


def _limit_too_small(limit: int, needed: int) -> InputError:
    """The error for a limit below the bytes that training needs with one clip at a time."""
    return InputError(
        f"training needs {format_bytes(needed)} of memory even with one clip at a time; the limit is "
        f"{format_bytes(limit)}. Give --max-memory {-(-needed // 10**6)}MB or more if the machine has it, or use "
        "features with fewer tokens, or --method blade, which stores only sums"
    )


def _eval_bytes(sizes: ClipSizes, device_config: DeviceConfig, available: int) -> int:
    """Bytes of visual tokens per evaluation batch, which needs at most half of the available memory."""
    clips = max(1, (available // 2) // max(1, evaluated_clip_bytes(sizes), 2 * sizes.read))
    return min(EVALUATION_BYTES[device_config.device.type], clips * max(1, sizes.tokens, sizes.read))


def _step_clips(method: GradientMethod, data: TaskData, memory: ExemplarMemory | None) -> Iterator[StepClips]:
    """The numbers of clips of each step."""
    for index in range(len(data.benchmark.steps)):
        train = [len(data.rows("train", task)) for task in range(index + 1)]
        known = sum(map(len, data.benchmark.steps[:index]))
        if method.batching == "all":
            old = sum(train[:-1])
        else:
            old = 0 if memory is None or not known else min(known * memory.quota(known), sum(train[:-1]))
        validation = sum(len(data.rows("val", task)) for task in range(index + 1))
        yield StepClips(new=train[-1], old=old, validation=validation)


def _batch(config: TrainConfig, method: GradientMethod, steps: Sequence[StepClips]) -> tuple[int, int]:
    """New clips and exemplars of the largest batch."""
    if method.batching == "paired":
        new, old = max(clips.new for clips in steps), max(clips.old for clips in steps)
        return min(config.batch_size, new), min(config.exemplar_batch_size, old)
    return min(config.batch_size, max(clips.new + clips.old for clips in steps)), 0


def _clips_per_pass(
    sizes: ClipSizes, device_config: DeviceConfig, shard_size: int, batch: tuple[int, int], available: int
) -> int:
    """The largest number of clips per pass, at most `shard_size`, that needs at most half of the available memory."""

    def needed(clips: int) -> int:
        return iteration_bytes(sizes, device_config, clips, batch)

    return bisect.bisect_right(range(1, shard_size + 1), available // 2, key=needed)


@contextmanager
def memory_errors(config: TrainConfig) -> Iterator[None]:
    """Turn out-of-memory errors into an error with advice."""
    try:
        yield
    except (torch.OutOfMemoryError, MemoryError) as error:
        raise _out_of_memory(config) from error
    except RuntimeError as error:  # PyTorch raises it on the CPU
        if "can't allocate memory" not in str(error):
            raise
        raise _out_of_memory(config) from error


def _out_of_memory(config: TrainConfig) -> AvcilError:
    """The error of a run that ran out of memory although the plan fits, because other programs use memory."""
    limit = f"--max-memory {config.max_memory}" if config.max_memory else "its default limit"
    return AvcilError(
        f"memory ran out: other programs use memory that training planned to use ({limit}). Run the same command again "
        "with a smaller --max-memory, such as half of the free memory; it resumes from the last checkpoint"
    )
