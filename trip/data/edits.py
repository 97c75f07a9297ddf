"""Known edits of photos: pairs of before and after from which an instruction editor learns (InstructPix2Pix, Sec. 3, made by rule).

Every edit is a short function of the pixels, `h w 3` in [0, 1]; what is sky and what is far away is guessed from place and colour.
How an edit is asked for in words is in `trip.data.instructions`.
"""

from collections.abc import Callable

import cv2
import numpy as np
from numpy import ndarray

GREY = np.array([0.299, 0.587, 0.114], dtype=np.float32)  # Rec. 601, as cv2 has it


def apply_edit(name: str, photo: ndarray, rng: np.random.Generator, amount: float = 1.0) -> ndarray:
    """A photo after an edit: h w 3, uint8 RGB -> the same.

    rng     source of what is scattered, as raindrops are
    amount  0 leaves the photo as it is, 1 is the edit, and up to 1.5 is more of it
    Raises ValueError where there is no such edit.
    """
    if name not in EDITS:
        raise ValueError(f"unknown edit {name!r}; choose {', '.join(EDITS)}")
    before = photo.astype(np.float32) / 255
    after = EDITS[name](before, rng)
    return (255 * (before + amount * (after - before))).round().clip(0, 255).astype(np.uint8)


# light of the day


def _night(photo: ndarray, rng: np.random.Generator) -> ndarray:
    """Dark and blue under a sky of ink; what was bright on the ground glows like lamps."""
    sky = _sky(photo)
    dark = _faded(photo, 0.4) ** 1.4 * 0.34 * (0.55, 0.72, 1.25)
    ground = _towards(dark, _ramp(photo, (0.01, 0.02, 0.08), (0.07, 0.10, 0.24)), 0.85 * sky)
    lamps = _rise(_grey(photo), 0.72, 0.98) * (1 - sky) * (1.0, 0.72, 0.34)
    return ground + 0.55 * lamps + 0.5 * _blurred(lamps, 1 / 24)


def _dusk(photo: ndarray, rng: np.random.Generator) -> ndarray:
    """The blue hour: a deep blue sky that is pink above the horizon."""
    dim = _faded(photo, 0.3) * 0.55 * (0.78, 0.82, 1.3)
    return _towards(dim, _ramp(photo, (0.10, 0.14, 0.42), (0.78, 0.48, 0.56)) * _clouds(photo), 0.85 * _sky(photo))


def _sunset(photo: ndarray, rng: np.random.Generator) -> ndarray:
    """A sky from violet to burning orange, and its light on the ground."""
    lit = _contrasted(photo, 1.15) * (1.0, 0.62, 0.42) * 0.85
    return _towards(lit, _ramp(photo, (0.42, 0.22, 0.46), (1.0, 0.52, 0.16)) * _clouds(photo), 0.88 * _sky(photo))


def _golden_hour(photo: ndarray, rng: np.random.Generator) -> ndarray:
    """Low sun from the upper right: a veil of gold that thins out to the other side."""
    down, right = _places(photo)
    sun = np.exp(-3.0 * ((right - 0.95) ** 2 + (down - 0.1) ** 2))[..., None]
    return _contrasted(photo, 1.05) * (1.08, 0.90, 0.62) + sun * (0.45, 0.32, 0.10)


# seasons and weather


def _winter(photo: ndarray, rng: np.random.Generator) -> ndarray:
    """Snow where grass, leaves and ground were, most where light falls on them from above; a pale sky."""
    sky = _sky(photo)
    faces_up = _rise(-cv2.Sobel(_blurred(_grey(photo), 1 / 128), cv2.CV_32F, 0, 1, ksize=3)[..., None], -0.25, 0.25)
    snow = np.clip(0.75 * _plants(photo) + 0.85 * _lies_low(photo) * (0.35 + 0.65 * faces_up), 0, 1) * (1 - sky)
    cold = _faded(photo, 0.55) * (0.90, 0.98, 1.10)
    white = (0.62 + 0.38 * _grey(photo)) * (0.94, 0.98, 1.0)
    return _towards(_towards(cold, white, snow), (0.80, 0.85, 0.90), 0.75 * sky)


def _autumn(photo: ndarray, rng: np.random.Generator) -> ndarray:
    """Leaves and grass turn from green to orange and red, the rest grows a little warmer."""
    light = _grey(photo)
    leaves = _towards((0.95, 0.30, 0.08), (1.0, 0.68, 0.16), _rise(light, 0.15, 0.6)) * (0.30 + 1.1 * light)
    return _towards(photo * (1.06, 0.97, 0.84), leaves, _plants(photo))


