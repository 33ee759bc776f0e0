"""Reading frames and audio of media files, reporting damaged files, and writing videos and images."""

from avcil.media.attention_overlay import draw_attention
from avcil.media.clip import ClipMedia, read_clip
from avcil.media.container import MediaError
from avcil.media.frame_choice import sample_times
from avcil.media.overlay import encode_png, png_data_uri
from avcil.media.probe import MediaInfo, probe
from avcil.media.spectrogram import log_mel
from avcil.media.write import write_video

__all__ = [
    "ClipMedia",
    "MediaError",
    "MediaInfo",
    "draw_attention",
    "encode_png",
    "log_mel",
    "png_data_uri",
    "probe",
    "read_clip",
    "sample_times",
    "write_video",
]
