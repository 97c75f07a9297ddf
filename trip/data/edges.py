"""Canny edges of a picture, and the maps that a ControlNet for them learns from."""

import cv2
import numpy as np
from numpy import ndarray
from PIL import Image

LOOKS = (1, 2, 4)  # sides of the picture in which edges are looked for, in sides of the map: few strong lines to many fine grey ones
LOW, HIGH = (50.0, 150.0), (1.5, 2.5)  # the lower threshold, and the higher one as a multiple of it; people begin at 100 and 200


def canny_edges(pixels: ndarray, low: int, high: int) -> ndarray:
    """White edges on black (Canny 1986), with its two thresholds: h w 3, uint8 RGB -> h w, uint8."""
    return cv2.Canny(np.ascontiguousarray(pixels), low, high)


def shrunk(edges: ndarray, size: int) -> ndarray:
    """A map at the side of the picture that is drawn over it, as pipelines are given it: h w -> size size, uint8."""
    return np.asarray(Image.fromarray(edges).resize((size, size), Image.Resampling.BILINEAR))


def draw_thresholds(rng: np.random.Generator) -> tuple[int, int]:
    """Two thresholds, near those that people choose."""
    low = rng.uniform(*LOW)
    return round(low), round(min(255, low * rng.uniform(*HIGH)))
