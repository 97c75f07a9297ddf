"""Photos in: any that people have, checked before they are decoded. Pictures that were made here, out."""

import io
import json
import math
import os
import re
import struct
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

import numpy as np
from PIL import (
    AvifImagePlugin,
    BmpImagePlugin,
    GifImagePlugin,
    Image,
    JpegImagePlugin,
    PngImagePlugin,
    TiffImagePlugin,
    WebPImagePlugin,
)

from trip.media.budget import DECODING, PHOTOS, give_back_memory
from trip.media.colours import upright_srgb
from trip.media.files import MediaError, check_size, opened
from trip.system.files import replacing

Box = tuple[float, float, float, float]

MIN_SIDE = 16
MAX_RATIO = 128  # of a long to a short side
PHOTO_SUFFIXES = {".jpg", ".jpeg", ".png", ".webp", ".avif", ".gif", ".bmp", ".tif", ".tiff"}  # of files that are looked for in folders
MAX_PHOTO_BYTES = 512 * 2**20
HEAD_BYTES = 64  # that tell what kind of file it is
DECODING_PIXEL_BYTES = 24  # that a pixel takes on the way: WebP takes the most

# First bytes -> what reads the header. `Image.open` is passed by: it would try dozens of formats more, and its size limit is a
# global of the process that raises without saying the size.
_PHOTO_KINDS: dict[bytes, Callable[..., Image.Image]] = {
    rb"\xff\xd8\xff": JpegImagePlugin.jpeg_factory,
    rb"\x89PNG\r\n\x1a\n": PngImagePlugin.PngImageFile,
    rb"RIFF....WEBP": WebPImagePlugin.WebPImageFile,
    rb"GIF8[79]a": GifImagePlugin.GifImageFile,
    rb"....ftyp(avif|avis|(mif1|msf1).{4}(.{4})*?avi[fs])": AvifImagePlugin.AvifImageFile,
    rb"BM": BmpImagePlugin.BmpImageFile,
    rb"II[*+]\0|MM\0[*+]": TiffImagePlugin.TiffImageFile,
}
_HEIC = rb"....ftyp(hei|hev|mif1|msf1)"
# What Pillow raises on broken files, as its plugins document or let through.
_BROKEN = (OSError, SyntaxError, ValueError, TypeError, LookupError, EOFError, OverflowError, MemoryError, struct.error, zlib.error,
           Image.DecompressionBombError)  # fmt: skip


def read_photo(source: str | Path | bytes | Image.Image, most_side: int | None = None) -> Image.Image:
    """The photo as RGB, 8 bit, turned upright, colours in sRGB, transparency laid on white; of an animation the first frame.

    Few are read at once and others wait, so that many large ones take no more memory than one does.

    most_side  pixels of a side that are kept: a larger photo is shrunk to it
    Raises MediaError where it is no photo of a known kind, is broken, is not 16 .. 16384 pixels a side and at most 64 megapixels
    or is narrower than 1 : 128, and where its turn does not come.
    """
    if isinstance(source, Image.Image):
        with _named("the image"):
            return _decoded(source, "the image", most_side)
    photo, pixels = _read(source, most_side)
    give_back_memory(pixels)
    return photo


def _read(source: str | Path | bytes, most_side: int | None) -> tuple[Image.Image, int]:
    """The photo, and how many pixels were decoded for it."""
    if isinstance(source, bytes):
        with photo_header(io.BytesIO(source), "the upload") as image:
            return _decoded(image, "the upload", most_side), math.prod(image.size)
    if not isinstance(source, str | os.PathLike):
        raise MediaError(f"wanted a photo as a file, its bytes or a PIL image, got {type(source).__name__}")
    path = Path(source)
    with opened(path, "photo") as file, photo_header(file, path.name) as image:
        return _decoded(image, path.name, most_side), math.prod(image.size)


def fit_photo(image: Image.Image, height: int, width: int | None = None, box: Box | None = None) -> np.ndarray:
    """The middle of a photo in the shape asked for, the only place where a photo is cropped and resized: h w 3, uint8.

    width  of the result, pixels; none: a square
    box    left, top, width and height of the part to look at, in shares of the photo; none: all of it
    """
    if image.mode != "RGB":
        raise MediaError(f"wanted an RGB photo, got mode {image.mode}; pass it through read_photo first")
    width = width or height
    part = fitted_part(image.size, height, width, box)
    return np.array(image.resize((width, height), Image.Resampling.LANCZOS, box=part, reducing_gap=3.0))


