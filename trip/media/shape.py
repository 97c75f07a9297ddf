"""Height and width of a frame."""

from math import log
from operator import truediv

from trip.media.photo import Box

WIDEST = 7 / 3  # of a frame as wide as its photo, and upright as high; the page's crop frame keeps to it too
AREA_TOLERANCE = 0.125  # of such a frame's pixels


def frame_shape(aspect: str, side: int, photo: tuple[int, int] | None = None, crop: Box | None = None) -> tuple[int, int]:
    """Height and width of a frame, pixels, whole 16s: as many pixels as the square of that side, within a few per cent.

    aspect       as 16:9, width to height, or `photo`
    photo, crop  size of the photo, and the part of it that is animated, which `photo` as the aspect follows; none: the square

    Of all such shapes that aspect takes the one nearest to the part: a frame of a clip gives the shape that the clip had.
    """
    if aspect == "photo":
        sides = ((photo or (1, 1))[axis] * (crop or (0, 0, 1, 1))[2 + axis] for axis in range(2))
        return _shape_near(min(max(truediv(*sides), 1 / WIDEST), WIDEST), side)
    across, down = map(int, aspect.split(":"))
    stretch = (across / down) ** 0.5
    height, width = (max(16, round(side * share / 16) * 16) for share in (1 / stretch, stretch))
    return height, width


def _shape_near(aspect: float, side: int) -> tuple[int, int]:
    """Of the shapes in whole 16s with about as many pixels as the square, the one whose width to height is nearest."""
    cells = (side / 16) ** 2
    sides = range(1, round((WIDEST * cells) ** 0.5) + 1)
    shapes = [(h, w) for h in sides for w in sides if abs(h * w / cells - 1) <= AREA_TOLERANCE and 1 / WIDEST <= w / h <= WIDEST]
    h, w = min(shapes, key=lambda shape: (round(abs(log(shape[1] / shape[0] / aspect)), 9), abs(shape[0] * shape[1] - cells)))
    return 16 * h, 16 * w
