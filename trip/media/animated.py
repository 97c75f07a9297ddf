"""Clips as GIF and animated WebP. Their coders drop a frame that equals the one before it, so that of a clip that holds still a single
picture would be left, which is no clip any more: here it keeps two.
"""

import io
import struct
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
from PIL import Image

EXIF_DESCRIPTION = 0x010E
_HAS_EXIF, _IS_ANIMATED = 0x08, 0x02  # of a VP8X chunk
_LZW_CLEAR, _LZW_END, _LZW_BITS = 256, 257, 9  # of 8-bit pixels


def write_gif(frames: Sequence[np.ndarray], fps: float, metadata: str, path: Path) -> None:
    """One palette for all frames, so that what holds still does not flicker."""
    step = max(1, len(frames) * frames[0].size // (3 * 4_000_000))
    some = np.concatenate([frames[index] for index in range(0, len(frames), step)])
    palette = Image.fromarray(some).quantize(256, Image.Quantize.MEDIANCUT)
    pictures = [Image.fromarray(pixels).quantize(palette=palette, dither=Image.Dither.FLOYDSTEINBERG) for pixels in frames]
    durations = [max(20, duration) for duration in milliseconds(len(frames), fps, unit=10)]
    options = {"loop": 0, "comment": metadata.encode()}
    if len(pictures) > 1 and all(picture.tobytes() == pictures[0].tobytes() for picture in pictures):
        pictures[0].save(path, "GIF", duration=sum(durations[:-1]), **options)
        whole = path.read_bytes().removesuffix(b";")
        path.write_bytes(whole + _one_pixel_gif(pictures[0].getpixel((0, 0)), durations[-1]) + b";")
    else:
        pictures[0].save(path, "GIF", save_all=True, append_images=pictures[1:], duration=durations, **options)


def _one_pixel_gif(colour: int, duration: int) -> bytes:
    """A frame of a GIF that draws its first pixel once more."""
    control = b"\x21\xf9\x04\x04" + struct.pack("<H", duration // 10) + b"\0\0"
    codes = _LZW_CLEAR | colour << _LZW_BITS | _LZW_END << 2 * _LZW_BITS
    return control + b"\x2c" + struct.pack("<4HB", 0, 0, 1, 1, 0) + b"\x08\x04" + struct.pack("<I", codes) + b"\0"


class _FrameSequence(Image.Image):
    """Frames as one picture of many, the way Pillow's own readers give them: one at a time in memory."""

    def __init__(self, frames: Sequence[np.ndarray]):
        super().__init__()
        self.frames, self.n_frames = frames, len(frames)
        self.seek(0)

    def seek(self, frame: int) -> None:
        shown = Image.fromarray(self.frames[frame])
        self.im, self._mode, self._size = shown.im, shown.mode, shown.size


def write_webp(frames: Sequence[np.ndarray], fps: float, metadata: str, path: Path) -> None:
    """Coded frame by frame."""
    exif = Image.Exif()
    exif[EXIF_DESCRIPTION] = metadata
    durations, film, coded = milliseconds(len(frames), fps, unit=1), _FrameSequence(frames), io.BytesIO()
    film.save(coded, "WEBP", save_all=True, duration=durations, loop=0, quality=90, exif=exif)
    chunks = dict(_chunks(coded.getvalue()))
    if b"ANIM" in chunks or len(frames) == 1:
        path.write_bytes(coded.getvalue())
    else:
        path.write_bytes(_twice(chunks, film.size, (sum(durations[:-1]), durations[-1])))


def _chunks(data: bytes) -> Iterator[tuple[bytes, bytes]]:
    """Name and content of each part of a RIFF file."""
    at = 12
    while at + 8 <= len(data):
        name, size = struct.unpack_from("<4sI", data, at)
        yield name, data[at + 8 : at + 8 + size]
        at += 8 + size + size % 2


def _chunk(name: bytes, content: bytes) -> bytes:
    return name + struct.pack("<I", len(content)) + content + bytes(len(content) % 2)


def _twice(chunks: dict[bytes, bytes], size: tuple[int, int], durations: tuple[int, int]) -> bytes:
    """An animated WebP of one coded picture that is shown two times, each for so many milliseconds."""
    sides = b"".join((side - 1).to_bytes(3, "little") for side in size)
    picture = b"".join(_chunk(name, chunks[name]) for name in (b"VP8 ", b"VP8L") if name in chunks)
    frames = [bytes(6) + sides + duration.to_bytes(3, "little") + b"\x02" + picture for duration in durations]
    parts = [(b"VP8X", bytes([_IS_ANIMATED | _HAS_EXIF, 0, 0, 0]) + sides), (b"ANIM", bytes(6))]
    parts += [(b"ANMF", frame) for frame in frames] + [(b"EXIF", chunks[b"EXIF"])]
    return _chunk(b"RIFF", b"WEBP" + b"".join(_chunk(*part) for part in parts))


def milliseconds(num_frames: int, fps: float, unit: int) -> list[int]:
    """How long each frame shows, in whole units whose sum stays true to the clip."""
    ends = np.round(np.arange(num_frames + 1) * 1000 / fps / unit).astype(int) * unit
    return np.diff(ends).tolist()
