"""Seventy unusual files from test suites of other projects, compared with their manifest."""

from __future__ import annotations

import csv
from fractions import Fraction

import av
import numpy as np
import pytest

from avcil.media import MediaError, probe, read_clip

pytestmark = pytest.mark.clips

SHORT = 48
SQUARE = {  # the manifest has stored sizes; these files have non-square pixels
    "bbb_sunflower_QCIF_30fps_h263_noaudio_1f.3gp": (216, 144),
    "bbb_sunflower_QCIF_30fps_mp4v_noaudio_1f.mp4": (256, 144),
    "carphone_distorted.mp4": (193, 144),
    "filetype_fixture.3gp": (504, 288),
    "filetype_fixture.mxf": (768, 576),
    "mediabunny_sar_2x1.mp4": (1280, 360),
    "mmaction2_part_0.mp4": (455, 256),
    "mmaction2_test.mp4": (455, 256),
}
OTHER_TRACK = {"nasa_13013.mp4": (480, 270)}  # FFmpeg's best of two sizes; the manifest lists the first
LENGTH = {
    "nasa_13013.mp4": 13.056,  # 16.57 s includes subtitles that are longer than video and audio
    "sample_fragmented.mp4": 1.068,  # the header has a wrong duration of 143165 s; the fragments end here
    "mediabunny_annex-b.mp4": 0.5,  # truncated: the index lists packets after the end of the file
    "invalid_userdata.mp4": 0.0,  # truncated before the first packet
}
SAID = {  # expected notes in addition to missing tracks
    "corrupted.mp4": "could not be decoded",
    "sample_with_invalid_nalu.mp4": "could not be decoded",
    "mediabunny_annex-b.mp4": "track ends at 0.51 s of 35.23 s",
    "sample_missing_stsd.mp4": "codec is unknown",
    "sample_eac3.mp4": "gaps",  # each packet declares 32 ms and contains 5 ms
    "filetype_fixture.asf": "the audio is silent",
    "edit_list_positive_shift.mp4": "the audio is silent",
    "sample_with_dts.mkv": "the audio is silent",
    "transparent.webm": "the audio is silent",
    "sample_h262_mpeg_audio.ts": "the audio is silent",
}
STAMPS_LIE = {
    "mmaction2_test.avi",
    "sample-with-large-length.avi",
}  # AVI: time stamps are in decoding order


@pytest.fixture(scope="module")
def rows(real):
    """The manifest, by file."""
    with open(real / "manifest.csv", newline="") as file:
        return {row["file"]: row for row in csv.DictReader(file)}


@pytest.fixture(scope="module")
def clips(real, rows):
    """Every file read once: its clip, or its error."""
    result = {}
    for name in rows:
        try:
            result[name] = read_clip(real / name, frames=8, short_side=SHORT, sample_rate=16000, timeout=120)
        except MediaError as error:
            result[name] = error
    return result


def shown_size(row):
    """Displayed (width, height)."""
    size = SQUARE.get(row["file"]) or OTHER_TRACK.get(row["file"]) or (int(row["width"]), int(row["height"]))
    return size[::-1] if row["rotation"] in ("90", "-90") else size


def test_usable_modalities(rows, clips):
    """Frames, audio, both or neither, as in the manifest, for all seventy files."""
    names = {(True, True): "av", (True, False): "video_only", (False, True): "audio_only"}
    result = {
        name: "none"
        if isinstance(clip, MediaError)
        else names[clip.frames is not None, clip.waveform is not None]
        for name, clip in clips.items()
    }
    assert len(result) == 70
    assert result == {name: row["usable"] for name, row in rows.items()}


def test_notes_on_damaged_files(rows, clips):
    """Every damaged file has a problem; intact files have none."""
    for name, row in rows.items():
        if row["usable"] == "none":
            assert name in str(clips[name])
            continue
        problems = clips[name].problems
        assert (row["usable"] != "av" or name in SAID) == bool(problems), (name, problems)
        if name in SAID:
            assert any(SAID[name] in problem for problem in problems), (name, problems)


def test_displayed_sizes(real, rows, clips):
    """After rotation and with square pixels, the sizes of the probe and of the frames agree."""
    for name, row in rows.items():
        if row["usable"] not in ("av", "video_only"):
            continue
        info = probe(real / name)
        assert (info.width, info.height) == shown_size(row), name
        height, width = clips[name].frames.shape[1:3]
        assert min(height, width) == SHORT
        assert width / height == pytest.approx(
            info.width / info.height, abs=0.5 * max(width, height) / SHORT**2
        )


