"""Clips out, with what they were made with stored in the file, and both back in."""

import base64
import binascii
import io
import json
import math
import struct
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import chain, islice
from pathlib import Path

import av
import numpy as np
from PIL import Image

from trip.media.animated import EXIF_DESCRIPTION, write_gif, write_webp
from trip.media.files import MediaError, check_target, opened
from trip.media.mp4 import go_on, write_mp4
from trip.media.photo import photo_header, read_photo, shrunk
from trip.media.video import Video, open_video
from trip.system.files import replacing

MAX_CLIP_BYTES = 2**30  # decoded
MAX_METADATA_BYTES = 512 * 2**10  # the photo and two prompts of 10,000 characters fit, even when each is stored as "\ud83d\ude00"
MAX_PHOTO_SIDE, MAX_PHOTO_BYTES = 1024, 120 * 2**10  # of the photo that travels inside a clip
PHOTO = "photo"  # metadata that holds it
Metadata = dict[str, str | int | float | None]


@dataclass(frozen=True)
class Clip:
    """A clip in memory.

    frames    f h w 3, uint8 RGB
    fps       frames per second, 0.01 .. 1000
    metadata  what it was made with; plain values only
    """

    frames: np.ndarray
    fps: float
    metadata: Metadata = field(default_factory=dict)

    def __post_init__(self):
        if self.frames.ndim != 4 or self.frames.shape[-1] != 3 or self.frames.dtype != np.uint8 or 0 in self.frames.shape:
            raise MediaError(f"wanted frames as f h w 3 uint8, got {self.frames.dtype} {self.frames.shape}")
        if not 0.01 <= self.fps <= 1000:
            raise MediaError(f"wanted 0.01 to 1000 frames per second, got {self.fps}")
        if not _is_plain(self.metadata):
            raise MediaError("wanted metadata of text, finite numbers and None by name, got something else")


