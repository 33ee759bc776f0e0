"""`avcil extract`: from a clip list to a feature store."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from tyro.conf import Positional


@dataclass(frozen=True, kw_only=True)
class Args:
    """Encode the clips of a list into a feature store. The same command again goes on where it stopped."""

    clips: Positional[Path]
    """The clip list, a CSV with path,label,split[,start,end][,clip_id]; `avcil scan` makes one."""
    out: Path
    """The folder of the feature store, new or begun before."""
    visual: str | None = None
    """The visual encoder: patch-motion, efficientnet-lite0, videomae-base, hf:MODEL (a Hugging Face model or a folder),
    several joined by +, or none. Unless given: patch-motion+efficientnet-lite0."""
    audio: str | None = None
    """The audio encoder: log-mel, yamnet, audiomae[:CHECKPOINT], hf:MODEL (a Hugging Face model or a folder), several
    joined by +, or none. Unless given: log-mel+yamnet."""
    joint: str | None = None
    """One encoder of frames and sound together, instead of --visual and --audio: hf:MODEL of the family PE-AV. Every
    clip must have picture and sound."""
    audio_tokens: bool = False
    """Store the tokens that the audio vector is made of as well, for methods of your own. yamnet, audiomae and
    AST have them; combined encoders have none."""
    missing: str = "skip"
    """A clip without picture or sound: skip lists it in failures.csv, keep stores what it has, fail stops."""
    dtype: Literal["float16", "float32"] = "float16"
    """How features are stored: float16 takes half the disk."""
    add: bool = False
    """Keep clips in use that the store holds and this list does not name. Otherwise the store keeps them, but training
    does not use them."""
    retry_failed: bool = False
    """Try the clips again that failed in an earlier run."""
    workers: int | None = None
    """Clips read at once, each by a process of its own; one a processor core unless given."""
    batch_size: int | Literal["auto"] = 16
    """Clips encoded together; auto measures what is fast once for a store."""
    shard_size: int = 64
    """Clips a file of the store, at least, up to 1,024. A run that is killed loses at most so many."""
    device: str | None = None
    """Where encoders run: cpu, cuda, cuda:1, ...; a GPU if there is one, for encoders that can use it."""
    precision: Literal["float32", "bfloat16"] | None = None
    """What encoders compute in; bfloat16 on a GPU, float32 on the processor unless given."""
    shard: str | None = None
    """I/N, such as 2/4: encode only the I-th of N parts of the list. N calls, on N machines perhaps, fill one store."""
    ray: str | None = None
    """Work on a Ray cluster: HOST:PORT, auto for the one of this machine, local for a new one. Its nodes must have
    the clips on the same paths. Needs the extra [distributed]."""
    clip_seconds: float = 300.0
    """Time that reading one clip may take; then it is listed as failed."""
    clip_megabytes: int = 2048
    """Memory that reading one clip may take."""


def run(args: Args) -> None:
    """Extract, and print what was stored and what was not."""
    from avcil.data.clips import read_clips
    from avcil.extraction.extract import extract
    from avcil.media.reader import ReadLimits

    report = extract(
        read_clips(args.clips),
        args.out,
        visual=args.visual,
        audio=args.audio,
        joint=args.joint,
        missing=args.missing,
        dtype=args.dtype,
        retry_failed=args.retry_failed,
        add=args.add,
        workers=args.workers,
        batch_size=args.batch_size,
        shard_size=args.shard_size,
        device=args.device,
        precision=args.precision,
        audio_tokens=args.audio_tokens,
        part=args.shard,
        ray=args.ray,
        limits=ReadLimits(seconds=args.clip_seconds, megabytes=args.clip_megabytes),
    )
    print(report.text())
