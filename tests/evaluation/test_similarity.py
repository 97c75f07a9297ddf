"""PSNR, SSIM and sharpness of frames whose damage is known."""

import cv2
import numpy as np
import pytest
from skimage.data import astronaut
from skimage.metrics import structural_similarity

from trip.evaluation.similarity import SAME_DB, frame_psnr, frame_ssim, sharpness

PHOTO = cv2.resize(astronaut(), (160, 120), interpolation=cv2.INTER_AREA)


def damaged(deviation: float, blur: float) -> np.ndarray:
    soft = cv2.GaussianBlur(PHOTO, (0, 0), blur).astype(float)
    return (soft + np.random.default_rng(0).normal(0, deviation, PHOTO.shape)).round().clip(0, 255).astype(np.uint8)


def test_psnr_of_a_known_error() -> None:
    black = np.zeros((2, 8, 8, 3), np.uint8)
    off = black + np.array([0, 51], np.uint8)[:, None, None, None]
    assert frame_psnr(black, off) == pytest.approx([SAME_DB, 20 * np.log10(5)], abs=1e-4)


@pytest.mark.parametrize("deviation, blur", [(1, 0.3), (10, 0.3), (3, 2), (40, 4)])
def test_ssim_is_that_of_wang_et_al(deviation: float, blur: float) -> None:
    other = damaged(deviation, blur)
    known = structural_similarity(
        PHOTO, other, channel_axis=2, gaussian_weights=True, sigma=1.5, use_sample_covariance=False, data_range=255
    )
    assert frame_ssim(other[None], PHOTO[None]) == pytest.approx([known], abs=1e-5)
    assert 0.1 < known < 0.999


def test_ssim_of_the_same_of_flat_and_of_negative_frames() -> None:
    flat = np.full_like(PHOTO, 250)
    assert frame_ssim(np.stack([PHOTO, flat]), np.stack([PHOTO, flat])) == pytest.approx([1, 1], abs=1e-6)
    assert frame_ssim(255 - PHOTO[None], PHOTO[None])[0] < 0


def test_frames_smaller_than_a_window_are_refused() -> None:
    with pytest.raises(ValueError, match="at least 11 x 11 pixels, got 8 x 40"):
        frame_ssim(np.zeros((1, 8, 40, 3), np.uint8), np.zeros((1, 8, 40, 3), np.uint8))


def test_sharpness_is_the_variance_of_the_laplacian() -> None:
    board = np.kron((np.indices((8, 8)).sum(0) % 2).astype(np.uint8), np.ones((1, 1), np.uint8)) * 10
    board = np.repeat(board[..., None], 3, axis=2)  # every neighbour differs by 10: the Laplacian is 40 and -40 in turn
    assert sharpness(board) == pytest.approx(40**2)
    assert sharpness(PHOTO) > 3 * sharpness(cv2.GaussianBlur(PHOTO, (0, 0), 1.0))
    assert sharpness(np.full_like(PHOTO, 90)) == 0
