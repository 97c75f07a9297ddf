"""Detail follows the motion of a clip, and only where the clip still shows the photo."""

import cv2
import numpy as np
import pytest
from skimage.data import astronaut

from trip.media import carry_detail

SIZE = 96
WIDE = cv2.resize(astronaut(), (160, 160), interpolation=cv2.INTER_AREA)


def window(x: int, y: int) -> np.ndarray:
    return WIDE[y : y + SIZE, x : x + SIZE]


def blurred(frames: np.ndarray) -> np.ndarray:
    """As an autoencoder gives frames back."""
    return np.stack([cv2.GaussianBlur(frame, (0, 0), 2.0) for frame in frames])


def error(a: np.ndarray, b: np.ndarray) -> float:
    return float(np.square(a.astype(float) - b).mean())


def test_a_still_clip_becomes_the_photo():
    clip = np.stack([window(30, 30)] * 4)
    decoded = blurred(clip)
    assert error(carry_detail(decoded, clip[0], decoded[0]), clip) < 0.02 * error(decoded, clip)


@pytest.mark.parametrize("dx, dy", [(2, 0), (0, -2), (-1, 1)])
def test_detail_follows_a_pan(dx, dy):
    clip = np.stack([window(30 + i * dx, 30 + i * dy) for i in range(12)])
    decoded = blurred(clip)
    carried = carry_detail(decoded, clip[0], decoded[0])
    inner = (slice(1, None), slice(26, -26), slice(26, -26))  # what was in the photo from the beginning
    assert error(carried[inner], clip[inner]) < 0.25 * error(decoded[inner], clip[inner])


def test_what_the_photo_does_not_show_stays_the_clips_own():
    clip = np.stack([window(30, 30)] * 3)
    decoded = blurred(clip)
    decoded[2, 20:60, 20:60] = (0, 255, 0)
    carried = carry_detail(decoded, clip[0], decoded[0])
    assert error(carried[2, 28:52, 28:52], decoded[2, 28:52, 28:52]) < 5  # of 255 squared
    assert carried.shape == clip.shape and carried.dtype == np.uint8
