"""Photos for training: read once, split by a written rule, cropped as a function of seed and step."""

import logging
import zlib
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np

from trip.data.tables import KIND_COLUMN, Row, rows_about
from trip.media import PHOTO_SUFFIXES, MediaError, read_photo

logger = logging.getLogger(__name__)

HELD_OUT_SHARE = 10  # one in so many


@dataclass(frozen=True)
class Photo:
    """One photo in memory.

    pixels   h w 3, uint8 RGB
    caption  what it shows; empty where nobody wrote it down
    kind     subject, one word; empty where nobody wrote it down
    """

    name: str
    pixels: np.ndarray
    caption: str = ""
    kind: str = ""


def is_held_out(key: str) -> bool:
    """Whether a file stays out of training: one in ten, by the checksum of its name (or of a clip's source)."""
    return zlib.crc32(key.encode()) % HELD_OUT_SHARE == 0


def read_photos(folder: Path, *, held_out: bool | None, short_side: int = 288) -> list[Photo]:
    """Reads one side of the split (none: both), each photo shrunk to `short_side` pixels; files that do not decode are named, and left out.

    Captions come from `photos.csv` beside or above the photos (columns file, caption, category), where there is one, as
    `trip.data.tables` reads it.
    Raises ValueError where nothing is left.
    """
    folder = Path(folder).resolve()
    paths = sorted(p for p in folder.rglob("*") if p.suffix.lower() in PHOTO_SUFFIXES)
    captions = _captions(folder, paths)
    photos = []
    for path in paths:
        if held_out not in (None, is_held_out(path.name)):
            continue
        try:
            image = np.array(read_photo(path))
        except MediaError as error:
            logger.warning("photo left out: %s", error)
            continue
        scale = short_side / min(image.shape[:2])
        if scale < 1:
            image = cv2.resize(image, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA)
        row = captions.get(path)
        photos.append(Photo(path.name, image, *((row.caption, row.first_of([KIND_COLUMN]).strip()) if row else ())))
    if not photos:
        side = {True: "held-out ", False: "training ", None: ""}[held_out]
        raise ValueError(f"{folder}: wanted a folder with {side}photos ({', '.join(sorted(PHOTO_SUFFIXES))}), found none; add photos")
    return photos


def _captions(folder: Path, paths: list[Path]) -> dict[Path, Row]:
    """The rows about photos of the first photos.csv that there is."""
    for table in (folder / "photos.csv", folder.parent / "photos.csv"):
        if table.is_file():
            return rows_about(table, folder, paths)
    return {}


def random_crop(photo: Photo, size: int, rng: np.random.Generator, least: float = 0.45) -> np.ndarray:
    """A square crop of at least `least` of the short side, flipped half of the time: size size 3, uint8."""
    height, width = photo.pixels.shape[:2]
    side = int(min(height, width) * rng.uniform(least, 1.0))
    top = rng.integers(0, height - side + 1)
    left = rng.integers(0, width - side + 1)
    crop = photo.pixels[top : top + side, left : left + side]
    if rng.random() < 0.5:
        crop = crop[:, ::-1]
    return cv2.resize(crop, (size, size), interpolation=cv2.INTER_AREA if side > size else cv2.INTER_CUBIC)
