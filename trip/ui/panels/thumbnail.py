"""Small pictures of photos."""

import base64
import functools
import io
from pathlib import Path

from PIL import Image


@functools.lru_cache(maxsize=256)
def thumbnail(photo: Path, height: int) -> str:
    """A JPEG of a photo, at most so many pixels high and twice as wide, as a data address."""
    data = io.BytesIO()
    with Image.open(photo) as image:
        image.thumbnail((height * 2, height))
        image.convert("RGB").save(data, "JPEG", quality=80)
    return "data:image/jpeg;base64," + base64.b64encode(data.getvalue()).decode()
