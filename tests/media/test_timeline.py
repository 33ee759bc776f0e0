"""The duration of files without one in the header, and time stamps that jump."""

from __future__ import annotations

from fractions import Fraction

import av
import numpy as np
import pytest

import avcil.media.timeline as module
from avcil.data.clips import Clip
from avcil.extraction.read_ahead import DecodeSpec, read_one
from avcil.media import probe, read_clip
from avcil.media.windows import duration_of, read_windows, window_spans
from avcil.utils.frame_sampling import FrameSampling

RATE = 16_000
FORMS = {  # file name, FFmpeg's format, codec, options of the format, options of the codec
    "aac": ("a.aac", "adts", "aac", {}, {"b": "96000"}),
    "mp3": ("a.mp3", "mp3", "libmp3lame", {"write_xing": "0"}, {"global_quality": "118", "flags": "+qscale"}),
}


def write_audio(path, form, codec, samples, rate=RATE, *, options=None, coding=None, layout="mono"):
    """Encode samples (N,) or (N, C)."""
    samples = np.atleast_2d(samples.T).astype(np.float32)  # (C, N)
    with av.open(str(path), "w", format=form, options=options or {}) as container:
        track = container.add_stream(codec, rate=rate, layout=layout)
        track.options = coding or {}
        for begin in range(0, samples.shape[1], 1024):
            block = np.ascontiguousarray(samples[:, begin : begin + 1024])
            frame = av.AudioFrame.from_ndarray(block, format="fltp", layout=layout)
            frame.sample_rate, frame.pts, frame.time_base = rate, begin, Fraction(1, rate)
            container.mux(track.encode(frame))
        container.mux(track.encode(None))


def noise(seconds, level=0.3):
    return (level * np.random.default_rng(0).standard_normal(round(seconds * RATE))).clip(-1, 1)


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("loud_first", [True, False])
def test_duration_of_audio_without_index(tmp_path, form, loud_first):
    """Noise and silence have different bit rates, from one of which FFmpeg estimates a wrong duration."""
    name, container, codec, options, coding = FORMS[form]
    parts = [noise(10), np.zeros(10 * RATE)]
    samples = np.concatenate(parts if loud_first else parts[::-1])
    path = tmp_path / name
    write_audio(path, container, codec, samples, options=options, coding=coding)
    with av.open(str(path)) as opened:
        estimate = opened.duration / av.time_base
    assert abs(estimate - 20) > 3, "the file does not show the defect"
    assert probe(path).duration == pytest.approx(20, abs=0.2)
    assert duration_of(path) == probe(path).duration
    clip = read_clip(path, sample_rate=RATE)
    assert clip.duration == pytest.approx(20, abs=0.2)
    assert len(clip.waveform) / RATE == pytest.approx(20, abs=0.2)
    loud = np.abs(clip.waveform).reshape(-1)[: 19 * RATE].reshape(19, RATE).max(axis=1) > 0.1
    assert loud[1:9].all() == loud_first
    assert loud[11:].any() != loud_first
    assert clip.problems == ()


def test_part_of_audio_without_index(tmp_path, monkeypatch):
    """A late time range equals that of a full decode, although FFmpeg's estimated duration is shorter."""
    name, container, codec, options, coding = FORMS["mp3"]
    samples = np.concatenate([noise(10), 0.1 * np.sin(np.arange(30 * RATE) ** 2 / 5e5)])
    write_audio(tmp_path / name, container, codec, samples, options=options, coding=coding)
    whole = read_clip(tmp_path / name, sample_rate=RATE).waveform
    monkeypatch.setattr("avcil.media.audio.MIN_SEEK_START", 2.0)
    stretch = read_clip(tmp_path / name, sample_rate=RATE, start=35.0, end=37.0).waveform
    np.testing.assert_allclose(stretch, whole[35 * RATE : 37 * RATE], atol=1e-3)


def test_packets_of_a_file_are_scanned_once(tmp_path, monkeypatch):
    """Many clips may be parts of one file without an index; a replaced file is scanned again."""
    name, container, codec, options, coding = FORMS["aac"]
    path = tmp_path / name
    write_audio(path, container, codec, noise(3), options=options, coding=coding)
    scans = []
    walked = module._scanned
    monkeypatch.setattr(module, "_scanned", lambda *arguments: scans.append(1) or walked(*arguments))
    for start in (0.0, 1.0, 2.0):
        read_clip(path, sample_rate=RATE, start=start, end=start + 0.5)
    assert len(scans) == 1
    write_audio(path, container, codec, noise(5), options=options, coding=coding)
    assert probe(path).duration == pytest.approx(5, abs=0.2)


