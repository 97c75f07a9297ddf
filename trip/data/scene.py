"""What can move inside a photo: clouds, water, flames, smoke, leaves, snow, rain, light; with masks from the photo itself.

An effect is made once for a photo and then draws any moment of it: `motion.draw(pixels, way)`, where `way` is speed times time over 15
reference frames. At `way` 0 every effect returns the pixels as they are. The patterns of waves, flakes and smoke are drawn anew for
every clip.
"""

from collections.abc import Callable
from dataclasses import dataclass

import cv2
import numpy as np

MASK_SIDE = 192  # short side at which masks are found, pixels
COARSE = 64  # cells a view width at which fields of motion are computed; they are smooth
FADE_IN = 0.2  # of a way: particles and smoke come up over three reference frames at medium speed


@dataclass(frozen=True)
class Source:
    """The part of a photo that a clip shows.

    pixels  h w 3, uint8
    region  where the scene motion acts, h w in [0, 1]
    unit    width of the view at time 0, pixels
    centre  x and y of its middle, pixels
    """

    pixels: np.ndarray
    region: np.ndarray
    unit: float
    centre: tuple[float, float]

    def grid(self, step: float = 1.0) -> tuple[np.ndarray, np.ndarray]:
        """x, 1 w, and y, h 1, of every `step`-th pixel, in view widths from the corner of the view: in [0, 1] inside it."""
        height, width = (max(round(side / step), 2) for side in self.region.shape)
        x = ((np.arange(width, dtype=np.float32) + 0.5) * self.region.shape[1] / width - self.centre[0]) / self.unit + 0.5
        y = ((np.arange(height, dtype=np.float32) + 0.5) * self.region.shape[0] / height - self.centre[1]) / self.unit + 0.5
        return x.astype(np.float32)[None], y.astype(np.float32)[:, None]


@dataclass(frozen=True)
class SceneMotion:
    """A scene motion in one photo, at any moment.

    draw    (pixels, way) -> pixels, h w 3, uint8
    offset  way -> from where each place shows the photo, right and down of itself, pixels: h w 2, float32; none: from itself
    """

    draw: Callable[[np.ndarray, float], np.ndarray]
    offset: Callable[[float], np.ndarray] | None = None


@dataclass(frozen=True)
class SceneEffect:
    """How a scene motion is drawn.

    make       (source, rng) -> motion
    region     colours h w 3 in [0, 1] -> where the motion belongs, h w in [0, 1]; None: everywhere
    on_screen  drawn on the frames, after the camera; else in the photo, before it
    """

    make: Callable[[Source, np.random.Generator], SceneMotion]
    region: Callable[[np.ndarray], np.ndarray] | None = None
    on_screen: bool = False


def region_of(pixels: np.ndarray, region: Callable[[np.ndarray], np.ndarray] | None) -> np.ndarray:
    """Soft mask of a photo: h w, float32 in [0, 1]."""
    height, width = pixels.shape[:2]
    if region is None:
        return np.ones((height, width), np.float32)
    shrink = min(1.0, MASK_SIDE / min(height, width))
    small = cv2.resize(pixels, (max(round(width * shrink), 1), max(round(height * shrink), 1)), interpolation=cv2.INTER_AREA)
    mask = np.clip(region(small.astype(np.float32) / 255), 0, 1)
    return cv2.resize(mask.astype(np.float32), (width, height), interpolation=cv2.INTER_LINEAR)


# ---- regions


def _ramp(values: np.ndarray, low: float, high: float) -> np.ndarray:
    return np.clip((values - low) / (high - low), 0, 1)


def _blur(values: np.ndarray, share: float) -> np.ndarray:
    """Gaussian blur; its radius is a share of the short side."""
    return cv2.GaussianBlur(values, (0, 0), share * min(values.shape[:2]), borderType=cv2.BORDER_REPLICATE)


def _heights(colours: np.ndarray) -> np.ndarray:
    """0 at the top row, 1 at the bottom row: h 1."""
    return np.linspace(0, 1, colours.shape[0], dtype=np.float32)[:, None]