def test_probed_properties(real, rows):
    """Tracks, rotation, rate and length equal those in the manifest."""
    for name, row in rows.items():
        if not row["container"]:
            with pytest.raises(MediaError):
                probe(real / name)
            continue
        info = probe(real / name)
        assert (info.has_video, info.has_audio) == (row["has_video"] == "1", row["has_audio"] == "1"), name
        # FFmpeg's rotation is counterclockwise
        assert info.rotation == -int(row["rotation"] or 0) % 360, name
        assert info.mirrored == (name == "sample_rotate_and_reflect.mp4")
        assert info.duration == pytest.approx(LENGTH.get(name, float(row["duration"])), abs=0.05), name
        if row["sample_rate"] not in ("", "0") and name != "nasa_13013.mp4":
            assert info.sample_rate == int(row["sample_rate"]), name
        if row["channels"] not in ("", "0"):
            assert info.channels == int(row["channels"]), name
        assert info.fps is None or 1 < info.fps < 130, name


def plain_decode(path):
    """All frames of a file with exact times, as reference."""
    with av.open(str(path)) as container:
        origin = Fraction(container.start_time or 0, 1_000_000)
        frames, track = [], container.streams.best("video")
        track.thread_type = "NONE"
        for packet in container.demux(track):
            try:
                frames += packet.decode()
            except av.error.FFmpegError:
                continue
        return [(Fraction(frame.pts) * frame.time_base - origin, frame) for frame in frames]


def test_frames_equal_a_full_decode(real, rows, clips):
    """For every time, the frame is the last one due by then in a full decode."""
    compared = 0
    for name, row in rows.items():
        clip = clips[name]
        if row["usable"] not in ("av", "video_only") or name in STAMPS_LIE:
            continue
        if int(row["width"]) * int(row["height"]) > 10**6:  # the largest are read below
            continue
        decoded = plain_decode(real / name)
        size = shown_size(row)
        for moment, frame in zip(clip.frame_times, clip.frames, strict=True):
            due = [each for time, each in decoded if time <= Fraction(float(moment)) + Fraction(1, 10**6)]
            due = due[-1] if due else decoded[0][1]
            width, height = frame.shape[1], frame.shape[0]
            if row["rotation"] in ("90", "-90"):
                width, height = height, width
            plain = due.reformat(width=width, height=height, format="rgb24").to_ndarray()
            plain = np.rot90(plain, int(row["rotation"] or 0) // 90)
            if name == "sample_rotate_and_reflect.mp4":
                plain = plain[:, ::-1]
            assert np.abs(plain.astype(int) - frame).mean() < 1.5, (name, moment, size)
            compared += 1
    assert compared > 250


def test_late_video(clips):
    """An edit list starts the video at 1 s: the first frame is used for earlier times."""
    clip = clips["edit_list_positive_shift.mp4"]
    assert clip.frame_times[0] == pytest.approx(10.005 / 16)
    assert clip.duration == pytest.approx(10.005)


def test_avi_without_presentation_stamps(real):
    """Frames are in display order although presentation time stamps are wrong."""
    for name in STAMPS_LIE:
        clip = read_clip(real / name, frames=20)
        with av.open(str(real / name)) as container:
            order = [frame.to_ndarray(format="rgb24").astype(np.int16) for frame in container.decode(video=0)]
        seen = [int(np.argmin([np.abs(each - frame).mean() for each in order])) for frame in clip.frames]
        assert (np.diff(seen) >= 0).all(), (name, seen)
        assert len(set(seen)) >= 17


def test_audio_in_10_bit_rotated_file(clips):
    """A phone's recording with 10 bits, rotation and an edit list: video and audio cover the same 2.55 s."""
    clip = clips["sample_edit_list.mp4"]
    assert clip.frames.shape == (8, round(SHORT * 1920 / 1080), SHORT, 3)
    assert len(clip.waveform) / 16000 == pytest.approx(clip.duration, abs=0.01)


def test_reading_damaged_files_is_deterministic(real, clips):
    """Damaged files give the same frames every time."""
    for name in ("corrupted.mp4", "sample_with_invalid_nalu.mp4", "mediabunny_annex-b.mp4"):
        again = read_clip(real / name, frames=8, short_side=SHORT, sample_rate=16000)
        assert (again.frames == clips[name].frames).all()
