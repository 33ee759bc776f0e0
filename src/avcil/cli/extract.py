"""`avcil extract`: from a clip list to a feature store."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

from tyro.conf import Positional, arg


@dataclass(frozen=True, kw_only=True)
class Args:
    """Compute the features of the clips in a list and write them to a feature store. The same command resumes an
    interrupted extraction."""

    clips: Positional[Path]
    """The clip list, a CSV file with path,label,split[,start,end][,clip_id]. `avcil scan` writes one."""
    out: Path
    """The folder of the feature store. An existing store is resumed."""
    visual: str | None = None
    """Visual encoder: patch-motion, efficientnet-lite0, videomae-base, hf:MODEL (a Hugging Face model or a
    folder), several joined by +, or none. Default: patch-motion+efficientnet-lite0."""
    audio: str | None = None
    """Audio encoder: log-mel, yamnet, audiomae[:CHECKPOINT], hf:MODEL (a Hugging Face model or a folder), several
    joined by +, or none. Default: log-mel+yamnet."""
    joint: str | None = None
    """One encoder for both modalities instead of --visual and --audio: hf:MODEL of the PE-AV family. Every clip
    must have audio and frames."""
    audio_tokens: bool = False
    """Also store the tokens that the audio vector is computed from, for your own methods. yamnet, audiomae and AST
    support this; combined encoders do not."""
    missing: str = "skip"
    """Clips without audio or without frames: skip lists them in failures.csv, keep stores the modality that
    exists, fail stops."""
    dtype: Literal["float16", "float32"] = "float16"
    """Data type of stored features. float16 takes half the disk space."""
    add: bool = False
    """Also use stored clips that this list does not name. By default they stay in the store, but training does not
    use them."""
    retry_failed: bool = False
    """Try clips again that failed in an earlier run."""
    workers: int | None = None
    """Number of processes that decode clips. Default: one per CPU core."""
    batch_size: int | Literal["auto"] = 16
    """Clips encoded together. auto measures a fast size once per store."""
    shard_size: int = 64
    """Minimum number of clips in one file of the store, from 1 to 1024; the last file can have fewer. A killed run
    loses the clips that are not in a complete file yet."""
    device: str | None = None
    """Device of the encoders: cpu, cuda, cuda:1, ... Default: a GPU if there is one and the encoder supports it."""
    precision: Literal["float32", "bfloat16"] | None = None
    """Data type of the computation. Default: bfloat16 on a GPU, float32 on a CPU."""
    part: Annotated[str | None, arg(name="shard", aliases=["--part"])] = None  # aliases are shown first
    """I/N, such as 2/4: encode only the I-th of N parts of the list. N commands, on one or several machines, fill
    one store. --shard is the former name."""
    ray: str | None = None
    """Run on a Ray cluster: HOST:PORT, auto for the running one on this machine, local to start one. Its nodes
    must have the clips at the same paths. Needs the extra [distributed]."""
    clip_seconds: float = 300.0
    """Time limit for reading one clip, in seconds. A clip that takes longer is listed as failed."""
    clip_megabytes: int = 2048
    """Memory limit for reading one clip, in MB."""


def run(args: Args) -> None:
    """Extract, and print the report."""
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
        part=args.part,
        ray=args.ray,
        limits=ReadLimits(seconds=args.clip_seconds, megabytes=args.clip_megabytes),
    )
    print(report.text())
