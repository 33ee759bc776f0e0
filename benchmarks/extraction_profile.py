"""Profile of an extraction, compared with FFmpeg's decoding and the computation of the encoders alone.

    python benchmarks/extraction_profile.py CLIPS.csv [--clips 64] [--visual NAME] [--audio NAME] [--rounds 3]

Each stage is run alone over the clips, by one thread, and given in milliseconds of processor time a clip, so that other
work on the machine matters little; the figures are medians over rounds.

    open             open the container and find its streams
    demux            read all packets
    decode           decode all frames and audio (`decode all` in FFmpeg's sense: open and demux are in it)
    read             what avcil does for a clip: decode what is needed, choose, scale, resample (`read_clip`)
    encoders         each part of the encoders, in batches of 16
    store            write and commit a store of float16
    extract          `avcil.extraction.extract` with all processes and threads that it starts

The last lines compare `extract` with `decode` and `encoders` together, and give clips a second by the clock. With
`--pair VISUAL AUDIO` the clips a second of another pair of encoders are measured in turns with it.
"""

from __future__ import annotations

import argparse
import os
import shutil
import statistics
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import av
import numpy as np
import torch

from avcil.data.clips import Clip, read_clips
from avcil.encoders.registry import audio_encoder, visual_encoder
from avcil.extraction.encoding import EncoderOptions, Encoders
from avcil.extraction.extract import extract
from avcil.extraction.read_ahead import DecodeSpec, ReadClip, read_one
from avcil.features.writer import FeatureWriter

BATCH = 16


def processor_seconds() -> float:
    """CPU time of this process and of its child processes that have ended."""
    times = os.times()
    return times.user + times.system + times.children_user + times.children_system


def measured(work: Callable[[], object], rounds: int) -> float:
    """Median of the CPU seconds of `work`."""
    result = []
    for _ in range(rounds):
        start = processor_seconds()
        work()
        result.append(processor_seconds() - start)
    return statistics.median(result)


def open_all(clips: Sequence[Clip]) -> None:
    """Open the files."""
    for clip in clips:
        with av.open(str(clip.path)):
            pass


def demux_all(clips: Sequence[Clip]) -> None:
    """Read every packet."""
    for clip in clips:
        with av.open(str(clip.path)) as container:
            for _ in container.demux():
                pass


def decode_all(clips: Sequence[Clip]) -> None:
    """Decode all frames and audio, with one thread per stream."""
    for clip in clips:
        with av.open(str(clip.path)) as container:
            for stream in (*container.streams.video, *container.streams.audio):
                stream.codec_context.thread_count = 1
            for packet in container.demux():
                if packet.stream.type in ("video", "audio"):
                    packet.decode()


def read_all(clips: Sequence[Clip], wanted: DecodeSpec) -> list[ReadClip]:
    """Read as the reader processes of an extraction do."""
    return [read_one(clip, wanted) for clip in clips]


def in_batches(encode: Callable[[list[Any]], np.ndarray], inputs: Sequence[Any]) -> None:
    """Encode `BATCH` clips at a time."""
    for begin in range(0, len(inputs), BATCH):
        encode(list(inputs[begin : begin + BATCH]))


def store_all(read: Sequence[ReadClip], encoders: Encoders) -> Callable[[], None]:
    """A function that writes the features of these clips to a store, which is removed again."""
    arrays = [encoders.encode([clip])[0] for clip in read]

    def write() -> None:
        with tempfile.TemporaryDirectory() as folder:
            manifest = encoders.manifest(missing="skip", dtype="float16")
            with FeatureWriter(Path(folder) / "store", manifest, shard_size=64) as writer:
                for clip, values in zip(read, arrays, strict=True):
                    writer.add(clip.clip, **values)  # type: ignore[arg-type]

    return write


