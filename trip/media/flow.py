"""Dense optical flow between frames, and how far a frame shows what was expected of it."""

import cv2
import numpy as np

FLOW_SIDE = 256  # DIS works on patches of 8 pixels: smaller frames are enlarged so that a patch covers a detail, not an object
SAME_CONTENT = 24.0  # difference of two pictures of the same thing, grey levels: a bit above an autoencoder's own
NEIGHBOURHOOD = 2.0  # pixels around one that are compared with it
LIGHT_BLUR = 1 / 6  # of the short side: what changes as broadly as that is light
LIGHT_NOISE, MOST_GAIN = 12.0, 1.5  # grey levels of contrast below which a change of contrast is not believed; largest gain


class FlowFinder:
    """OpenCV's DIS optical flow between frames of one size; `quick` is three times as fast and a little less exact.

    Searches from the flow found before, so that along a clip a long way is found in short steps; `found = None` begins anew.
    """

    def __init__(self, height: int, width: int, quick: bool = False):
        self.size = (width, height)
        self.scale = max(1, -(-FLOW_SIDE // min(height, width)))
        self.dis = cv2.DISOpticalFlow_create(cv2.DISOPTICAL_FLOW_PRESET_FAST if quick else cv2.DISOPTICAL_FLOW_PRESET_MEDIUM)
        self.found: np.ndarray | None = None

    def flow(self, a: np.ndarray, b: np.ndarray) -> np.ndarray:
        """Where every pixel of `a` is in `b`: h w 2 (right, down), pixels; a, b are frames h w 3, uint8 RGB."""
        self.found = self.dis.calc(self._grey(a), self._grey(b), self.found)
        return cv2.resize(self.found, self.size, interpolation=cv2.INTER_AREA) / self.scale

    def _grey(self, frame: np.ndarray) -> np.ndarray:
        grey = cv2.cvtColor(frame, cv2.COLOR_RGB2GRAY)
        return cv2.resize(grey, None, fx=self.scale, fy=self.scale, interpolation=cv2.INTER_CUBIC)


def carried(picture: np.ndarray, way: np.ndarray, interpolation: int = cv2.INTER_LINEAR) -> tuple[np.ndarray, np.ndarray]:
    """What a picture shows at the far end of each pixel's way, h w 3, uint8, and where that lies in the picture, h w, bool.

    way  right, down, pixels   h w 2
    """
    height, width = way.shape[:2]
    y, x = np.mgrid[0:height, 0:width].astype(np.float32)
    x, y = x + way[..., 0], y + way[..., 1]
    inside = (x >= 0) & (x <= width - 1) & (y >= 0) & (y <= height - 1)
    return cv2.remap(picture, x, y, interpolation, borderMode=cv2.BORDER_REPLICATE), inside


def agreement(frame: np.ndarray, expected: np.ndarray, inside: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """How far a frame shows what was expected of it, h w in [0, 1], and that under the frame's own light, h w 3 in grey levels.

    Light is what changes brightness and contrast broadly: the best fit of `gain * expected + offset` around each place.
    frame, expected  h w 3, uint8
    inside           where anything was expected   h w, float32 in [0, 1]
    """
    gain, offset = light_between(frame, expected, inside)
    lit = gain * expected + offset
    difference = blurred(np.square(frame - lit).mean(axis=2), NEIGHBOURHOOD)
    return blurred(np.exp(-difference / (2 * SAME_CONTENT**2)) * inside, 1.0) * inside, lit


def light_between(frame: np.ndarray, expected: np.ndarray, inside: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Gain and offset, each h w 3, that lead from what was expected to a frame, broadly: a least-squares fit around each place."""
    sigma = LIGHT_BLUR * min(frame.shape[:2])
    weight = inside[..., None]
    total = blurred(inside, sigma)[..., None] + 1e-3
    was, now = expected.astype(np.float32), frame.astype(np.float32)
    mean_was, mean_now = blurred(was * weight, sigma) / total, blurred(now * weight, sigma) / total
    variance = blurred(was * was * weight, sigma) / total - mean_was**2
    covariance = blurred(was * now * weight, sigma) / total - mean_was * mean_now
    gain = np.clip((covariance + LIGHT_NOISE**2) / (variance + LIGHT_NOISE**2), 0, MOST_GAIN)
    return gain, mean_now - gain * mean_was


def blurred(picture: np.ndarray, sigma: float) -> np.ndarray:
    """The picture under a Gaussian window, sigma in pixels."""
    return cv2.GaussianBlur(picture, (0, 0), sigma)
