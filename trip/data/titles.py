"""What a painter is told of a picture: a caption, its style or its colours, or both."""

import cv2
import numpy as np
from numpy import ndarray

from trip.data.wordings import STATES

STYLES = (  # edits of `trip.data.edits` that a picture shows by itself, with nothing to compare it to
    "night", "dusk", "sunset", "golden hour", "winter", "autumn", "fog", "underwater", "mars", "neon", "sketch",
    "sepia", "black and white", "vintage",
)  # fmt: skip
HUES = (  # where each ends, in OpenCV's hues of 0 to 179
    (8, "red"), (20, "orange"), (33, "yellow"), (80, "green"), (98, "teal"), (128, "blue"), (145, "purple"), (170, "pink"), (180, "red"),
)  # fmt: skip
LEAST_SHARE = 0.2  # of a picture that a colour takes where it is named
COLOUR_SHARE, STYLE_ALONE = 0.4, 0.2  # titles that name colours; titles of styled pictures that say the style and nothing else


def draw_title(rng: np.random.Generator, pixels: ndarray, caption: str, style: str = "") -> str:
    """One wording for a picture, h w 3, uint8: its caption with its style, where it has one, else at times with its colours."""
    parts = [caption] if caption else []
    if style:
        state = str(rng.choice(STATES[style]))
        parts = [state] if rng.random() < STYLE_ALONE else [*parts, state]
    elif rng.random() < COLOUR_SHARE:
        parts.append(" and ".join(colour_names(pixels)))
    return ", ".join(rng.permutation(parts)) if parts else ""


def colour_names(pixels: ndarray) -> list[str]:
    """The one or two colours that take most of a picture: h w 3, uint8 -> their names, the largest first."""
    small = cv2.resize(pixels, (24, 24), interpolation=cv2.INTER_AREA)
    names = [_name(*map(int, place)) for place in cv2.cvtColor(small, cv2.COLOR_RGB2HSV).reshape(-1, 3)]
    counts = sorted(((names.count(name), name) for name in set(names)), reverse=True)
    return [name for count, name in counts[:2] if count >= LEAST_SHARE * len(names)] or [counts[0][1]]


def _name(hue: int, saturation: int, value: int) -> str:
    """Of one colour; hue 0 to 179, the others 0 to 255, as OpenCV has them."""
    if value < 45:
        return "black"
    if saturation < 38:
        return "white" if value > 190 else "grey"
    name = next(name for end, name in HUES if hue < end)
    return "brown" if name in ("red", "orange", "yellow") and value < 150 and hue < 28 else name