def write_both(
    path, *, seconds=2.0, first=0, start=0.0, options=None, codecs=("mpeg2video", "mp2"), gap=0.0, make
):
    """Numbered frames from `first` at 10 per second, and a sine of 300 Hz, from `start`; a gap in the middle."""
    with av.open(str(path), "w", options=options or {}) as container:
        video = container.add_stream(codecs[0], rate=25)
        video.width, video.height, video.pix_fmt = 48, 32, "yuv420p"
        if codecs[0] == "mpeg2video":
            video.codec_context.qmin = video.codec_context.qmax = 1
        audio = container.add_stream(codecs[1], rate=RATE, layout="mono")
        video.codec_context.gop_size = 5
        size = audio.codec_context.frame_size or 576
        heard = 0
        for number in range(round(seconds * 25)):
            late = gap * (number >= round(seconds * 12.5))
            picture = av.VideoFrame.from_ndarray(make.frame(first + number // 5), format="rgb24")
            picture.pts, picture.time_base = round(25 * (start + late)) + number, Fraction(1, 25)
            container.mux(video.encode(picture))
            while heard < (number + 1) * RATE // 25:
                samples = 0.4 * np.sin(2 * np.pi * 300 * (heard + np.arange(size)) / RATE)
                block = av.AudioFrame.from_ndarray(
                    (32767 * samples[None]).astype(np.int16), format="s16", layout="mono"
                )
                block.sample_rate, block.time_base = RATE, Fraction(1, RATE)
                block.pts = heard + round((start + late) * RATE)
                container.mux(audio.encode(block))
                heard += size
        container.mux(video.encode(None))
        container.mux(audio.encode(None))
    return path


def numbers(clip, make):
    return [make.number(frame) for frame in clip.frames]


def is_sine(waveform):
    """Whether every tenth of a second has audio."""
    blocks = np.abs(waveform[: len(waveform) // 1600 * 1600].reshape(-1, 1600)).max(axis=1)
    return bool((blocks[1:-2] > 0.3).all())


@pytest.mark.parametrize("suffix", ["ts", "mpg"])
@pytest.mark.parametrize("later", [0.0, 3600.0, 20.0])
def test_joined_recordings(tmp_path, make, suffix, later):
    """`cat a.ts b.ts`: time stamps that restart or jump; the video and audio of both parts are used in order."""
    first = write_both(tmp_path / f"a.{suffix}", make=make, seconds=4)
    second = write_both(tmp_path / f"b.{suffix}", make=make, seconds=4, first=20, start=later)
    path = tmp_path / f"both.{suffix}"
    path.write_bytes(first.read_bytes() + second.read_bytes())
    info = probe(path)
    assert info.duration == pytest.approx(8, abs=0.3)
    clip = read_clip(path, frames=40, sample_rate=RATE)
    assert np.abs(np.array(numbers(clip, make)) - np.arange(40)).max() <= 1
    assert is_sine(clip.waveform)
    assert len(clip.waveform) / RATE == pytest.approx(8, abs=0.3)
    assert clip.problems == info.problems
    assert any("time stamps jump" in problem and "joined" in problem for problem in clip.problems)
    stretch = read_clip(path, frames=10, sample_rate=RATE, start=5.0, end=7.0)
    assert np.abs(np.array(numbers(stretch, make)) - np.arange(25, 35)).max() <= 1
    assert is_sine(stretch.waveform)


def test_windows_of_joined_recordings(tmp_path, make):
    """The timeline of a long video covers both parts, and has one note that they were joined."""
    first = write_both(tmp_path / "a.ts", make=make, seconds=4)
    second = write_both(tmp_path / "b.ts", make=make, seconds=4, first=20, start=3600.0)
    path = tmp_path / "both.ts"
    path.write_bytes(first.read_bytes() + second.read_bytes())
    spans = window_spans(duration_of(path), 2.0, 2.0)
    windows = list(read_windows(path, spans, samplings=[FrameSampling(frames=4)], sample_rate=RATE))
    assert [make.number(window.frames[0]) // 10 for window in windows[:4]] == [0, 1, 2, 3]
    assert all(is_sine(window.waveform) for window in windows[:4])
    assert [len(window.problems) for window in windows[:4]] == [1, 0, 0, 0]


def test_video_and_audio_stay_in_sync(tmp_path, make):
    """Ten parts whose audio is longer than their video: the offset does not accumulate."""
    data = b""
    for number in range(10):
        part = write_both(tmp_path / "part.ts", make=make, seconds=1, first=5 * number)
        data += part.read_bytes()
    (tmp_path / "all.ts").write_bytes(data)
    with av.open(str(tmp_path / "all.ts")) as container:
        timeline = module.timeline_of(
            tmp_path / "all.ts", container, module.stream_info(container), module.Deadline(tmp_path, 60)
        )
    video, audio = timeline.offsets[0], timeline.offsets[1]
    assert len(video) == len(audio) == 9
    assert [ticks for _, ticks in video] == [ticks for _, ticks in audio], "one offset for both tracks"
    assert abs(timeline.video_end - timeline.audio_end) < 0.2


def test_overflow_of_time_stamps(tmp_path, make):
    """33-bit time stamps that restart at 0 after 26.5 hours are not a jump."""
    path = write_both(
        tmp_path / "a.ts", make=make, seconds=4, start=2**33 / 90000 - 2.0, options={"mpegts_copyts": "1"}
    )
    clip = read_clip(path, frames=20, sample_rate=RATE)
    assert np.abs(np.array(numbers(clip, make)) - np.arange(20)).max() <= 1
    assert clip.duration == pytest.approx(4, abs=0.3)
    assert clip.problems == ()


def test_gap_in_matroska_time_stamps(tmp_path, make):
    """The last frame is repeated, audio is silent, and both have notes."""
    path = write_both(tmp_path / "a.mkv", make=make, seconds=4, gap=60.0, codecs=("mpeg2video", "pcm_s16le"))
    clip = read_clip(path, frames=64, sample_rate=RATE)
    assert clip.duration == pytest.approx(64, abs=0.3)
    assert any(problem.startswith("the audio has gaps of") for problem in clip.problems)
    assert any(problem.startswith("frames within a gap of the video: ") for problem in clip.problems)


def test_silent_gaps_need_no_memory(tmp_path, make):
    """An hour of silence for a gap of an hour is not stored in memory."""
    import resource

    path = write_both(
        tmp_path / "a.mkv", make=make, seconds=2, gap=3600.0, codecs=("mpeg2video", "pcm_s16le")
    )
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    clip = read_clip(path, sample_rate=RATE)
    taken = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before
    assert len(clip.waveform) / RATE == pytest.approx(3602, abs=0.3)
    assert taken * 1024 < clip.waveform.nbytes / 4


def test_truncated_files(tmp_path, make):
    """The length is that of the existing part although the header has the full duration, with a note."""
    for name, codecs, options in (
        ("a.mp4", ("mpeg4", "aac"), {"movflags": "faststart"}),
        ("a.mkv", ("mpeg2video", "pcm_s16le"), {}),
        ("a.wav", None, {}),
    ):
        path = tmp_path / name
        if codecs:
            write_both(path, make=make, seconds=8, options=options, codecs=codecs)
        else:
            write_audio(path, "wav", "pcm_s16le", noise(8))
        assert probe(path).duration == pytest.approx(8, abs=0.2)
        assert probe(path).problems == ()
        assert not probe(path).is_truncated
        data = path.read_bytes()
        path.write_bytes(data[: len(data) * 5 // 8])
        info = probe(path)
        assert 3 < info.duration < 6.5, name
        assert info.is_truncated == (name != "a.wav"), (
            name
        )  # FFmpeg takes the length of a WAV file from its size
        clip = read_clip(path, frames=4 if codecs else None, sample_rate=RATE)
        assert clip.duration == pytest.approx(info.duration, abs=0.3), name
        assert name == "a.wav" or any("lasts" in problem for problem in info.problems)


def test_webm_without_duration(tmp_path, make):
    """Browsers record without duration and index; the packets determine the duration."""
    path = tmp_path / "a.webm"
    options = {"live": "1"}
    write_both(path, make=make, seconds=4, options=options, codecs=("libvpx", "libopus"))
    with av.open(str(path)) as container:
        assert container.duration is None
    assert probe(path).duration == pytest.approx(4, abs=0.2)
    clip = read_clip(path, frames=20, sample_rate=RATE)
    assert numbers(clip, make) == list(range(20))


def test_notes_are_stored_and_predicted(tmp_path, make):
    """Stored clips and predictions have the note that parts were joined."""
    path = tmp_path / "both.ts"
    part = write_both(tmp_path / "a.ts", make=make, seconds=2).read_bytes()
    path.write_bytes(part + part)
    clip = Clip(clip_id="a", path=path, label="x", split="train")
    assert "parts are joined" in read_one(clip, DecodeSpec(frames=4, short_side=16, sample_rate=RATE)).reason
