"""How like its target a clip is, frame by frame: PSNR, SSIM, and how much of the target's sharpness is there."""

import cv2
import numpy as np

SAME_DB = 60.0  # what identical frames count as, so that means stay finite
WINDOW, SIGMA = 11, 1.5  # pixels; the Gaussian window of Wang et al., "Image quality assessment", 2004, Sec. III-C
K1, K2 = 0.01, 0.03  # constants of the same section, shares of the range of 255


def psnr(picture: np.ndarray, target: np.ndarray) -> float:
    """PSNR of a picture to its target, both h w 3, uint8: dB, at most SAME_DB."""
    error = np.square(picture.astype(np.float64) - target).mean()  # whole numbers: exact in any order
    return float(min(10 * np.log10(255.0**2 / max(error, 1e-9)), SAME_DB))


def frame_psnr(clip: np.ndarray, target: np.ndarray) -> np.ndarray:
    """PSNR of each frame to its target: f, dB.

    clip, target  f h w 3, uint8
    """
    return np.array([psnr(frame, wanted) for frame, wanted in zip(clip, target, strict=True)])


def frame_ssim(clip: np.ndarray, target: np.ndarray) -> np.ndarray:
    """Structural similarity of each frame to its target (Wang et al. 2004, Eq. 13), mean over colours and places: f, in [-1, 1].

    clip, target  f h w 3, uint8; at least WINDOW pixels a side, since only whole windows count. Raises ValueError
    """
    if min(clip.shape[1:3]) < WINDOW:
        raise ValueError(f"wanted frames of at least {WINDOW} x {WINDOW} pixels, got {clip.shape[1]} x {clip.shape[2]}; enlarge them")
    return np.array([_ssim(a.astype(np.float32), b.astype(np.float32)) for a, b in zip(clip, target, strict=True)])


def _ssim(x: np.ndarray, y: np.ndarray) -> float:
    x, y = x - 128, y - 128  # variances are differences of squares: small numbers lose least
    mean_x, mean_y = _windowed(x), _windowed(y)
    variance_x, variance_y = _windowed(x * x) - mean_x**2, _windowed(y * y) - mean_y**2
    covariance = _windowed(x * y) - mean_x * mean_y
    mean_x, mean_y = mean_x + 128, mean_y + 128
    c1, c2 = (K1 * 255) ** 2, (K2 * 255) ** 2
    luminance = (2 * mean_x * mean_y + c1) / (mean_x**2 + mean_y**2 + c1)
    structure = (2 * covariance + c2) / (variance_x + variance_y + c2)
    inner = WINDOW // 2
    return float((luminance * structure)[inner:-inner, inner:-inner].mean(dtype=np.float64))


def _windowed(picture: np.ndarray) -> np.ndarray:
    return cv2.GaussianBlur(picture, (WINDOW, WINDOW), SIGMA)


def sharpness(frame: np.ndarray) -> float:
    """Variance of the Laplacian of a frame's grey, grey levels squared: h w 3, uint8."""
    return float(cv2.Laplacian(cv2.cvtColor(frame, cv2.COLOR_RGB2GRAY), cv2.CV_64F).var())