def _fog(photo: ndarray, rng: np.random.Generator) -> ndarray:
    """Grey air that swallows what is far away, which is what stands high in the picture."""
    down, _ = _places(photo)
    seen = np.exp(-2.2 * (1 - 0.85 * down))[..., None]
    return _towards(np.float32((0.80, 0.82, 0.85)), _faded(_blurred(photo, 1 / 96), 0.4), np.clip(0.15 + 1.1 * seen, 0, 1))


def _rain(photo: ndarray, rng: np.random.Generator) -> ndarray:
    """A grey, dim day behind slanting streaks of rain."""
    dim = _towards(_faded(photo, 0.55) * 0.62 * (0.92, 0.98, 1.10), (0.42, 0.46, 0.52), 0.7 * _sky(photo))
    height, width = photo.shape[:2]
    drops = (rng.random((128, max(1, round(128 * width / height)))) > 0.99).astype(np.float32)
    slant = cv2.line(np.zeros((21, 21), dtype=np.float32), (13, 0), (7, 20), 1.0)
    streaks = cv2.GaussianBlur(np.clip(cv2.filter2D(drops, -1, slant), 0, 1), (0, 0), 0.6)
    return dim + 0.3 * cv2.resize(streaks, (width, height), interpolation=cv2.INTER_LINEAR)[..., None]


# other worlds


def _underwater(photo: ndarray, rng: np.random.Generator) -> ndarray:
    """Blue-green water that takes the red away, lit from above."""
    down, _ = _places(photo)
    seen = _blurred(photo, 1 / 96) * (0.30, 0.85, 0.95)
    water = _towards(np.float32((0.10, 0.62, 0.74)), np.float32((0.0, 0.16, 0.34)), down[..., None])
    return _towards(water, seen, 0.55)


def _mars(photo: ndarray, rng: np.random.Generator) -> ndarray:
    """Rust-coloured dust on everything under a butterscotch sky."""
    dust = _grey(photo) * (1.15, 0.58, 0.36)
    return _towards(_towards(photo, dust, 0.85), _ramp(photo, (0.72, 0.46, 0.28), (0.92, 0.70, 0.48)), 0.85 * _sky(photo))


def _neon(photo: ndarray, rng: np.random.Generator) -> ndarray:
    """Shadows of violet, lights of magenta and cyan."""
    light = _contrasted(_grey(photo), 1.3)
    dark = _towards(np.float32((0.06, 0.0, 0.16)), np.float32((0.85, 0.05, 0.62)), _rise(light, 0.0, 0.6))
    return _towards(dark, np.float32((0.25, 0.95, 1.0)), _rise(light, 0.45, 1.0))


# ways to draw and to print


def _sketch(photo: ndarray, rng: np.random.Generator) -> ndarray:
    """Pencil on paper: dark where a pixel is darker than its neighbourhood."""
    grey = _grey(photo)
    lines = np.clip((grey + 0.02) / (_blurred(grey, 1 / 40) + 0.02), 0, 1) ** 2.2
    return np.repeat(np.clip(0.96 * lines + 0.06 * (grey - 0.5), 0, 1), 3, axis=2)


def _cartoon(photo: ndarray, rng: np.random.Generator) -> ndarray:
    """Flat, strong colours in few steps with dark outlines."""
    flat = cv2.bilateralFilter(photo, 9, 0.15, photo.shape[0] / 40)
    light = _grey(flat)
    steps = (np.floor(light * 5) + 0.5) / 5
    flat = _faded(flat * (steps / (light + 0.02)), -0.5)
    slopes = [cv2.Sobel(_blurred(_grey(photo), 1 / 128), cv2.CV_32F, *axes, ksize=3) for axes in ((1, 0), (0, 1))]
    return flat * (1 - 0.85 * _rise(np.hypot(*slopes)[..., None], 0.25, 0.6))


def _sepia(photo: ndarray, rng: np.random.Generator) -> ndarray:
    """Brown tones of an old print."""
    return _grey(photo) * (1.08, 0.88, 0.64) + (0.05, 0.03, 0.0)


def _black_and_white(photo: ndarray, rng: np.random.Generator) -> ndarray:
    """No colour."""
    return np.repeat(_grey(photo), 3, axis=2)


def _vintage(photo: ndarray, rng: np.random.Generator) -> ndarray:
    """Washed-out film: green shadows, cream lights, dark corners."""
    down, right = _places(photo)
    corners = 1 - 0.75 * np.clip((down - 0.5) ** 2 + (right - 0.5) ** 2 - 0.08, 0, None)[..., None]
    return (_faded(photo, 0.45) * (0.72, 0.68, 0.50) + (0.20, 0.22, 0.17)) * corners


# plain changes of light and colour


def _warmer(photo: ndarray, rng: np.random.Generator) -> ndarray:
    """Towards orange."""
    return photo * (1.14, 0.99, 0.74)


