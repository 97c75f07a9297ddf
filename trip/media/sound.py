"""A clip's sound: out of a file that a person gives, beside pictures that are copied as they are coded."""

from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from fractions import Fraction
from itertools import chain
from pathlib import Path

import av
import numpy as np
from av.audio.resampler import AudioResampler
from av.audio.stream import AudioStream
from av.container import InputContainer, OutputContainer

from trip.media.files import MediaError, check_target, opened
from trip.system.files import atomic_write

MOST_SECONDS = 600  # of a sound; the rest is left out
RATE = 48_000  # samples a second, of two channels
FADE = 0.5  # seconds over which a sound that a clip cuts short dies away
CODING = {"b": "192k"}
_OPTIONS = {"protocol_whitelist": "file", "format_whitelist": "mp3,wav,flac,ogg,aac,aiff,mov,matroska,webm,avi,mpegts,asf"}


def write_sound(source: str | Path, path: str | Path) -> Path:
    """Writes what a file of sound, or a video, sounds like as an .m4a: AAC, two channels, at most MOST_SECONDS. Raises MediaError."""
    path, source = check_target(path, (".m4a",)), Path(source)
    with _target(path) as container, _open_sound(source) as sound:
        coder = _add_coder(container)
        _encode(container, coder, _samples(source.name, sound, MOST_SECONDS))
    return path


def check_sound(path: str | Path) -> Path:
    """The path of a file that has a sound; MediaError for any other."""
    with _open_sound(Path(path)):
        return Path(path)


def with_sound(clip: str | Path, sound: str | Path, path: str | Path) -> Path:
    """Writes the .mp4 `clip` with a sound from its start on; its pictures are not coded again. A sound that is longer is cut, and dies
    away over FADE seconds; after a shorter one it is silent. Raises MediaError.
    """
    path, sound = check_target(path, (".mp4",)), Path(sound)
    with _target(path) as container, av.open(str(Path(clip).absolute())) as silent, _open_sound(sound) as heard:
        pictures = silent.streams.video[0]
        container.metadata.update(silent.metadata)
        stream, coder = container.add_stream_from_template(pictures), _add_coder(container)
        for packet in silent.demux(pictures):
            if packet.size:  # the last one is empty
                packet.stream = stream
                container.mux(packet)
        seconds = float(pictures.duration * pictures.time_base)
        _encode(container, coder, _fading(_samples(sound.name, heard, seconds), seconds))
    return path


def _add_coder(container: OutputContainer) -> AudioStream:
    return container.add_stream("aac", rate=RATE, layout="stereo", options=CODING)


def _encode(container: OutputContainer, coder: AudioStream, blocks: Iterable[np.ndarray]) -> None:
    begun = 0
    for block in blocks:
        frame = av.AudioFrame.from_ndarray(block, format="fltp", layout="stereo")
        frame.sample_rate, frame.pts, frame.time_base = RATE, begun, Fraction(1, RATE)
        begun += block.shape[1]
        container.mux(coder.encode(frame))
    container.mux(coder.encode(None))


def _samples(name: str, sound: InputContainer, seconds: float) -> Iterator[np.ndarray]:
    """The first so many seconds of a sound: blocks of 2 n, float32 in [-1, 1]. What of it does not decode is passed over."""
    resampler, left, count = AudioResampler("fltp", "stereo", RATE), round(seconds * RATE), 0
    for frame in chain(_decoded(sound), [None]):
        for block in resampler.resample(frame):
            samples = block.to_ndarray()[:, : left - count]
            count += samples.shape[1]
            yield np.ascontiguousarray(samples)
            if count == left:
                return
    if not count:
        raise MediaError(f"{name}: wanted a sound, got a file that does not decode; choose another")


def _decoded(sound: InputContainer) -> Iterator[av.AudioFrame]:
    with suppress(av.FFmpegError):  # it ends before it should
        for packet in sound.demux(audio=0):
            with suppress(av.FFmpegError):
                yield from packet.decode()


def _fading(blocks: Iterable[np.ndarray], seconds: float) -> Iterator[np.ndarray]:
    """Blocks that are silent so many seconds after their beginning, and softer for FADE seconds before."""
    begun = 0
    for block in blocks:
        moments = (np.arange(block.shape[1], dtype=np.float32) + begun) / RATE
        begun += block.shape[1]
        yield block * np.clip((seconds - moments) / FADE, 0, 1)


@contextmanager
def _open_sound(path: Path) -> Iterator[InputContainer]:
    with opened(path, "sound"):
        pass
    try:
        container = av.open(str(path.absolute()), metadata_errors="replace", options=_OPTIONS)
    except av.FFmpegError as error:
        raise MediaError(f"{path.name}: wanted a sound, got a file that does not open ({error.strerror}); choose another") from error
    with container:
        if not any(stream.codec_context for stream in container.streams.audio):
            raise MediaError(f"{path.name}: wanted a sound, got a file without any; choose an MP3, WAV, M4A, FLAC or OGG file")
        yield container


@contextmanager
def _target(path: Path) -> Iterator[OutputContainer]:
    try:
        with atomic_write(path.absolute()) as partial, av.open(str(partial), "w", format="mp4", options={"movflags": "+faststart"}) as made:
            yield made
    except (OSError, av.FFmpegError) as error:  # a full disk
        raise MediaError(f"cannot write {path}: {error.strerror or error}; choose another place") from error
