"""How clips are coded as .mp4, and how a file goes on without coding again what it holds."""

import io
from collections.abc import Iterable, Iterator
from fractions import Fraction
from itertools import chain
from pathlib import Path
from typing import BinaryIO

import av
import numpy as np
from av.container import InputContainer, OutputContainer
from av.video.reformatter import Interpolation

from trip.media.video import EXACTLY

# without the macroblock tree: with it, small frames are not always coded the same, and the same seed would give another file
CODING = {"crf": "18", "x264-params": "mbtree=0"}


def write_mp4(frames: Iterable[np.ndarray], fps: float, metadata: str, target: Path | BinaryIO) -> None:
    """H.264, yuv420p, with the metadata as the file's comment.

    frames  at least one, of one size, coded as they come   h w 3, uint8; H.264 wants even sides: an odd one is padded by repeating its
            last row or column
    """
    rate, coming = Fraction(fps).limit_denominator(1001), iter(frames)
    first = next(coming)
    with _open_container(target, metadata) as container:
        stream = container.add_stream("libx264", rate=rate, options=CODING)
        stream.height, stream.width, stream.pix_fmt = *(side + side % 2 for side in first.shape[:2]), "yuv420p"
        coder = stream.codec_context  # players guess where this is left out, and not all the same: BT.709 (1), limited range (1)
        coder.colorspace = coder.color_primaries = coder.color_trc = coder.color_range = 1
        for index, pixels in enumerate(chain([first], coming)):
            even = np.pad(pixels, [(0, pixels.shape[0] % 2), (0, pixels.shape[1] % 2), (0, 0)], mode="edge")
            frame = av.VideoFrame.from_ndarray(even, format="rgb24")
            how = EXACTLY | Interpolation.AREA  # on photos, with the way back: 49 dB and more, where the plain ways give 42
            frame = frame.reformat(format="yuv420p", dst_colorspace="ITU709", dst_color_range="MPEG", interpolation=how)
            frame.pts, frame.time_base = index, 1 / rate
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))


def go_on(start: Path, frames: Iterable[np.ndarray], fps: float, metadata: str, path: Path) -> bool:
    """Writes the clip that begins with the file `start`, whose pictures are copied as they are coded; False, and nothing written,
    where that file was coded in another way than today's.

    frames  that come after it, at least one   h w 3, uint8
    """
    with av.open(str(start.absolute())) as first:
        rest = io.BytesIO()
        write_mp4(frames, fps, "", rest)
        rest.seek(0)
        with av.open(rest) as second:
            before, after = first.streams.video[0], second.streams.video[0]
            if (before.codec_context.extradata, before.time_base) != (after.codec_context.extradata, after.time_base):
                return False
            with _open_container(path, metadata) as container:
                stream = container.add_stream_from_template(before)
                for packet in chain(_packets(first), _packets(second, later=before.duration)):
                    packet.stream = stream
                    container.mux(packet)
    return True


def _open_container(target: Path | BinaryIO, metadata: str) -> OutputContainer:
    if isinstance(target, Path):
        container = av.open(str(target), "w", format="mp4", options={"movflags": "+faststart"})
    else:
        container = av.open(target, "w", format="mp4")  # the fast start reads the file again, by its name
    container.metadata["comment"] = metadata
    return container


def _packets(container: InputContainer, later: int = 0) -> Iterator[av.Packet]:
    """Coded pictures of a file, moved in time by so many of its units."""
    for packet in container.demux(video=0):
        if packet.size:  # the last one is empty
            packet.pts, packet.dts = packet.pts + later, packet.dts + later
            yield packet
