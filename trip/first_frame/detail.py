"""What a small editor's autoencoder lost of a photo, given back to the edited picture, at the photo's own size.

A local linear model of colours, as in the guided filter (He et al. 2010) and in bilateral guided upsampling (Chen et al. 2016): in each
window the edit is fitted by `edited = A decoded + b`, with the photo as it comes back from the autoencoder; the result is `A photo + b`,
and a share of what the fit leaves over: part of that the edit drew anew, part is the mottling of a small model.
"""

import cv2
import numpy as np
from numpy import ndarray

WINDOW = 1 / 4  # of the short side: side of the window in which one linear model holds
NOISE = 0.02  # deviation of colours, of 1, below which a window is taken as flat
LEFT_OVER = 0.5  # share of what no linear model explains that is kept
BOUND = 2.0  # strongest gain of a colour: what is fitted in flat windows must not boost noise


def give_back_detail(edited: ndarray, decoded: ndarray, photo: ndarray) -> ndarray:
    """The edited picture with the photo's detail, in the photo's size: H W 3, uint8.

    edited   result of the editor             h w 3, uint8 RGB
    decoded  the photo, encoded and decoded   h w 3, uint8 RGB
    photo    the photo, of the same aspect    H W 3, uint8 RGB
    """
    assert edited.shape == decoded.shape, f"{edited.shape} and {decoded.shape}: one picture was resized, the other was not"
    size = photo.shape[1::-1]
    gains = local_gains(_unit(edited), _unit(decoded))
    rest = _unit(edited) - _applied(gains, _unit(decoded))
    offset = _window_mean(rest, _radius(rest))
    offset += LEFT_OVER * (rest - offset)
    gains = _enlarged(gains.reshape(*gains.shape[:2], 9), size).reshape(*photo.shape[:2], 3, 3)
    return (255 * (_applied(gains, _unit(photo)) + _enlarged(offset, size))).round().clip(0, 255).astype(np.uint8)


def local_gains(edited: ndarray, decoded: ndarray) -> ndarray:
    """`A` of the best `edited = A decoded + b` around each pixel: h w 3 3, from two pictures h w 3 in [0, 1]."""
    radius = _radius(edited)
    mean_edited, mean_decoded = _window_mean(edited, radius), _window_mean(decoded, radius)
    variance = _window_mean(_outer(decoded, decoded), radius) - _outer(mean_decoded, mean_decoded)
    covariance = _window_mean(_outer(edited, decoded), radius) - _outer(mean_edited, mean_decoded)
    solved = np.linalg.solve(variance + NOISE**2 * np.eye(3), np.swapaxes(covariance, 2, 3))
    gains = np.clip(np.swapaxes(solved, 2, 3), -BOUND, BOUND).astype(np.float32)
    return _window_mean(gains, radius)


def _applied(gains: ndarray, picture: ndarray) -> ndarray:
    return np.einsum("hwij,hwj->hwi", gains, picture)


def _radius(picture: ndarray) -> int:
    return max(1, round(WINDOW * min(picture.shape[:2]) / 2))


def _outer(a: ndarray, b: ndarray) -> ndarray:
    return a[..., :, None] * b[..., None, :]


def _window_mean(values: ndarray, radius: int) -> ndarray:
    planes = values.reshape(*values.shape[:2], -1)
    means = [cv2.blur(np.ascontiguousarray(plane), (2 * radius + 1,) * 2) for plane in np.moveaxis(planes, 2, 0)]
    return np.stack(means, axis=2).reshape(values.shape)


def _enlarged(picture: ndarray, size: tuple[int, int]) -> ndarray:
    planes = [cv2.resize(np.ascontiguousarray(plane), size, interpolation=cv2.INTER_CUBIC) for plane in np.moveaxis(picture, 2, 0)]
    return np.stack(planes, axis=2)


def _unit(picture: ndarray) -> ndarray:
    return picture.astype(np.float32) / 255