def parts_of(encoders: Encoders, read: Sequence[ReadClip]) -> dict[str, Callable[[], None]]:
    """Functions that encode the clips with each part of the encoders."""
    result: dict[str, Callable[[], None]] = {}
    visual, audio = encoders.visual, encoders.audio
    assert visual is not None
    assert audio is not None
    for part in visual.parts:
        number = visual.samplings.index(part.samplings[0])  # type: ignore[attr-defined]
        frames = [(clip.frames, *clip.extra_frames)[number] for clip in read]
        result[part.name] = lambda part=part, frames=frames: in_batches(part.encode, frames)  # type: ignore[misc]
    for part in audio.parts:
        waveforms = [clip.waveform for clip in read]
        result[part.name] = lambda part=part, waveforms=waveforms: in_batches(part.encode, waveforms)  # type: ignore[misc]
    return result


def clips_a_second(clips: Sequence[Clip], visual: str, audio: str) -> tuple[float, float]:
    """CPU seconds of `extract`, and clips per second of wall time; encoders are loaded before."""
    encoders = {"visual": visual_encoder(visual), "audio": audio_encoder(audio)}
    folder = Path(tempfile.mkdtemp())
    try:
        extract(clips[:2], folder / "first", **encoders)  # type: ignore[arg-type]
        start, clock = processor_seconds(), time.perf_counter()
        extract(clips, folder / "store", **encoders)  # type: ignore[arg-type]
        return processor_seconds() - start, len(clips) / (time.perf_counter() - clock)
    finally:
        shutil.rmtree(folder)


def profile(clips: Sequence[Clip], visual: str, audio: str, rounds: int) -> float:
    """Lines of the table; milliseconds of FFmpeg's decoding and the encoders in total."""
    encoders = EncoderOptions(visual=visual, audio=audio, device="cpu").build()
    read = read_all(clips, encoders.decode_spec)
    parts = parts_of(encoders, read)
    stages: dict[str, Callable[[], object]] = {
        "open": lambda: open_all(clips),
        "demux": lambda: demux_all(clips),
        "decode": lambda: decode_all(clips),
        "read": lambda: read_all(clips, encoders.decode_spec),
        **parts,
        "store": store_all(read, encoders),
    }
    print(f"{len(clips)} clips, milliseconds of processor time a clip\n\n| stage | ms |\n|---|---:|")
    result = {}
    for name, work in stages.items():
        result[name] = 1000 * measured(work, rounds) / len(clips)
        print(f"| {name} | {result[name]:.1f} |", flush=True)
    return result["decode"] + sum(result[name] for name in parts)


def compare(clips: Sequence[Clip], pairs: Sequence[tuple[str, str]], rounds: int, least: float) -> None:
    """Complete extractions with each pair of encoders in turns; the first is compared with `least` milliseconds."""
    runs: dict[tuple[str, str], list[tuple[float, float]]] = {pair: [] for pair in pairs}
    for _ in range(rounds):
        for pair in pairs:
            runs[pair].append(clips_a_second(clips, *pair))
    whole = 1000 * statistics.median(seconds for seconds, _ in runs[pairs[0]]) / len(clips)
    print(f"| extract | {whole:.1f} |\n")
    print(f"decode and encoders: {least:.1f} ms; extract is {whole / least:.2f} times that")
    for pair, values in runs.items():
        print(f"{' and '.join(pair)}: {statistics.median(rate for _, rate in values):.1f} clips a second")


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("list", type=Path)
    parser.add_argument("--clips", type=int, default=64)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--visual", default="patch-motion+efficientnet-lite0")
    parser.add_argument("--audio", default="log-mel+yamnet")
    parser.add_argument("--pair", nargs=2, metavar=("VISUAL", "AUDIO"))
    options = parser.parse_args()
    every = read_clips(options.list)
    clips = every[:: max(1, len(every) // options.clips)][: options.clips]
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    least = profile(clips, options.visual, options.audio, options.rounds)
    torch.set_num_threads(threads)
    pairs = [(options.visual, options.audio), *([tuple(options.pair)] if options.pair else [])]
    compare(clips, pairs, options.rounds, least)


if __name__ == "__main__":
    main()
