"""Photos in: any that people have, checked before they are decoded. Pictures that were made here, out."""

import io
import json
import logging
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
from PIL import BmpImagePlugin, GifImagePlugin, Image, ImageCms, ImageOps, JpegImagePlugin, PngImagePlugin, TiffImagePlugin, WebPImagePlugin

from trip.media.budget import DECODING, PHOTOS, give_back_memory
from trip.media.files import MediaError, check_size, opened

Box = tuple[float, float, float, float]

logger = logging.getLogger(__name__)

MIN_SIDE = 16
MAX_PHOTO_BYTES = 512 * 2**20
DECODING_PIXEL_BYTES = 24  # that a pixel takes on the way: WebP takes the most

# First bytes -> what reads the header. `Image.open` is passed by: it would try dozens of formats more, and its size limit is a
# global of the process that raises without saying the size.
_PHOTO_KINDS: dict[bytes, Callable[..., Image.Image]] = {
    rb"\xff\xd8\xff": JpegImagePlugin.jpeg_factory,
    rb"\x89PNG\r\n\x1a\n": PngImagePlugin.PngImageFile,
    rb"RIFF....WEBP": WebPImagePlugin.WebPImageFile,
    rb"GIF8[79]a": GifImagePlugin.GifImageFile,
    rb"BM": BmpImagePlugin.BmpImageFile,
    rb"II[*+]\0|MM\0[*+]": TiffImagePlugin.TiffImageFile,
}
# What Pillow raises on broken files, as its plugins document or let through.
_BROKEN = (OSError, SyntaxError, ValueError, TypeError, LookupError, EOFError, OverflowError, MemoryError, struct.error, zlib.error,
           Image.DecompressionBombError)  # fmt: skip


def read_photo(source: str | Path | bytes | Image.Image, most_side: int | None = None) -> Image.Image:
    """The photo as RGB, 8 bit, turned upright, colours in sRGB, transparency laid on white; of an animation the first frame.

    Few are read at once and others wait, so that many large ones take no more memory than one does.

    most_side  pixels of a side that are kept: a larger photo is shrunk to it
    Raises MediaError where it is no photo of a known kind, is broken, or is not 16 .. 16384 pixels a side and at most 64 megapixels,
    and where its turn does not come.
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


def write_picture(image: Image.Image, path: str | Path, metadata: dict[str, str | int | float | bool | None]) -> Path:
    """Writes a PNG with what the picture was made with inside. Raises MediaError."""
    inside = PngImagePlugin.PngInfo()
    inside.add_text("trip", json.dumps(metadata))
    try:
        image.save(path, "PNG", pnginfo=inside)
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
    head = file.read(16)
    file.seek(0)
    if not head:
        raise MediaError(f"{name}: wanted a photo, got no bytes; choose another")
    if num_bytes > MAX_PHOTO_BYTES:
        raise MediaError(f"{name}: wanted a photo of at most {MAX_PHOTO_BYTES >> 20} MB, got {num_bytes >> 20} MB; shrink it")
    kind = next((kind for start, kind in _PHOTO_KINDS.items() if re.match(start, head, re.DOTALL)), None)
    if kind is None:
        raise MediaError(f"{name}: wanted a photo (JPEG, PNG, WebP, GIF, BMP or TIFF), got another kind of file; save it as JPEG or PNG")
    with _named(name), PHOTOS.holding(name, 1), kind(file, name) as image:
        yield image


def _decoded(image: Image.Image, name: str, most_side: int | None) -> Image.Image:
    width, height = image.size
    check_size(name, "photo", width, height)
    if min(width, height) < MIN_SIDE:
        raise MediaError(f"{name}: wanted at least {MIN_SIDE} x {MIN_SIDE} pixels, got {width} x {height}; choose a larger photo")
    with DECODING.holding(name, DECODING_PIXEL_BYTES * width * height):
        image = _upright_rgb(image, name)
        if most_side:
            image.thumbnail((most_side, most_side))
        return image


def _upright_rgb(image: Image.Image, name: str) -> Image.Image:
    image.load()
    profile = image.info.get("icc_profile")
    try:
        image = ImageOps.exif_transpose(image)
    except _BROKEN:
        logger.warning("%s: its EXIF is broken, so the photo is taken as it lies", name)
    if image.mode.startswith("I") or image.mode == "F":
        image = _eight_bits(image, name)
    if image.has_transparency_data:
        image = image.convert("RGBA")
        image = Image.alpha_composite(Image.new("RGBA", image.size, "white"), image)
    if image.mode != "CMYK":
        image = image.convert("RGB")
    return _in_srgb(image, profile, name) if profile else image.convert("RGB")


def _eight_bits(image: Image.Image, name: str) -> Image.Image:
    """Pillow clips deep greys to 255 when it converts them: keep the high byte instead."""
    values = np.asarray(image)
    if values.dtype.kind == "f" or values.min() < 0 or values.max() > 65535:
        raise MediaError(f"{name}: wanted 8 or 16 bits a channel, got mode {image.mode} beyond that; save it as PNG")
    return Image.fromarray((values >> 8).astype(np.uint8))


def _in_srgb(image: Image.Image, profile: bytes, name: str) -> Image.Image:
    try:
        return ImageCms.profileToProfile(
            image, ImageCms.ImageCmsProfile(io.BytesIO(profile)), ImageCms.createProfile("sRGB"), outputMode="RGB"
        )
    except (ImageCms.PyCMSError, OSError):
        logger.warning("%s: its colour profile does not fit, so its colours are taken as sRGB", name)
        return image.convert("RGB")
