"""Side data of frames never make a readable file unreadable."""

from __future__ import annotations

import struct
from fractions import Fraction

import av
import numpy as np
import pytest

from avcil.media import probe, read_clip

LCEVC = bytes([4, 8, 0xB4, 0x00, 0x50, 0x00, 1, 2, 3, 4, 0x80])
"""An SEI message of H.264 (registered user data of V-Nova), for which FFmpeg has a type of side data."""
QUARTER = (0, 65536, 0, -65536, 0, 0, 0, 0, 1 << 30)
MIRROR = (-65536, 0, 0, 0, 65536, 0, 0, 0, 1 << 30)


def picture():
    """An image with a bright upper left corner."""
    frame = np.full((32, 48, 3), 16, np.uint8)
    frame[:16, :24] = 235
    return frame


def bright_corner(frame):
    """(row, column) of the bright quarter, 0 or 1 each."""
    height, width = frame.shape[:2]
    quarters = frame.mean(axis=2).reshape(2, height // 2, 2, width // 2).mean(axis=(1, 3))
    return tuple(int(each) for each in np.unravel_index(quarters.argmax(), (2, 2)))


def write_h264(path, message, matrix):
    """Ten frames in MP4, each after an SEI message, with a display matrix."""
    with av.open(str(path), "w") as container:
        track = container.add_stream("libx264", rate=25)
        track.width, track.height, track.pix_fmt = 48, 32, "yuv420p"
        track.set_display_matrix(matrix)
        packets = []
        for number in range(10):
            frame = av.VideoFrame.from_ndarray(picture(), format="rgb24")
            frame.pts, frame.time_base = number, Fraction(1, 25)
            packets += track.encode(frame)
        for packet in packets + track.encode(None):
            changed = av.Packet(b"\0\0\0\1\x06" + message + bytes(packet))
            changed.stream, changed.is_keyframe = track, packet.is_keyframe
            changed.pts, changed.dts, changed.time_base = packet.pts, packet.dts, packet.time_base
            changed.duration = packet.duration
            container.mux(changed)


def names_of_side_data_fail(path):
    """Whether PyAV cannot list the side data of a file's frames."""
    with av.open(str(path)) as container:
        try:
            return not [frame.side_data for frame in container.decode(video=0)]
        except ValueError as error:
            return "is not a valid Type" in str(error)


@pytest.mark.parametrize(("matrix", "rotation", "mirrored"), [(QUARTER, 90, False), (MIRROR, 0, True)])
def test_unknown_types_of_side_data(tmp_path, matrix, rotation, mirrored):
    """Frames with a type of side data that PyAV does not know (spatial video) are read and rotated correctly."""
    path = tmp_path / "a.mp4"
    write_h264(path, LCEVC, matrix)
    assert names_of_side_data_fail(path), "the file does not show the defect"
    info = probe(path)
    assert (info.rotation, info.mirrored) == (rotation, mirrored)
    clip = read_clip(path, frames=4)
    assert clip.problems == ()
    assert clip.frames.shape == ((4, 48, 32, 3) if rotation == 90 else (4, 32, 48, 3))
    assert {bright_corner(frame) for frame in clip.frames} == {(0, 1)}


@pytest.mark.parametrize(
    ("orientation", "corner"),
    list(enumerate([(0, 0), (0, 1), (1, 1), (1, 0), (0, 0), (0, 1), (1, 1), (1, 0)], start=1)),
)
def test_exif_orientation(tmp_path, orientation, corner):
    """EXIF data are such a type, too; all eight orientations are applied."""
    path = tmp_path / "a.jpg"
    with av.open(str(path), "w", format="mjpeg") as container:
        track = container.add_stream("mjpeg", rate=1)
        track.width, track.height, track.pix_fmt = 48, 32, "yuvj420p"
        container.mux(track.encode(av.VideoFrame.from_ndarray(picture(), format="rgb24")))
        container.mux(track.encode(None))
    entry = struct.pack("<HHHIHHI", 1, 0x112, 3, 1, orientation, 0, 0)
    exif = b"Exif\0\0II*\0\x08\0\0\0" + entry
    data = path.read_bytes()
    path.write_bytes(data[:2] + b"\xff\xe1" + struct.pack(">H", len(exif) + 2) + exif + data[2:])
    assert names_of_side_data_fail(path), "the file does not show the defect"
    clip = read_clip(path, frames=1)
    assert bright_corner(clip.frames[0]) == corner
    info = probe(path)
    assert (info.height, info.width) == clip.frames.shape[1:3]


@pytest.mark.parametrize("field", ["colorspace", "color_primaries", "color_trc"])
def test_unknown_color_properties(tmp_path, field):
    """Reserved and rare color properties are replaced by similar ones."""
    option = {"colorspace": "colormatrix", "color_primaries": "colorprim", "color_trc": "transfer"}[field]
    data = _with_color(tmp_path / "a.mp4", option)
    for number in range(24):
        path = tmp_path / f"{number}.mp4"
        path.write_bytes(data(number))
        clip = read_clip(path, frames=2)
        assert bright_corner(clip.frames[1]) == (0, 0)
        assert all("colors may be wrong" in problem for problem in clip.problems)


def _with_color(path, option):
    """A file whose color property is set to a given number."""
    with av.open(str(path), "w") as container:
        track = container.add_stream("mpeg4", rate=25)
        track.width, track.height, track.pix_fmt = 48, 32, "yuv420p"
        # the color box of MP4 (colr, nclx) holds primaries, transfer, matrix as 16 bits each
        track.codec_context.color_primaries = track.codec_context.color_trc = 1
        track.codec_context.colorspace = 1
        for _ in range(5):
            container.mux(track.encode(av.VideoFrame.from_ndarray(picture(), format="rgb24")))
        container.mux(track.encode(None))
    data = path.read_bytes()
    at = data.index(b"colrnclx") + 8 + 2 * ["colorprim", "transfer", "colormatrix"].index(option)
    return lambda number: data[:at] + struct.pack(">H", number) + data[at + 2 :]


def test_tags_with_invalid_text(tmp_path):
    """Tags in an unknown encoding, and a chapter without a length."""
    path = tmp_path / "a.mkv"
    with av.open(str(path), "w") as container:
        container.metadata["title"] = "TITLETITLE"
        track = container.add_stream("mpeg4", rate=25)
        track.metadata["title"] = "TRACKTRACK"
        track.width, track.height, track.pix_fmt = 48, 32, "yuv420p"
        container.mux(track.encode(av.VideoFrame.from_ndarray(picture(), format="rgb24")))
        container.mux(track.encode(None))
    data = path.read_bytes()
    assert data.count(b"TITLETITLE") == data.count(b"TRACKTRACK") == 1
    path.write_bytes(
        data.replace(b"TITLETITLE", b"\xff\xfe\x80" * 3 + b"\xc0").replace(b"TRACKTRACK", b"\xf8" * 10)
    )
    assert read_clip(path, frames=1).problems == ()
    assert probe(path).width == 48
