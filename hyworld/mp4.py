"""H.264 in MP4 through PyAV (FFmpeg): chunks as fragments, and fragments as one ordinary file."""

from __future__ import annotations

import io
from collections.abc import Mapping
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
from torch import Tensor

from .errors import InputError

LONGEST_SIDE = 16384
"""Pixels: the limit of x264."""

ENCODER = "libx264"

# x264's macroblock tree reads uninitialised memory: with it the same frames give different files.
OPTIONS = {"crf": "17", "preset": "medium", "mbtree": "0"}

QUICK = {**OPTIONS, "preset": "superfast"}
"""A quarter of the time, a tenth more bytes; for a video that is written while a person walks."""

_BT709 = 1  # FFmpeg's number for BT.709 primaries, transfer and matrix; without it players guess the colours
_LIMITED_RANGE = 1

# delay_moov: times start at 0 although B-frames are sent early. frag_custom: one fragment, at the end.
# frag_discont: its times count from the start of the walk.
_ONE_FRAGMENT = "delay_moov+default_base_moof+frag_custom+frag_discont+skip_trailer"


def check_encoder() -> None:
    """Raise `InputError` if PyAV lacks x264; without its constant quality (crf) the video would be another."""
    try:
        av.codec.Codec(ENCODER, "w")
    except ValueError as error:
        raise InputError(
            f"This PyAV ({av.__version__}) was built without {ENCODER}, which encodes the video: install the one "
            "from PyPI with 'pip install --force-reinstall --only-binary av av'."
        ) from error


def encode_chunk(frames: Tensor, *, first: int, fps: int, options: Mapping[str, str] = OPTIONS) -> tuple[bytes, bytes]:
    """Encode a closed group of pictures.

    frames: uint8 `[F, H, W, 3]`, on the CPU.
    first: how many frames the video has before these.
    options: x264's, the same for all chunks of a video.

    Returns the header of a fragmented MP4, the same for all chunks of a video, and this chunk's fragment.
    """
    buffer = io.BytesIO()
    # Fragment numbers only have to grow: the first frame's.
    muxer = {"movflags": _ONE_FRAGMENT, "fragment_index": str(first + 1)}
    with av.open(buffer, "w", format="mp4", options=muxer) as container:
        stream: Any = container.add_stream(ENCODER, rate=Fraction(fps))
        stream.height, stream.width, stream.pix_fmt = frames.shape[1], frames.shape[2], "yuv420p"
        stream.options = dict(options)
        context = stream.codec_context
        context.colorspace = context.color_primaries = context.color_trc = _BT709
        context.color_range = _LIMITED_RANGE
        context.time_base = Fraction(1, fps)
        for i, picture in enumerate(frames.numpy(), start=first):
            frame = av.VideoFrame.from_ndarray(picture, format="rgb24").reformat(
                format="yuv420p",
                dst_colorspace="ITU709",  # by name: PyAV 14.0 takes no enum here
                dst_color_range="MPEG",
            )
            frame.pts, frame.time_base = i, context.time_base
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    data = buffer.getvalue()
    start = 0
    while data[start + 4 : start + 8] != b"moof":  # every box begins with its size and its type, 4 bytes each
        start += int.from_bytes(data[start : start + 4], "big")
    return data[:start], data[start:]


def write_ordinary(fragmented: Path, target: Path) -> None:
    """Remux a fragmented MP4 into one with an index; raises `OSError` or `av.FFmpegError` on failure."""
    # Absolute: FFmpeg takes a relative name with a colon for a protocol.
    with (
        av.open(str(fragmented.absolute())) as source,
        av.open(str(target.absolute()), "w", format="mp4") as container,
    ):
        description = source.streams.video[0].codec_context.extradata
        stream = container.add_stream_from_template(source.streams.video[0])
        for packet in source.demux(video=0):
            if packet.size:  # the last one is empty
                packet.stream = stream
                container.mux(packet)
    # PyAV before 14.4 writes another encoder's description, with which the pictures cannot be decoded.
    with av.open(str(target.absolute())) as made:
        if made.streams.video[0].codec_context.extradata != description:
            raise OSError("the copy does not describe its pictures")