def with_photo(metadata: Metadata, photo: Image.Image) -> Metadata:
    """The metadata, and the photo that a clip was made from as a JPEG, smaller where it is large."""
    photo = shrunk(photo, MAX_PHOTO_SIDE)
    for quality in (90, 75, 50, 25):
        data = io.BytesIO()
        photo.save(data, "JPEG", quality=quality)
        if data.tell() <= MAX_PHOTO_BYTES:
            break
        photo = shrunk(photo, max(photo.size) * 3 // 4)
    return {**metadata, PHOTO: base64.b64encode(data.getvalue()).decode()}


def photo_inside(metadata: Metadata) -> Image.Image | None:
    """The photo that `with_photo` put into a clip's metadata, checked like any upload; none where there is none."""
    if not isinstance(data := metadata.get(PHOTO), str):
        return None
    try:
        return read_photo(base64.b64decode(data, validate=True))
    except binascii.Error as error:
        raise MediaError("wanted a photo inside the clip, got something else; choose the photo again") from error


def check_writable(path: str | Path) -> Path:
    """The path, where a clip could be written to it now; else MediaError. Worth asking before a long run."""
    return check_target(path, tuple(_WRITERS))


def write_clip(clip: Clip, path: str | Path) -> Path:
    """Writes .mp4 (H.264, yuv420p), .gif or animated .webp with the metadata inside, whole or not at all.

    H.264 wants even sides: an odd one is padded by repeating its last row or column. A GIF keeps time in 1/100 s, at most 50 frames
    a second. Raises MediaError.
    """
    return write_frames(clip.frames, clip.fps, path, clip.metadata)


def write_frames(frames: Iterable[np.ndarray], fps: float, path: str | Path, metadata: Metadata | None = None) -> Path:
    """The same for frames that are not all in memory: an .mp4 is coded as they come. A .gif, which keeps a byte of each pixel, and a
    .webp look at some frames twice and take a sequence, such as a `Rendering`. Raises MediaError.

    frames  at least one, of one size   h w 3, uint8
    """
    with _target(path, metadata or {}) as (partial, text):
        _WRITERS[Path(path).suffix.lower()](frames, fps, text, partial)
    return Path(path)


def write_continuation(start: str | Path, frames: Sequence[np.ndarray], fps: float, metadata: Metadata, path: str | Path) -> Path:
    """Writes the .mp4 that begins with the .mp4 `start`: that is copied as it is coded where it can be, so that however often a clip goes
    on nothing of it fades. Raises MediaError.

    frames  that come after it   h w 3, uint8
    """
    with _target(path, metadata) as (partial, text):
        if not go_on(Path(start), frames, fps, text, partial):
            with open_video(start) as video:
                earlier = (video.upright(frame) for _, frame in video.timed_frames())
                write_mp4(chain(earlier, frames), fps, text, partial)
    return Path(path)


@contextmanager
def _target(path: str | Path, metadata: Metadata) -> Iterator[tuple[Path, str]]:
    """The file to write to, which gets its name when it is whole, and the metadata as text."""
    path = check_writable(path)
    text = json.dumps(metadata)  # plain ASCII, which every container keeps
    if len(text) > MAX_METADATA_BYTES:
        raise MediaError(f"cannot write {path}: wanted at most {MAX_METADATA_BYTES} bytes of metadata, got {len(text)}; shorten the prompt")
    try:
        with replacing(path.absolute()) as partial:  # a relative "name:rest" would be taken for an address
            yield partial, text
    except MediaError:
        raise
    except (OSError, ValueError, av.FFmpegError) as error:  # a full disk; a size that the format does not know
        raise MediaError(f"cannot write {path}: {getattr(error, 'strerror', None) or error}; choose another place or kind") from error


_WRITERS: dict[str, Callable[[Sequence[np.ndarray], float, str, Path], None]] = {
    ".mp4": write_mp4,
    ".gif": write_gif,
    ".webp": write_webp,
}


def read_clip(path: str | Path, *, max_frames: int | None = None, fps: float | None = None) -> Clip:
    """Decodes a video: its own frames, or at `fps` the nearest one to each moment; at most the first `max_frames`.

    Raises MediaError where there is nothing to decode, or more than fits in memory.
    """
    if fps is not None and not 0.01 <= fps <= 1000:
        raise MediaError(f"wanted 0.01 to 1000 frames per second, got {fps}")
    with open_video(path) as video:
        frames, times = [], []
        for seconds, frame in islice(video.timed_frames() if fps is None else _resampled(video, fps), max_frames):
            pixels = video.upright(frame)
            if pixels.nbytes * (len(frames) + 1) > MAX_CLIP_BYTES:
                raise MediaError(f"{video.name}: wanted at most {MAX_CLIP_BYTES >> 30} GB of frames, got more; cut the video")
            frames.append(pixels)
            times.append(seconds)
        if not frames:
            raise MediaError(f"{video.name}: wanted a video, got one without frames; choose another")
        own_fps = (len(times) - 1) / (times[-1] - times[0]) if times[-1] > times[0] else video.fps
        return Clip(np.stack(frames), fps or own_fps, _parsed(video.container.metadata.get("comment")))


def _resampled(video: Video, fps: float) -> Iterator[tuple[float, av.VideoFrame]]:
    """For every 1/fps s of the video the frame whose time is nearest."""
    before, index = None, 0
    for time, frame in video.timed_frames():
        while before and index / fps <= (before[0] + time) / 2:
            yield index / fps, before[1]
            index += 1
        before = time, frame
    while before and index / fps < before[0] + 1 / video.fps - 1e-6:  # the last frame shows until the video ends
        yield index / fps, before[1]
        index += 1


def read_metadata(path: str | Path) -> Metadata:
    """What a clip was made with, out of its file; {} where nothing is stored, or something that is not ours.

    Raises MediaError where the file is missing or no clip.
    """
    path = Path(path)
    with opened(path, "clip") as file:
        head = file.read(16)
        if head.startswith(b"GIF8") or head[8:12] == b"WEBP":
            with photo_header(file, path.name) as image:
                return _parsed(image.info.get("comment") if image.format == "GIF" else _description(image))
    with open_video(path) as video:
        return _parsed(video.container.metadata.get("comment"))


def _description(image: Image.Image) -> str | bytes | None:
    try:
        return image.getexif().get(EXIF_DESCRIPTION)
    except (OSError, SyntaxError, ValueError, TypeError, LookupError, struct.error):  # what Pillow lets through of a broken EXIF
        return None


def _parsed(text: str | bytes | None) -> Metadata:
    if not isinstance(text, str | bytes) or len(text) > MAX_METADATA_BYTES:
        return {}
    try:
        metadata = json.loads(text)
    except (ValueError, RecursionError):
        return {}
    return {_sound(key): _sound(value) for key, value in metadata.items()} if _is_plain(metadata) else {}


def _is_plain(metadata: object) -> bool:
    if not isinstance(metadata, dict) or not all(isinstance(key, str) for key in metadata):
        return False
    return all(isinstance(value, str | int | None) or (isinstance(value, float) and math.isfinite(value)) for value in metadata.values())


def _sound(value: str | int | float | None) -> str | int | float | None:
    """Half a surrogate pair is legal in JSON, and stops whatever prints it."""
    return value.encode(errors="replace").decode() if isinstance(value, str) else value