def shown_part(image: Image.Image, height: int, width: int, box: Box | None = None) -> Image.Image:
    """The part of a photo that `fit_photo` shows, at its own size and to the nearest pixel, and nothing of the rest."""
    left, top, right, bottom = map(round, fitted_part(image.size, height, width, box))
    return image.crop((left, top, max(left + 1, right), max(top + 1, bottom)))


def fitted_part(size: tuple[int, int], height: int, width: int, box: Box | None = None) -> Box:
    """Left, top, right and bottom of the part of a photo that `fit_photo` shows, pixels, never outside of it by a rounding; size is the
    photo's width and height.
    """
    left, top, across, down = (share * side for share, side in zip(box or (0, 0, 1, 1), 2 * size, strict=True))
    scale = min(across / width, down / height)
    left, top = max(left + (across - scale * width) / 2, 0.0), max(top + (down - scale * height) / 2, 0.0)
    return left, top, min(left + scale * width, size[0]), min(top + scale * height, size[1])


def shrunk(image: Image.Image, most_side: int) -> Image.Image:
    """The image with at most so many pixels a side, or more where the other side would have fewer than a photo needs."""
    scale = max(most_side / max(image.size), MIN_SIDE / min(image.size))
    if scale >= 1:
        return image
    width, height = (max(MIN_SIDE, round(side * scale)) for side in image.size)
    return image.resize((width, height), Image.Resampling.BICUBIC, reducing_gap=2.0)


def write_picture(image: Image.Image, path: str | Path, metadata: dict[str, str | int | float | bool | None] | None = None) -> Path:
    """Writes a PNG, whole or not at all, with what the picture was made with inside. Raises MediaError."""
    inside = PngImagePlugin.PngInfo()
    if metadata:
        inside.add_text("trip", json.dumps(metadata))
    try:
        with replacing(Path(path)) as partial:
            image.save(partial, "PNG", pnginfo=inside)
    except OSError as error:
        raise MediaError(f"cannot write {path}: {error.strerror or error}; choose another place") from error
    return Path(path)


@contextmanager
def _named(name: str) -> Iterator[None]:
    try:
        yield
    except MediaError:
        raise
    except _BROKEN as error:
        raise MediaError(
            f"{name}: wanted a whole photo, got one that does not decode ({error}); save it again or choose another"
        ) from error


@contextmanager
def photo_header(file: BinaryIO, name: str) -> Iterator[Image.Image]:
    """The image with its header read and nothing decoded. Raises MediaError, also for what goes wrong while it is used."""
    num_bytes = file.seek(0, os.SEEK_END)
    file.seek(0)
    head = file.read(HEAD_BYTES)
    file.seek(0)
    if not head:
        raise MediaError(f"{name}: wanted a photo, got no bytes; choose another")
    if num_bytes > MAX_PHOTO_BYTES:
        raise MediaError(f"{name}: wanted a photo of at most {MAX_PHOTO_BYTES >> 20} MB, got {num_bytes >> 20} MB; shrink it")
    kind = next((kind for start, kind in _PHOTO_KINDS.items() if re.match(start, head, re.DOTALL)), None)
    if kind is None:
        came = "a HEIC photo" if re.match(_HEIC, head, re.DOTALL) else "another kind of file"
        raise MediaError(f"{name}: wanted a photo (JPEG, PNG, WebP, AVIF, GIF, BMP or TIFF), got {came}; save it as JPEG or PNG")
    with _named(name), PHOTOS.holding(name, 1), kind(file, name) as image:
        yield image


def _decoded(image: Image.Image, name: str, most_side: int | None) -> Image.Image:
    width, height = image.size
    check_size(name, "photo", width, height)
    if min(width, height) < MIN_SIDE:
        raise MediaError(f"{name}: wanted at least {MIN_SIDE} x {MIN_SIDE} pixels, got {width} x {height}; choose a larger photo")
    if max(width, height) > MAX_RATIO * min(width, height):
        raise MediaError(f"{name}: wanted a photo at most {MAX_RATIO} times as long as wide, got {width} x {height}; crop it")
    with DECODING.holding(name, DECODING_PIXEL_BYTES * width * height):
        image = upright_srgb(image, name, _BROKEN)
        return shrunk(image, most_side) if most_side else image