def _cooler(photo: ndarray, rng: np.random.Generator) -> ndarray:
    """Towards blue."""
    return photo * (0.76, 0.97, 1.16)


def _brighter(photo: ndarray, rng: np.random.Generator) -> ndarray:
    """More light, the lights kept."""
    return photo**0.6 * 1.08


def _darker(photo: ndarray, rng: np.random.Generator) -> ndarray:
    """Less light."""
    return photo**1.2 * 0.48


def _vivid(photo: ndarray, rng: np.random.Generator) -> ndarray:
    """Stronger colours."""
    return _contrasted(_faded(photo, -0.9), 1.08)


EDITS: dict[str, Callable[[ndarray, np.random.Generator], ndarray]] = {
    "night": _night,
    "dusk": _dusk,
    "sunset": _sunset,
    "golden hour": _golden_hour,
    "winter": _winter,
    "autumn": _autumn,
    "fog": _fog,
    "rain": _rain,
    "underwater": _underwater,
    "mars": _mars,
    "neon": _neon,
    "sketch": _sketch,
    "cartoon": _cartoon,
    "sepia": _sepia,
    "black and white": _black_and_white,
    "vintage": _vintage,
    "warmer": _warmer,
    "cooler": _cooler,
    "brighter": _brighter,
    "darker": _darker,
    "vivid": _vivid,
}


# what the edits are made of; masks are h w 1


def _grey(photo: ndarray) -> ndarray:
    return (photo @ GREY)[..., None]


def _faded(photo: ndarray, amount: float) -> ndarray:
    """Towards grey; away from it below zero."""
    return np.clip(_towards(photo, _grey(photo), amount), 0, 1)


def _contrasted(photo: ndarray, factor: float) -> ndarray:
    return np.clip(0.45 + factor * (photo - 0.45), 0, 1)


def _towards(one: ndarray, other: ndarray, share: float | ndarray) -> ndarray:
    return np.asarray(one, dtype=np.float32) * (1 - share) + np.asarray(other, dtype=np.float32) * share


def _rise(values: ndarray, low: float, high: float) -> ndarray:
    """0 below `low`, 1 above `high`, smooth between."""
    x = np.clip((values - low) / (high - low), 0, 1)
    return x * x * (3 - 2 * x)


def _blurred(picture: ndarray, sigma: float) -> ndarray:
    """Gaussian blur, sigma as a share of the height; keeps three dimensions."""
    return cv2.GaussianBlur(picture, (0, 0), sigma * picture.shape[0]).reshape(picture.shape)


def _places(photo: ndarray) -> tuple[ndarray, ndarray]:
    """How far down and how far right each pixel is: two arrays h w from 0 to 1."""
    height, width = photo.shape[:2]
    down, right = np.mgrid[0:height, 0:width].astype(np.float32)
    return down / (height - 1), right / (width - 1)


def _ramp(photo: ndarray, top: tuple[float, ...], horizon: tuple[float, ...]) -> ndarray:
    """A sky's colours from the top of the picture to its lower third."""
    down, _ = _places(photo)
    return _towards(np.float32(top), np.float32(horizon), _rise(down, 0.0, 0.65)[..., None])


def _clouds(photo: ndarray) -> ndarray:
    """Clouds as a factor around 1."""
    return np.clip(1 + 0.7 * (_grey(photo) - 0.7), 0.5, 1.2)


def _sky(photo: ndarray) -> ndarray:
    """How surely a pixel is sky: bright, blue or without colour, smooth, and joined to the top of the picture."""
    soft = _blurred(photo, 1 / 64)
    red, green, blue = np.moveaxis(soft, 2, 0)[..., None]
    bluish = _rise(blue - np.maximum(red, green), -0.06, 0.05) * _rise(blue, 0.25, 0.5)
    pale = _rise(np.minimum(np.minimum(red, green), blue), 0.55, 0.75)
    rough = _blurred(np.abs(_grey(photo) - _grey(soft)), 1 / 48)
    alike = np.maximum(bluish, pale) * (1 - _rise(rough, 0.015, 0.05))
    down, _ = _places(photo)
    joined = np.minimum.accumulate(alike, axis=0) * (1 - _rise(down, 0.6, 0.9))[..., None]
    return _blurred(joined, 1 / 40)


def _plants(photo: ndarray) -> ndarray:
    """How surely a pixel is leaves or grass: greener than it is blue, and no redder than it is green."""
    red, green, blue = np.moveaxis(photo, 2, 0)[..., None]
    return _blurred(_rise(green - blue, 0.02, 0.14) * _rise(green - red, -0.07, 0.03), 1 / 128)


def _lies_low(photo: ndarray) -> ndarray:
    """How surely a pixel is the ground, by its place alone."""
    down, _ = _places(photo)
    return _rise(down, 0.45, 0.85)[..., None]
