"""Videos in: a file's frames with their times, upright."""

import math
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import av
import numpy as np
from av.container import InputContainer
from av.video.reformatter import Interpolation
from av.video.stream import VideoStream

from trip.media.budget import DECODING, Budget, give_back_memory
from trip.media.files import MediaError, check_size, opened

MAX_FRAME_PIXELS = 36_000_000  # 8K; a decoder keeps up to 16 frames
DECODING_PIXEL_BYTES = 24  # that a pixel takes on the way: those frames, and one as RGB
EXACTLY = Interpolation.ACCURATE_RND | Interpolation.FULL_CHR_H_INT  # else colours come out a level darker
# Containers that hold their pictures themselves: a playlist would name other files and addresses to read. The decoder's own limit
# counts before it takes the memory, whatever the header says.
_OPTIONS = {
    "protocol_whitelist": "file",
    "format_whitelist": "mov,matroska,webm,avi,gif,mpegts,mpeg,ogg,flv,asf",
    "max_pixels": str(MAX_FRAME_PIXELS),
}


@dataclass(frozen=True)
class Video:
    """A video file held open.

    size        width and height as the header says them
    fps         frames per second as the header says it, on average
    num_frames  frames as the header says it; 0 where it does not
    budget      what is left to decode
    """

    name: str
    container: InputContainer
    stream: VideoStream
    size: tuple[int, int]
    fps: float
    num_frames: int
    budget: Budget

    def timed_frames(self, start: float = 0.0) -> Iterator[tuple[float, av.VideoFrame]]:
        """Seconds since the video's beginning and the frame, in order of time, from `start` seconds on."""
        origin = float((self.stream.start_time or 0) * self.stream.time_base)
        if start > 0:
            self.container.seek(int((origin + start) / self.stream.time_base), stream=self.stream)  # to the key frame before
        size = None
        for frame in self.container.decode(self.stream):
            if size is None:
                size = frame.width, frame.height
                check_size(self.name, "video", *size, most=MAX_FRAME_PIXELS)
                if frame.width * frame.height > 2 * math.prod(self.size):
                    raise MediaError(f"{self.name}: its frames are larger than its header says; convert it to MP4")
            self.budget.spend(self.name, frame.width * frame.height)
            if frame.time is None or (frame.width, frame.height) != size:
                raise MediaError(f"{self.name}: wanted frames of one size, each with its time; convert it to MP4")
            if frame.time - origin >= start - 1e-6:
                yield frame.time - origin, frame

    def rate_between(self, start: float, end: float) -> float:
        """Frames per second of what lies between two moments, on average, from the time stamps alone: nothing is decoded."""
        origin, unit = self.stream.start_time or 0, float(self.stream.time_base)
        times = [(packet.pts - origin) * unit for packet in self.container.demux(self.stream) if packet.pts is not None]
        times = [time for time in times if start - 1e-6 <= time < end - 1e-6]
        length = max(times, default=0.0) - min(times, default=0.0)
        return (len(times) - 1) / length if length > 0 else self.fps


@contextmanager
def open_video(path: str | Path, budget: Budget | None = None) -> Iterator[Video]:
    """A video with its header checked. Raises MediaError, also for what goes wrong while its frames are decoded.

    budget  what may be decoded; shared by several where they are given the same. None: one of its own
    """
    path = Path(path)
    with opened(path, "video"):
        pass
    pixels = 0
    try:
        # an absolute path, since "name:rest" would be taken for an address
        with av.open(str(path.absolute()), metadata_errors="replace", options=_OPTIONS) as container:
            stream = next((stream for stream in container.streams.video if stream.codec_context), None)  # none: unknown to the decoder
            if stream is None:
                raise MediaError(f"{path.name}: wanted a video, got a file without pictures that decode; choose another")
            coder = stream.codec_context
            check_size(path.name, "video", coder.width, coder.height, most=MAX_FRAME_PIXELS)
            coder.options = {"max_pixels": _OPTIONS["max_pixels"]}
            if not stream.average_rate:
                raise MediaError(f"{path.name}: wanted a video with a frame rate, got none; convert it to MP4")
            seconds = stream.duration * stream.time_base if stream.duration else (container.duration or 0) / av.time_base
            fps = float(stream.average_rate)
            if not (pixels := coder.width * coder.height):  # the decoder refuses what is larger before it says how large it is
                most = f"at most {MAX_FRAME_PIXELS // 10**6} megapixels a frame"
                raise MediaError(f"{path.name}: wanted a video of {most}, got one that is larger or says no size; convert it to MP4")
            num_frames = stream.frames or round(float(seconds) * fps)
            with DECODING.holding(path.name, DECODING_PIXEL_BYTES * pixels):
                yield Video(path.name, container, stream, (coder.width, coder.height), fps, num_frames, budget or Budget())
    except av.FFmpegError as error:
        raise MediaError(f"{path.name}: wanted a video, got a file that does not decode ({error.strerror}); choose another") from error
    finally:
        give_back_memory(pixels)


def upright_pixels(frame: av.VideoFrame) -> np.ndarray:
    """A decoded frame as it is meant to be seen: h w 3, uint8 RGB."""
    return np.ascontiguousarray(
        np.rot90(frame.reformat(format="rgb24", interpolation=EXACTLY | Interpolation.BICUBIC).to_ndarray(), round(frame.rotation / 90))
    )
