"""Videos in: a file's frames with their times, upright."""

import logging
import math
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
from av.container import InputContainer
from av.sidedata.sidedata import Type as SideData
from av.video.reformatter import Interpolation
from av.video.stream import VideoStream

from trip.media.budget import DECODING_MEMORY, Budget, trim_memory
from trip.media.files import MediaError, check_size, opened

logger = logging.getLogger(__name__)

MOST_PIXEL_ASPECT = 4  # anamorphic films have 2
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

    size          width and height as they are coded
    fps           frames per second on average, as the header says it
    num_frames    frames as the header says it; where it says nothing about rate or length, both are counted
    budget        what is left to decode
    pixel_aspect  width of a pixel over its height, as it is meant to be shown
    """

    name: str
    container: InputContainer
    stream: VideoStream
    size: tuple[int, int]
    fps: float
    num_frames: int
    budget: Budget
    pixel_aspect: Fraction = Fraction(1)

    def timed_frames(self, start: float = 0.0) -> Iterator[tuple[float, av.VideoFrame]]:
        """Seconds since the video's beginning and the frame, in order of time, from `start` seconds on."""
        origin = float((self.stream.start_time or 0) * self.stream.time_base)
        if start > 0:
            self.container.seek(int((origin + start) / self.stream.time_base), stream=self.stream)  # to the key frame before
        size = None
        for time, frame in self._frames_in_order():
            if size is None:
                size = frame.width, frame.height
                check_size(self.name, "video", *size, most=MAX_FRAME_PIXELS)
                if frame.width * frame.height > 2 * math.prod(self.size):
                    raise MediaError(f"{self.name}: its frames are larger than its header says; convert it to MP4")
            self.budget.spend(self.name, frame.width * frame.height)
            if time is None or (frame.width, frame.height) != size:
                raise MediaError(f"{self.name}: wanted frames of one size, each with its time; convert it to MP4")
            if time - origin >= start - 1e-6:
                yield time - origin, frame

    def _frames_in_order(self) -> Iterator[tuple[float | None, av.VideoFrame]]:
        """Frames with their times in the file. An AVI has none: its frames come at one rate, as many as its packets are."""
        if "avi" not in self.container.format.name:
            for frame in self.container.decode(self.stream):
                yield frame.time, frame
            return
        first, count = None, 0
        for packet in self.container.demux(self.stream):
            if first is None:
                first = float((packet.dts or 0) * self.stream.time_base)
            for frame in packet.decode():
                yield first + count / self.fps, frame
                count += 1

    def upright(self, frame: av.VideoFrame) -> np.ndarray:
        """A decoded frame as it is meant to be seen: upright, its pixels square: h w 3, uint8 RGB."""
        width, height = frame.width, frame.height
        if self.pixel_aspect > 1:
            width = round(width * self.pixel_aspect)
        elif self.pixel_aspect < 1:
            height = round(height / self.pixel_aspect)
        how = EXACTLY | Interpolation.BICUBIC
        return oriented(frame.reformat(width=width, height=height, format="rgb24", interpolation=how).to_ndarray(), frame)

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
            coder.options = {"max_pixels": _OPTIONS["max_pixels"]}
            seconds = stream.duration * stream.time_base if stream.duration else (container.duration or 0) / av.time_base
            fps = float(stream.average_rate or 0)
            if not (pixels := coder.width * coder.height):  # the decoder refuses what is larger before it says how large it is
                most = f"at most {MAX_FRAME_PIXELS // 10**6} megapixels a frame"
                raise MediaError(f"{path.name}: wanted a video of {most}, got one that is larger or says no size; convert it to MP4")
            budget, aspect = budget or Budget(), _pixel_aspect(stream, path.name)
            pixels = round(pixels * max(aspect, 1 / aspect))
            check_size(path.name, "video", round(coder.width * max(aspect, 1)), round(coder.height * max(1 / aspect, 1)), MAX_FRAME_PIXELS)
            num_frames = stream.frames or round(float(seconds) * fps)
            if not num_frames or not fps:  # as browsers record
                num_frames, fps = _counted(path, budget)
            with DECODING_MEMORY.acquire(path.name, DECODING_PIXEL_BYTES * pixels):
                yield Video(path.name, container, stream, (coder.width, coder.height), fps, num_frames, budget, aspect)
    except av.FFmpegError as error:
        raise MediaError(f"{path.name}: wanted a video, got a file that does not decode ({error.strerror}); choose another") from error
    finally:
        trim_memory(pixels)


def oriented(pixels: np.ndarray, frame: av.VideoFrame) -> np.ndarray:
    """Pixels of a frame, h w …, turned and mirrored as its display matrix says, to the nearest quarter turn."""
    matrix = frame.side_data.get(SideData.DISPLAYMATRIX)
    if matrix is None:
        return pixels
    x_from_x, y_from_x, _, x_from_y, y_from_y = np.frombuffer(matrix, np.int32)[:5].tolist()  # where a place comes to lie
    if abs(x_from_x) + abs(y_from_y) < abs(x_from_y) + abs(y_from_x):
        pixels, x_from_x, y_from_y = pixels.swapaxes(0, 1), x_from_y, y_from_x
    return np.ascontiguousarray(pixels[:: -1 if y_from_y < 0 else 1, :: -1 if x_from_x < 0 else 1])


def _counted(path: Path, budget: Budget) -> tuple[int, float]:
    """Frames of a video, and how many there are in a second, from its packets; nothing is decoded."""
    times = []
    with av.open(str(path.absolute()), metadata_errors="replace", options=_OPTIONS) as container:
        for packet in container.demux(video=0):
            budget.spend(path.name, 0)
            if packet.size and packet.pts is not None:
                times.append(float(packet.pts * packet.time_base))
    if len(times) < 2 or max(times) <= min(times):
        raise MediaError(f"{path.name}: wanted a video with a frame rate, got none; convert it to MP4")
    return len(times), (len(times) - 1) / (max(times) - min(times))


def _pixel_aspect(stream: VideoStream, name: str) -> Fraction:
    """Width of a pixel over its height; what no camera has counts as a mistake of the header."""
    aspect = Fraction(stream.sample_aspect_ratio or stream.codec_context.sample_aspect_ratio or 1)
    if not 1 / MOST_PIXEL_ASPECT <= aspect <= MOST_PIXEL_ASPECT:
        logger.warning("%s: its pixels would be %s times as wide as high, so they are taken as squares", name, aspect)
        return Fraction(1)
    return aspect
