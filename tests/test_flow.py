"""How far a frame shows what was expected of it, and under what light."""

import cv2
import numpy as np
import pytest
from skimage.data import astronaut

from trip.media import agreement, carried, light_between

SIZE = 96
WIDE = cv2.resize(astronaut(), (160, 160), interpolation=cv2.INTER_AREA)
ALL = np.ones((SIZE, SIZE), np.float32)


def window(x: int, y: int) -> np.ndarray:
    return WIDE[y : y + SIZE, x : x + SIZE]


def test_a_picture_agrees_with_itself_also_in_the_dark():
    agreed, lit = agreement((window(30, 30) * 0.6).astype(np.uint8), window(30, 30), ALL)
    assert agreed.min() > 0.95
    assert np.abs(lit - 0.6 * window(30, 30)).mean() < 4


def test_another_thing_in_it_does_not_agree():
    frame = window(30, 30).copy()
    frame[20:60, 20:60] = (0, 255, 0)
    agreed, _ = agreement(frame, window(30, 30), ALL)
    assert agreed[28:52, 28:52].mean() < 0.35 and agreed[80:, 80:].min() > 0.5


@pytest.mark.parametrize("dx, dy", [(2, 0), (0, -3)])
def test_what_is_carried_lies_at_the_end_of_its_way(dx, dy):
    seen, inside = carried(window(30, 30), np.broadcast_to(np.float32([dx, dy]), (SIZE, SIZE, 2)))
    assert np.array_equal(seen[inside], window(30 + dx, 30 + dy)[inside])
    assert inside.mean() == pytest.approx((SIZE - abs(dx)) * (SIZE - abs(dy)) / SIZE**2)


def test_light_is_a_gain_and_an_offset():
    gain, offset = light_between((window(30, 30) * 0.5 + 40).astype(np.uint8), window(30, 30), ALL)
    assert np.abs(gain * window(30, 30) + offset - 0.5 * window(30, 30) - 40).mean() < 5
