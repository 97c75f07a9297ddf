"""Any image as the colours that were meant: RGB, 8 bit, sRGB, upright, transparency laid on white."""

import io
import logging

import numpy as np
from PIL import Image, ImageCms, ImageOps

from trip.media.files import MediaError

logger = logging.getLogger(__name__)

# Colour space of a profile -> mode of the images that it is for
_MODES = {"GRAY": "L", "RGB": "RGB", "CMYK": "CMYK"}
_PREMULTIPLIED = {"La": "LA", "RGBa": "RGBA"}


def upright_srgb(image: Image.Image, name: str, broken: tuple[type[Exception], ...]) -> Image.Image:
    """The image decoded, as its camera and its colour profile meant it. Raises MediaError where its values are of no known range.

    broken  what Pillow raises on a broken EXIF, which does not cost the photo
    """
    image.load()
    profile = image.info.get("icc_profile")
    try:
        image = ImageOps.exif_transpose(image)
    except broken:
        logger.warning("%s: its EXIF is broken, so the photo is taken as it lies", name)
    if image.mode.startswith("I") or image.mode == "F":
        image = _eight_bits(image, name)
    if image.mode in _PREMULTIPLIED:
        image = image.convert(_PREMULTIPLIED[image.mode])
    see_through = image.convert("RGBA").getchannel("A") if image.has_transparency_data else None
    colours = _in_srgb(_opaque(image), profile, name)
    return colours if see_through is None else Image.composite(colours, Image.new("RGB", colours.size, "white"), see_through)


def _opaque(image: Image.Image) -> Image.Image:
    """The colours in a mode that profiles know: L, RGB, CMYK or LAB."""
    if image.mode in ("L", "CMYK", "LAB"):
        return image
    return image.convert("L" if image.mode in ("1", "LA") else "RGB")


def _eight_bits(image: Image.Image, name: str) -> Image.Image:
    """Pillow clips deep greys to 255 when it converts them: keep the high byte instead. What is kept in 32 bits has 8 or 16 in it."""
    values = np.asarray(image)
    if values.dtype.kind == "f" or values.min() < 0 or values.max() > 65535:
        raise MediaError(f"{name}: wanted 8 or 16 bits a channel, got mode {image.mode} beyond that; save it as PNG")
    eight = image.mode == "I" and values.max() < 256
    return Image.fromarray((values if eight else values >> 8).astype(np.uint8))


def _in_srgb(image: Image.Image, profile: bytes | None, name: str) -> Image.Image:
    srgb = ImageCms.createProfile("sRGB")
    if image.mode == "LAB":
        return ImageCms.profileToProfile(image, ImageCms.createProfile("LAB"), srgb, outputMode="RGB")
    if not profile:
        return image.convert("RGB")
    try:
        own = ImageCms.ImageCmsProfile(io.BytesIO(profile))
        mode = _MODES.get(own.profile.xcolor_space.strip())
        image = image.convert("RGB") if (image.mode, mode) == ("L", "RGB") else image
        if image.mode == mode:
            return ImageCms.profileToProfile(image, own, srgb, outputMode="RGB")
    except (ImageCms.PyCMSError, OSError):
        pass
    logger.warning("%s: its colour profile does not fit, so its colours are taken as sRGB", name)
    return image.convert("RGB")
