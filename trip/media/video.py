"""Videos in: a file's frames with their times, upright."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import av
import numpy as np
from av.container import InputContainer
from av.video.stream import VideoStream

from trip.media.files import MediaError, check_size, opened

# Containers that hold their pictures themselves: a playlist would name other files and addresses to read.
_OPTIONS = {"protocol_whitelist": "file", "format_whitelist": "mov,matroska,webm,avi,gif,mpegts,mpeg,ogg,flv,asf"}


@dataclass(frozen=True)
class Video:
    """A video file held open.

    fps         frames per second as the header says it, on average
    num_frames  frames as the header says it; 0 where it does not
    """

    name: str
    container: InputContainer
    stream: VideoStream
    fps: float
    num_frames: int

    def timed_frames(self, start: float = 0.0) -> Iterator[tuple[float, av.VideoFrame]]:
        """Seconds since the video's beginning and the frame, in order of time, from `start` seconds on."""
        origin = float((self.stream.start_time or 0) * self.stream.time_base)
        if start > 0:
            self.container.seek(int((origin + start) / self.stream.time_base), stream=self.stream)  # to the key frame before
        size = None
        for frame in self.container.decode(self.stream):
            if size is None:
                size = frame.width, frame.height
                check_size(self.name, "video", *size)  # the header may have said less
            if frame.time is None or (frame.width, frame.height) != size:
                raise MediaError(f"{self.name}: wanted frames of one size, each with its time; convert it to MP4")
            if frame.time - origin >= start - 1e-6:
                yield frame.time - origin, frame


@contextmanager
def open_video(path: str | Path) -> Iterator[Video]:
    """A video with its header checked. Raises MediaError, also for what goes wrong while its frames are decoded."""
    path = Path(path)
    with opened(path, "video"):
        pass
    try:
        # an absolute path, since "name:rest" would be taken for an address
        with av.open(str(path.absolute()), metadata_errors="replace", options=_OPTIONS) as container:
            stream = next((stream for stream in container.streams.video if stream.codec_context), None)  # none: unknown to the decoder
            if stream is None:
                raise MediaError(f"{path.name}: wanted a video, got a file without pictures that decode; choose another")
            check_size(path.name, "video", stream.codec_context.width, stream.codec_context.height)
            if not stream.average_rate:
                raise MediaError(f"{path.name}: wanted a video with a frame rate, got none; convert it to MP4")
            seconds = stream.duration * stream.time_base if stream.duration else (container.duration or 0) / av.time_base
            fps = float(stream.average_rate)
            yield Video(path.name, container, stream, fps, stream.frames or round(float(seconds) * fps))
    except av.FFmpegError as error:
        raise MediaError(f"{path.name}: wanted a video, got a file that does not decode ({error.strerror}); choose another") from error


def upright_pixels(frame: av.VideoFrame) -> np.ndarray:
    """A decoded frame as it is meant to be seen: h w 3, uint8 RGB."""
    return np.ascontiguousarray(np.rot90(frame.to_ndarray(format="rgb24"), round(frame.rotation / 90)))