def _sky(colours: np.ndarray) -> np.ndarray:
    """Down to the first thing that is much darker than the top, or neither bright nor blue nor smooth; else the upper part."""
    height, width = colours.shape[:2]
    red, green, blue = np.moveaxis(colours, 2, 0)
    light = colours.max(2)
    upper, lower = np.median(light[: max(height // 6, 1)]), np.median(light[height // 2 :])
    bright = _ramp(light, 0.75 * lower, lower + 0.02)
    bluish = _ramp(blue - np.maximum(red, green * 0.97), -0.02, 0.06)
    rough = np.abs(cv2.Sobel(light, cv2.CV_32F, 1, 0)) + np.abs(cv2.Sobel(light, cv2.CV_32F, 0, 1))
    smooth = 0.8 * _ramp(_blur(rough, 0.015), 0.16, 0.06)
    pale = _ramp(light, 0.5 * upper - 0.1, max(0.65 * upper, 0.5 * upper + 0.01) - 0.1)  # the top may be black
    score = _blur(pale * np.maximum(np.maximum(bright, bluish), smooth), 0.01) * _ramp(_heights(colours), 0.85, 0.6)
    horizon = (np.minimum.accumulate(score, axis=0) > 0.4).mean(0, dtype=np.float32)[None]  # share of every column: 1 w
    kernel = np.ones((1, max(round(0.15 * width), 1)), np.uint8)
    horizon = cv2.morphologyEx(horizon, cv2.MORPH_CLOSE, kernel, borderType=cv2.BORDER_REPLICATE)  # a bird is no horizon
    if horizon.mean() < 0.12:
        horizon[:] = 0.45
    return _blur(_ramp(horizon - _heights(colours), -0.005, 0.005), 0.008)


def _water(colours: np.ndarray) -> np.ndarray:
    """The lower part, less what is warm or as green as plants."""
    red, _, blue = np.moveaxis(colours, 2, 0)
    cool = 0.25 + 0.75 * _ramp(_blur(blue - red, 0.02), -0.2, -0.02)
    return _blur(cool * (1 - 0.8 * _greenery(colours)) * _ramp(_heights(colours), 0.42, 0.65), 0.03)


def _flames(colours: np.ndarray) -> np.ndarray:
    """Warm and bright."""
    red, green, blue = np.moveaxis(colours, 2, 0)
    warm = _ramp(red - blue, 0.1, 0.35) * _ramp(red - green, -0.05, 0.1)
    return _blur(np.maximum(warm, _ramp(colours.min(2), 0.85, 0.97)) * _ramp(red, 0.45, 0.75), 0.02)


def _greenery(colours: np.ndarray) -> np.ndarray:
    red, green, blue = np.moveaxis(colours, 2, 0)
    return _blur(_ramp(green - np.maximum(red * 0.95, blue), -0.02, 0.05), 0.03)


# ---- fields


class _Waves:
    """Sum of plane waves over a picture, on a coarse grid: how far it has changed since the start.

    vectors  cycles a view width, x and y    n 2
    rates    cycles a way                    n
    """

    def __init__(self, source: Source, vectors: np.ndarray, rates: np.ndarray, rng: np.random.Generator) -> None:
        self.shape = source.region.shape
        x, y = source.grid(source.unit / COARSE)
        phases = rng.uniform(0, 1, len(vectors))
        self.start = np.stack([2 * np.pi * (v[0] * x + v[1] * y + p) for v, p in zip(vectors, phases, strict=True)]).astype(np.float32)
        self.rates = 2 * np.pi * np.asarray(rates, np.float32)[:, None, None]

    def at(self, way: float) -> np.ndarray:
        """In about [-2, 2], 0 everywhere at the start: h w."""
        field = (np.sin(self.start - self.rates * np.float32(way)) - np.sin(self.start)).sum(0) / np.sqrt(len(self.start))
        return cv2.resize(field, self.shape[::-1], interpolation=cv2.INTER_LINEAR)


def _displaced(pixels: np.ndarray, offset: np.ndarray) -> np.ndarray:
    """Every point shows what lies at an offset from it, right and down, in pixels: offset h w 2 or 2."""
    height, width = pixels.shape[:2]
    map_x = np.arange(width, dtype=np.float32)[None] + np.zeros((height, 1), np.float32) + offset[..., 0]
    map_y = np.arange(height, dtype=np.float32)[:, None] + np.zeros((1, width), np.float32) + offset[..., 1]
    return cv2.remap(pixels, map_x.astype(np.float32), map_y.astype(np.float32), cv2.INTER_LINEAR, borderMode=cv2.BORDER_REFLECT_101)


def _lit(pixels: np.ndarray, gain: np.ndarray) -> np.ndarray:
    """Pixels times a gain, h w or 3: uint8."""
    gain = gain[..., None] if gain.ndim == 2 else gain
    return np.clip(pixels * gain + 0.5, 0, 255).astype(np.uint8)


def _blended(pixels: np.ndarray, alpha: np.ndarray, colour: tuple[int, int, int]) -> np.ndarray:
    """Pixels under a coat of one colour, alpha h w in [0, 1]: uint8."""
    return (pixels + alpha[..., None] * (np.array(colour, np.float32) - pixels) + 0.5).astype(np.uint8)


def _noise_tile(cells: int, side: int, rng: np.random.Generator) -> np.ndarray:
    """Smooth noise in [0, 1] that repeats without a seam: side side."""
    grid = np.pad(rng.uniform(0, 1, (cells, cells)).astype(np.float32), 2, mode="wrap")
    cell = max(round(side / cells), 1)
    tile = cv2.resize(grid, None, fx=cell, fy=cell, interpolation=cv2.INTER_CUBIC)[2 * cell : -2 * cell, 2 * cell : -2 * cell]
    return np.clip(tile, 0, 1)


def _scrolled(tile: np.ndarray, shape: tuple[int, int], up: float, aside: float) -> np.ndarray:
    """A repeating tile moved up and aside by so many pixels: shape."""
    matrix = np.array([[1, 0, aside], [0, 1, up]], np.float32)
    return cv2.warpAffine(tile, matrix, shape[::-1], flags=cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP, borderMode=cv2.BORDER_WRAP)


# ---- effects


def _wavering(
    waves: _Waves, source: Source, sway: tuple[float, float], light: float = 0.0, strength: np.ndarray | float = 1.0
) -> SceneMotion:
    """The region of the photo sways with the waves, right and down by so many view widths at their height, and its light with it."""

    def field(way: float) -> np.ndarray:
        return waves.at(way) * source.region * strength

    def offset(way: float) -> np.ndarray:
        return field(way)[..., None] * np.float32(source.unit) * np.array(sway, np.float32)

    def draw(picture: np.ndarray, way: float) -> np.ndarray:
        swayed = _displaced(picture, offset(way))
        return _lit(swayed, 1 + light * field(way)) if light else swayed

    return SceneMotion(draw, offset)


def _clouds(direction: int) -> Callable[[Source, np.random.Generator], SceneMotion]:
    """The sky, with what stands before it filled in, moves aside: 0.15 of the view a way. Direction -1 left, 1 right."""

    def make(source: Source, rng: np.random.Generator) -> SceneMotion:
        pixels = source.pixels.astype(np.float32)
        sky = (source.region > 0.9).astype(np.float32)
        near = cv2.GaussianBlur(sky, (0, 0), source.unit * 0.05)
        filling = cv2.GaussianBlur(pixels * sky[..., None], (0, 0), source.unit * 0.05) / np.maximum(near, 1e-3)[..., None]
        layer = np.where(sky[..., None] > 0, pixels, np.where(near[..., None] > 1e-3, filling, pixels))

        def gone(way: float) -> np.ndarray:
            return np.array([-direction * 0.15 * source.unit * way, 0], np.float32)

        def draw(picture: np.ndarray, way: float) -> np.ndarray:
            change = _displaced(layer, gone(way)) - layer
            return np.clip(picture + source.region[..., None] * change + 0.5, 0, 255).astype(np.uint8)

        return SceneMotion(draw, lambda way: (source.region > 0.5)[..., None] * gone(way))

    return make


def _ripples(source: Source, rng: np.random.Generator) -> SceneMotion:
    """Small waves that cross the water in several directions."""
    angles, lengths = rng.uniform(0, 2 * np.pi, 5), rng.uniform(6, 12, 5)
    vectors = np.stack([0.5 * lengths * np.cos(angles), lengths * np.sin(angles)], 1)
    waves = _Waves(source, vectors, rng.uniform(1.2, 2.8, 5), rng)

    return _wavering(waves, source, sway=(0.004, 0.008), light=0.05)


def _sea(source: Source, rng: np.random.Generator) -> SceneMotion:
    """Long waves that roll towards the viewer."""
    vectors = np.stack([rng.uniform(-1, 1, 3), rng.uniform(2.5, 4.5, 3)], 1)
    waves = _Waves(source, vectors, np.array([0.7, 1.1, 1.6]), rng)

    return _wavering(waves, source, sway=(0.006, 0.02), light=0.07)


def _fire(source: Source, rng: np.random.Generator) -> SceneMotion:
    """Flames waver, and the wavering climbs; their light flickers, and a little of it falls on everything."""
    vectors = np.stack([rng.uniform(-3, 3, 4), rng.uniform(3, 7, 4)], 1)
    waver = _Waves(source, vectors, -rng.uniform(2.5, 4.5, 4), rng)
    flicker = _Waves(source, vectors * 0.3, -rng.uniform(2.0, 5.0, 4), rng)
    lit = 0.04 + 0.12 * source.region

    wavering = _wavering(waver, source, sway=(0.012, 0.016))
    return SceneMotion(lambda picture, way: _lit(wavering.draw(picture, way), 1 + lit * flicker.at(way)), wavering.offset)


def _smoke(source: Source, rng: np.random.Generator) -> SceneMotion:
    """A pale plume that comes up from below the middle and rises: 0.5 of the view a way."""
    tiles = [_noise_tile(cells, round(1.5 * source.unit), rng) for cells in (5, 11)]
    x, y = source.grid()
    corner = source.centre[0] - source.unit / 2, source.centre[1] - source.unit / 2
    width = 0.07 + 0.2 * np.clip(1 - y, 0, 1)
    plume = np.exp(-((x - 0.5) ** 2) / (2 * width**2)) * _ramp(y, -0.1, 0.35) * _ramp(y, 0.98, 0.85)

    def draw(picture: np.ndarray, way: float) -> np.ndarray:
        rise, shape = 0.5 * source.unit * way, source.region.shape
        thick = _scrolled(tiles[0], shape, rise - corner[1], -corner[0])
        fine = _scrolled(tiles[1], shape, 1.3 * rise - corner[1], 0.1 * rise - corner[0])
        alpha = plume * _ramp(0.6 * thick + 0.4 * fine, 0.25, 0.75)
        return _blended(picture, 0.9 * min(0.5 * way / FADE_IN, 1) * alpha, (215, 215, 218))

    return SceneMotion(draw)


def _foliage(source: Source, rng: np.random.Generator) -> SceneMotion:
    """Greenery sways sideways, the more the higher it stands."""
    waves = _Waves(source, rng.uniform(-1.8, 1.8, (4, 2)), rng.uniform(0.8, 1.8, 4), rng)
    return _wavering(waves, source, sway=(0.024, 0.006), strength=np.clip(1.1 - 0.6 * source.grid()[1], 0.4, 1.1))


def _snowfall(source: Source, rng: np.random.Generator) -> SceneMotion:
    """Soft flakes that fall and sway; near ones are larger and faster."""
    count = 90
    near = rng.uniform(0, 1, count) ** 2
    x, y, phase = rng.uniform(0, 1, (3, count))
    fall, radius = 0.45 + 0.5 * near, 0.009 + 0.018 * near
    softness = 0.006 * source.unit  # of the edge of a flake, pixels

    def draw(picture: np.ndarray, way: float) -> np.ndarray:
        coat = np.zeros(source.region.shape, np.uint8)
        at_x = x + 0.015 * np.sin(2 * np.pi * (way + phase))
        at_y = (y + fall * way) % 1.08 - 0.04
        for flake in (np.stack([at_x, at_y, radius], 1) * source.unit * 16).astype(int).tolist():
            cv2.circle(coat, flake[:2], flake[2], 255, -1, cv2.LINE_AA, 4)  # in sixteenths of a pixel
        coat = cv2.GaussianBlur(coat, (0, 0), softness)
        return _blended(picture, coat * np.float32(0.95 / 255 * min(way / FADE_IN, 1)), (250, 250, 255))

    return SceneMotion(draw)


def _rainfall(source: Source, rng: np.random.Generator) -> SceneMotion:
    """Streaks that fall together, a little aslant; near ones are longer, thicker and faster."""
    count, slant = 70, 0.08
    near, x, y = rng.uniform(0, 1, (3, count))
    fall, length = 1.6 + 0.6 * near, 0.08 + 0.1 * near
    width = np.maximum((0.006 + 0.008 * near**2) * source.unit, 1).round().astype(int)

    def draw(picture: np.ndarray, way: float) -> np.ndarray:
        coat = np.zeros(source.region.shape, np.uint8)
        at_y = (y + fall * way) % 1.25 - 0.05
        ends = np.stack([x + slant * (at_y - length), at_y - length, x + slant * at_y, at_y], 1)
        for streak, thick in zip((ends * source.unit * 16).astype(int).tolist(), width.tolist(), strict=True):
            cv2.line(coat, streak[:2], streak[2:], 255, thick, cv2.LINE_AA, 4)  # in sixteenths of a pixel
        return _blended(picture, coat * np.float32(0.65 / 255 * min(way / FADE_IN, 1)), (215, 222, 235))

    return SceneMotion(draw)


def _dusk(source: Source, rng: np.random.Generator) -> SceneMotion:
    """The light fades to about a half in a way, blue last to go."""
    fading = np.array([0.75, 0.72, 0.58], np.float32)
    return SceneMotion(lambda picture, way: _lit(picture, np.exp(-fading * np.float32(way))))


SCENE_EFFECTS = {
    "clouds_left": SceneEffect(_clouds(-1), _sky),
    "clouds_right": SceneEffect(_clouds(1), _sky),
    "water_ripples": SceneEffect(_ripples, _water),
    "waves": SceneEffect(_sea, _water),
    "flames": SceneEffect(_fire, _flames),
    "smoke": SceneEffect(_smoke),
    "leaves": SceneEffect(_foliage, _greenery),
    "snow": SceneEffect(_snowfall, on_screen=True),
    "rain": SceneEffect(_rainfall, on_screen=True),
    "light": SceneEffect(_dusk),
}
