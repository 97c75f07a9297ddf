"""Detail that an autoencoder lost comes back through the edit, and what the edit drew anew is not lost."""

import cv2
import numpy as np
import pytest
from skimage.data import astronaut

from trip.data.edits import apply_edit
from trip.first_frame.detail import LEFT_OVER, give_back_detail, local_gains

PHOTO = cv2.resize(astronaut(), (128, 128), interpolation=cv2.INTER_AREA)


def blurred(picture: np.ndarray, sigma: float = 1.5) -> np.ndarray:
    """As after an autoencoder."""
    return cv2.GaussianBlur(picture, (0, 0), sigma)


def psnr(one: np.ndarray, other: np.ndarray) -> float:
    return -10 * np.log10(np.square(one.astype(float) - other).mean() / 255**2)


def test_nothing_lost_nothing_changed():
    edit = 255 - PHOTO
    assert np.abs(give_back_detail(edit, PHOTO, PHOTO).astype(int) - edit).mean() < 1


def test_an_untouched_photo_comes_back_sharp():
    assert psnr(give_back_detail(blurred(PHOTO), blurred(PHOTO), PHOTO), PHOTO) > 38 > 28 > psnr(blurred(PHOTO), PHOTO)


@pytest.mark.parametrize("name", ["night", "sepia", "black and white", "warmer", "autumn", "winter", "vintage"])
def test_the_known_edit_is_met_better_with_detail_than_without(name):
    known = apply_edit(name, PHOTO, np.random.default_rng(0))
    plain, sharp = psnr(blurred(known), known), psnr(give_back_detail(blurred(known), blurred(PHOTO), PHOTO), known)
    assert sharp > plain + 2


def test_half_of_what_the_edit_drew_anew_stays_at_least():
    photo = np.full((64, 64, 3), 120, np.uint8)
    edit = photo.copy()
    edit[24:28, 24:28] = 240
    assert give_back_detail(edit, photo, photo)[25:27, 25:27].mean() > 120 + LEFT_OVER * 120
    assert np.array_equal(give_back_detail(edit, photo, photo)[:8], photo[:8])


def test_the_result_has_the_photos_size():
    large = cv2.resize(astronaut(), (384, 256), interpolation=cv2.INTER_AREA)
    small = cv2.resize(large, (96, 64), interpolation=cv2.INTER_AREA)
    dark = (small * 0.5).astype(np.uint8)
    result = give_back_detail(dark, small, large)
    assert result.shape == large.shape
    assert psnr(result, (large * 0.5).astype(np.uint8)) > psnr(cv2.resize(dark, (384, 256)), (large * 0.5).astype(np.uint8)) + 3


def test_gains_are_the_linear_map_of_the_colours():
    rng = np.random.default_rng(0)
    picture = rng.uniform(0, 1, (48, 48, 3)).astype(np.float32)
    mixing = np.float32([[0.5, 0.2, 0.0], [0.0, 0.7, 0.1], [0.3, 0.0, 0.4]])
    gains = local_gains(picture @ mixing.T + 0.05, picture)
    assert np.abs(gains - mixing).max() < 0.02
