"""A clip at any size and rate out of what the network gave: `Rendering`. Each frame of it is, place by place,

    shade(t) * plate(places(t)) + added(t)

The plate is the photo's own pixels at the clip's size, and around them what the camera comes to see: first the rest of the photo, then
what the network drew there. The places are the motion that the network found for the photo, exact at any time. Shade and what is added
come from the generated frames: broad changes of light, and what neither motion nor light explains (snow, smoke, flames). Where nothing
of that is there, shade is 1, nothing is added, and the frame is the plate alone.

Places are as in `trip.model.warp`: x and y from the middle of what the network saw, in halves of its short side.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import cv2
import numpy as np
import torch
from PIL import Image
from scipy.interpolate import PchipInterpolator
from scipy.ndimage import gaussian_filter1d

from trip.media import FlowFinder, agreement, carried, light_between
from trip.model.warp import REFERENCE_FRAMES, MotionField
from trip.pipeline import TripOutput

DEFAULT_RATE = 24.0
DEFAULT_SHORT, MOST_SHORT = 768, 1080  # pixels of the short side
TINY_SHORT = 128  # photos with fewer pixels are enlarged up to so many, at most twice
FARTHEST = 3.0  # halves of the short side from the middle: what lies beyond is not kept
FINEST = 2.0  # of the clip's pixels: the plate is so much finer at most, where the camera goes near

LIGHT_SHRINK = 4  # light is broad: it is found on frames so much smaller
LIGHT_SEEN = (3.0, 9.0)  # grey levels: broad changes below the first are noise, above the second light
NOT_SHOWN = (0.12, 0.35)  # of 1: where the field says that so much of the photo is gone, the frames may show something new
NEW_SEEN = (3.0, 10.0)  # grey levels: differences below the first are noise, above the second something new
NEW_HIDES = (25.0, 60.0)  # grey levels: above the second, what is new hides the photo altogether
SAME_WAY = 1.0  # pixels: flow there and back that ends so near is believed
MASK_BLUR, MASK_BLUR_FRAMES = 3.0, 0.8  # pixels of the network's frames, and frames
FLOW_BLUR, FLOW_BLUR_SCENE = 1 / 16, 1 / 40  # of the short side: of flow alone, and of its corrections of the field
MOST_SOURCES = 6  # frames that what is around the photo is taken from
EDGE = 4.0  # pixels of a frame's border that are not used whole
SEAM = 1 / 24  # of the short side: so broadly colours are matched where two pictures meet
EVEN = 1 / 512  # shade and added parts that differ less from none are none


def output_shape(made: TripOutput, size: str | None = None) -> tuple[int, int]:
    """Height and width of the rendered clip, pixels, even: see `AnimateSettings.size`; none is automatic.

    Raises ValueError where the size is not known.
    """
    height, width = made.frames.shape[1:3]
    if size == "model":
        return height, width
    left, top, right, bottom = made.part
    has = min(right - left, bottom - top)
    wanted = {None: DEFAULT_SHORT, "photo": MOST_SHORT, "512": 512, "768": 768, "1024": 1024}
    if size not in wanted:
        raise ValueError(f"unknown size {size!r}; choose model, {', '.join(name for name in wanted if name)}")
    short = min(wanted[size], max(has, min(2 * has, TINY_SHORT)))
    return tuple(max(2 * round(short * side / min(height, width) / 2), 2) for side in (height, width))


class Rendering(Sequence[np.ndarray]):
    """The frames of a clip, each made when it is asked for: h w 3, uint8.

    rate        frames per second
    photo_share of the clip's pixels that are the photo's own, in [0, 1]
    """

    def __init__(self, made: TripOutput, size: str | None = None, rate: float = DEFAULT_RATE):
        """
        size  see `AnimateSettings.size`
        rate  frames per second; the clip lasts as long as the network's frames do at their own rate
        """
        num_frames = len(made.frames)
        self.made, self.shape = made, output_shape(made, size)
        self.as_drawn = size == "model"
        self.rate = made.fps if self.as_drawn else rate
        if self.as_drawn:
            self.at, self.photo_share = np.arange(num_frames, dtype=float), 1 / num_frames
            return
        count = max(round(num_frames / made.fps * rate), 2)
        ends = num_frames if made.loop else (num_frames - 1) * count / (count - 1)  # of a loop, the photo comes after the last frame
        self.at = np.arange(count) * (ends / count)  # of every frame, in frames of the network
        keys = np.append(made.times, 0.0) if made.loop else made.times
        self.times = PchipInterpolator(np.arange(len(keys)), keys)(self.at.clip(0, len(keys) - 1)) if len(keys) > 1 else 0 * self.at
        self.motion = _Motion(made)
        reach, nearest = _reach(self.motion, self.times)
        drawn = _drawn_plate(made, self.motion, reach)
        self.plate = _plate(made, self.motion, drawn, self.shape, nearest)
        self.layers = _layers(made, self.motion, drawn)
        self.photo_share = float(np.mean([self._photo_share(index) for index in range(0, count, max(count // 12, 1))]))

    def __len__(self) -> int:
        return len(self.at)

    def __getitem__(self, index: int) -> np.ndarray:
        if not -len(self) <= index < len(self):
            raise IndexError(index)
        if self.as_drawn:
            return self.made.frames[index]
        moment = self.layers.at(self.at[index], self.times[index], self.motion)
        bend = _sum(self.motion.bend(self.times[index]), moment.bend)
        frame = self.plate.seen(self.motion.affine(self.times[index]), bend, self.shape)
        if moment.added is None:
            return frame
        shade, added = (cv2.resize(layer, self.shape[::-1], interpolation=cv2.INTER_LINEAR) for layer in (moment.shade, moment.added))
        lit = cv2.multiply(frame, shade, dtype=cv2.CV_32F)
        return cv2.add(lit, added, dtype=cv2.CV_8U)

    def _photo_share(self, index: int) -> float:
        moment = self.layers.at(self.at[index], self.times[index], self.motion)
        bend = _sum(self.motion.bend(self.times[index]), moment.bend)
        inside = self.plate.is_photo(self.motion.affine(self.times[index]), bend, self.motion.shape)
        return float((inside if moment.hidden is None else inside * (1 - moment.hidden)).mean())


# ---- motion


class _Motion:
    """The motion of one clip, in NumPy."""

    def __init__(self, made: TripOutput):
        self.shape = made.frames.shape[1:3]
        self.half = np.array(self.shape[::-1], float) / min(self.shape)  # halves of width and height, in halves of the short side
        self.field = made.field
        self.bends = made.field is not None and float(made.field.scene[:, :4].abs().max()) > 1e-4
        self.fine = made.field.enlarged(4) if made.field is not None else None

    def affine(self, time: float) -> np.ndarray:
        """From a place of the frame to one of the photo, without the scene: 3 3."""
        if self.field is None:
            return np.eye(3)
        return torch.matrix_exp(max(time, 0.0) / REFERENCE_FRAMES * self.field.camera[0].double()).numpy()

    def bend(self, time: float) -> np.ndarray | None:
        """What the scene adds to the place, h w 2, on the grid of the network's frames; none: nothing."""
        return self._at(time)[0] - self.straight(time) if self.bends else None

    def straight(self, time: float) -> np.ndarray:
        """Places without the scene: h w 2, float32."""
        return through(self.affine(time), self.places).astype(np.float32)

    def shown(self, time: float) -> np.ndarray:
        """With what share the places are still in view: h w."""
        return self._at(time)[1] if self.field is not None else np.ones(self.shape, np.float32)

    def _at(self, time: float) -> tuple[np.ndarray, np.ndarray]:
        places, shown = self.fine.at(torch.tensor([[time]]), *self.shape)
        return places[0, 0].numpy(), shown[0, 0].numpy()

    @property
    def places(self) -> np.ndarray:
        """Centres of the pixels of a frame of the network: h w 2."""
        return through(np.linalg.inv(to_pixels(self.shape, self.half)), _pixels(self.shape))

    def frame_places(self, places: np.ndarray, time: float) -> np.ndarray:
        """Where a frame shows places of the photo, n m 2: the motion undone."""
        back = np.linalg.inv(self.affine(time))
        found = through(back, places)
        if self.bends:
            bend = self.bend(time)
            for _ in range(5):
                at = through(to_pixels(self.shape, self.half), found).astype(np.float32)
                way = cv2.remap(bend, at[..., 0], at[..., 1], cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
                found = through(back, places - way)
        return found


def through(matrix: np.ndarray, points: np.ndarray) -> np.ndarray:
    """An affine map, 3 3 or 2 3, of points … 2."""
    return points @ matrix[:2, :2].T + matrix[:2, 2]


def to_pixels(shape: tuple[int, int], half: np.ndarray) -> np.ndarray:
    """From places to pixels of a picture of that height and width, which shows all the network saw: 3 3."""
    scale = np.array(shape[::-1]) / (2 * half)
    return np.array([[scale[0], 0, shape[1] / 2 - 0.5], [0, scale[1], shape[0] / 2 - 0.5], [0, 0, 1]])


def _pixels(shape: tuple[int, int]) -> np.ndarray:
    y, x = np.mgrid[: shape[0], : shape[1]]
    return np.stack([x, y], axis=2).astype(float)


# ---- the plate


@dataclass(frozen=True)
class _Plate:
    """A picture of the photo and of what is around it.

    pixels     h w 3, uint8
    photo      rows and columns that are the photo's: first and last + 1 of each
    to_pixels  from places to pixels of this picture, 3 3
    reach      places of its corner and of the opposite one: 2 2
    half       as in `_Motion`
    """

    pixels: np.ndarray
    photo: tuple[int, int, int, int]
    to_pixels: np.ndarray
    reach: np.ndarray
    half: np.ndarray

    def seen(self, affine: np.ndarray, bend: np.ndarray | None, shape: tuple[int, int]) -> np.ndarray:
        """What a frame of that height and width shows, its places moved: h w 3, uint8."""
        matrix = self.to_pixels @ affine @ np.linalg.inv(to_pixels(shape, self.half))
        coarser = np.sqrt(abs(np.linalg.det(matrix[:2, :2])))  # pixels of the plate for one of the frame
        pixels = cv2.GaussianBlur(self.pixels, (0, 0), 0.5 * np.sqrt(coarser**2 - 1)) if coarser > 1.05 else self.pixels
        if bend is None:
            how = cv2.INTER_CUBIC | cv2.WARP_INVERSE_MAP
            return cv2.warpAffine(pixels, matrix[:2], shape[::-1], flags=how, borderMode=cv2.BORDER_REFLECT_101)
        x, y = _lookup(matrix, bend * np.diag(self.to_pixels)[:2].astype(np.float32), shape)
        return cv2.remap(pixels, x, y, cv2.INTER_CUBIC, borderMode=cv2.BORDER_REFLECT_101)

    def is_photo(self, affine: np.ndarray, bend: np.ndarray | None, shape: tuple[int, int]) -> np.ndarray:
        """Which pixels of such a frame look at the photo: h w, bool."""
        matrix = self.to_pixels @ affine @ np.linalg.inv(to_pixels(shape, self.half))
        scaled = np.zeros((2, 2, 2), np.float32) if bend is None else bend * np.diag(self.to_pixels)[:2].astype(np.float32)
        x, y = _lookup(matrix, scaled, shape)
        top, bottom, left, right = self.photo
        return (x > left - 1) & (x < right) & (y > top - 1) & (y < bottom)


def _lookup(matrix: np.ndarray, bend: np.ndarray, shape: tuple[int, int]) -> tuple[np.ndarray, np.ndarray]:
    """Where each pixel of a frame looks, x and y, each h w, float32; the bend is enlarged smoothly."""
    height, width = shape
    way = cv2.resize(bend, (width, height), interpolation=cv2.INTER_CUBIC)
    x, y = np.arange(width, dtype=np.float32), np.arange(height, dtype=np.float32)[:, None]
    (a, b, c), (d, e, f) = matrix[:2].astype(np.float32)
    return way[..., 0] + (a * x + (b * y + c)), way[..., 1] + (d * x + (e * y + f))


def _layout(
    reach: np.ndarray, half: np.ndarray, shape: tuple[int, int], finer: float, photo_size: tuple[int, int], part: Sequence[float]
) -> tuple[np.ndarray, tuple[int, int], tuple[int, int, int, int], tuple[float, float, float, float]]:
    """Layout of a plate whose pixels are `finer` than those of a clip of that shape: from places to pixels, height and width, the photo's
    rows and columns, and the part of the photo that these show.
    """
    inner = to_pixels(shape, half)
    low, high = through(inner, reach)
    whole = np.diag([finer, finer, 1.0])
    whole[:2, 2] = (finer - 1) / 2  # the corner of the frame stays a corner of pixels
    margin = np.ceil(finer * np.maximum(-0.5 - low, 0) - 1e-6).astype(int)
    beyond = np.ceil(finer * np.maximum(high + 0.5 - np.array(shape[::-1]), 0) - 1e-6).astype(int)
    whole[:2, 2] += margin
    size = margin + np.round(finer * np.array(shape[::-1])).astype(int) + beyond  # width, height
    corner, far = np.array(part[:2]), np.array(part[2:])
    pixel = (far - corner) / (finer * np.array(shape[::-1]))  # of the plate, in pixels of the photo
    first = np.maximum(np.ceil(margin - corner / pixel - 1e-6), 0).astype(int)
    last = np.minimum(np.floor(margin + (np.array(photo_size) - corner) / pixel + 1e-6), size).astype(int)
    start, end = corner + (first - margin) * pixel, corner + (last - margin) * pixel
    shown = (*np.maximum(start, 0), *np.minimum(end, photo_size))
    return whole @ inner, (size[1], size[0]), (first[1], last[1], first[0], last[0]), shown


def _reach(motion: _Motion, times: np.ndarray) -> tuple[np.ndarray, float]:
    """Corners of all that the clip looks at, 2 2, and the smallest scale of a frame."""
    low, high, nearest = -motion.half.copy(), motion.half.copy(), 1.0
    for time in np.unique(np.append(times[:: max(len(times) // 12, 1)], [times.max(), times.min()])):
        affine, bend = motion.affine(time), motion.bend(time)
        corners = through(affine, motion.half * np.array([[-1, -1], [-1, 1], [1, -1], [1, 1]]))
        least, most = ((0.0, 0.0), (0.0, 0.0)) if bend is None else (bend.min(axis=(0, 1)), bend.max(axis=(0, 1)))
        low, high = np.minimum(low, corners.min(0) + least), np.maximum(high, corners.max(0) + most)
        nearest = min(nearest, np.sqrt(abs(np.linalg.det(affine[:2, :2]))))
    far = FARTHEST * motion.half
    return np.stack([np.maximum(low, -far), np.minimum(high, far)]), max(nearest, 1 / FINEST)


def _drawn_plate(made: TripOutput, motion: _Motion, reach: np.ndarray) -> _Plate:
    """The photo as the autoencoder gives it, and around it what the frames show there, carried back along the motion: the later the
    frame, the more of it there is. Its pixels are those of the network's frames.
    """
    height, width = motion.shape
    matrix, size, photo, _ = _layout(reach, motion.half, motion.shape, 1.0, (width, height), (0, 0, width, height))
    plate = _Plate(_framed(made.decoded_photo, photo, size), photo, matrix, reach, motion.half)
    if size == motion.shape or motion.field is None:
        return plate
    places = through(np.linalg.inv(matrix), _pixels(size))
    around, filled = np.zeros((*size, 3), np.float32), np.zeros(size, np.float32)
    for index in np.argsort(-made.times, kind="stable")[:MOST_SOURCES]:
        if made.times[index] <= 0:
            break
        at = through(to_pixels(motion.shape, motion.half), motion.frame_places(places, made.times[index])).astype(np.float32)
        inside = np.minimum(np.minimum(at[..., 0], width - 1 - at[..., 0]), np.minimum(at[..., 1], height - 1 - at[..., 1]))
        new = np.clip(inside / EDGE, 0, 1) * (1 - filled)
        if new.max() > 0:
            frame = _unlit(made.frames[index], plate, motion, made.times[index])
            around += new[..., None] * cv2.remap(frame, at[..., 0], at[..., 1], cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
            filled += new
    around += (1 - filled)[..., None] * plate.pixels
    return replace(
        plate, pixels=_joined(around, filled, made.decoded_photo.astype(np.float32), photo).round().clip(0, 255).astype(np.uint8)
    )


def _unlit(frame: np.ndarray, plate: _Plate, motion: _Motion, time: float) -> np.ndarray:
    """A frame of the network under the light of the photo: h w 3, float32."""
    affine, bend = motion.affine(time), motion.bend(time)
    gain, offset = _light(frame, plate.seen(affine, bend, motion.shape), plate.is_photo(affine, bend, motion.shape))
    return (frame - offset) / np.maximum(gain, 0.3)


def _joined(around: np.ndarray, known: np.ndarray, photo: np.ndarray, where: tuple[int, int, int, int]) -> np.ndarray:
    """A photo in its surroundings, which take its colours where they meet it: h w 3, float32.

    around, known  the surroundings, and where they can be compared   h w 3, h w
    photo, where   first and last + 1 of its rows and columns
    """
    top, bottom, left, right = where
    weight, difference = np.zeros(known.shape, np.float32), np.zeros_like(around)
    weight[top:bottom, left:right] = known[top:bottom, left:right]
    difference[top:bottom, left:right] = photo - around[top:bottom, left:right]
    sigma = SEAM * min(photo.shape[:2])
    broad = _blurred(difference * weight[..., None], sigma) / (_blurred(weight, sigma) + 0.05)[..., None]
    joined = around + broad
    joined[top:bottom, left:right] = photo
    return joined


def _framed(picture: np.ndarray, where: tuple[int, int, int, int], size: tuple[int, int]) -> np.ndarray:
    """A picture at its place in a larger one, mirrored beyond its borders."""
    top, bottom, left, right = where
    return cv2.copyMakeBorder(picture, top, size[0] - bottom, left, size[1] - right, cv2.BORDER_REFLECT_101)


def _plate(made: TripOutput, motion: _Motion, drawn: _Plate, shape: tuple[int, int], nearest: float) -> _Plate:
    """The photo as far as the clip sees it, and what the network drew beyond it."""
    own = min((made.part[2] - made.part[0]) / shape[1], (made.part[3] - made.part[1]) / shape[0])  # pixels of the photo for one of the clip
    finer = float(np.clip(min(own, 1 / nearest), 1, FINEST))
    finer = 1.0 if finer < 1.05 else finer
    matrix, size, photo, part = _layout(drawn.reach, motion.half, shape, finer, made.photo.size, made.part)
    top, bottom, left, right = photo
    cut = np.asarray(made.photo.resize((right - left, bottom - top), Image.Resampling.LANCZOS, box=part, reducing_gap=3.0))
    if photo == (0, size[0], 0, size[1]):
        return _Plate(cut, photo, matrix, drawn.reach, motion.half)
    # the photo's rectangle on the plate of what was drawn, and what is there to compare
    to_drawn = drawn.to_pixels @ np.linalg.inv(matrix)
    corners = through(to_drawn, np.array([[left - 0.5, top - 0.5], [right - 0.5, bottom - 0.5]])) + 0.5
    limits = np.array(drawn.pixels.shape[1::-1])
    first, last = np.ceil(corners[0] - 1e-6).clip(0).astype(int), np.minimum(np.floor(corners[1] + 1e-6), limits).astype(int)
    where = (first[1], last[1], first[0], last[0])
    box = (through(np.linalg.inv(to_drawn), np.stack([first, last]) - 0.5) + 0.5 - [left, top]).clip(0, [right - left, bottom - top])
    small = Image.fromarray(cut).resize(tuple(last - first), Image.Resampling.BOX, box=(*box[0], *box[1]))
    around = _joined(drawn.pixels.astype(np.float32), np.ones(drawn.pixels.shape[:2], np.float32), np.asarray(small, np.float32), where)
    how = cv2.INTER_CUBIC | cv2.WARP_INVERSE_MAP
    pixels = cv2.warpAffine(around, to_drawn[:2], size[::-1], flags=how, borderMode=cv2.BORDER_REPLICATE)
    pixels = pixels.round().clip(0, 255).astype(np.uint8)
    pixels[top:bottom, left:right] = cut
    return _Plate(pixels, photo, matrix, drawn.reach, motion.half)


# ---- light, and what is new


@dataclass(frozen=True)
class _Moment:
    """What a frame is, beside the plate, on the grid of the network's frames; none: nothing of that kind.

    shade, added  h w 3, float32; added in grey levels
    hidden        where the photo is not seen any more   h w, in [0, 1]
    bend          correction of the places               h w 2
    """

    shade: np.ndarray | None = None
    added: np.ndarray | None = None
    hidden: np.ndarray | None = None
    bend: np.ndarray | None = None


@dataclass(frozen=True)
class _Layers:
    """`_Moment` at every frame of the network.

    moments  of the frames; of a loop, once more that of the photo
    times    of these, in reference frames
    """

    moments: list[_Moment]
    times: np.ndarray

    def at(self, index: float, time: float, motion: _Motion) -> _Moment:
        """That of any moment: the two around it are carried there along the camera's motion, and blended.

        index  in frames of the network
        """
        before = int(np.clip(np.floor(index), 0, len(self.moments) - 1))
        after, share = min(before + 1, len(self.moments) - 1), index - before
        made = {}
        for name in ("shade", "added", "hidden", "bend"):
            layers = [getattr(self.moments[key], name) for key in (before, after)]
            if layers[0] is None:
                made[name] = None
                continue
            one, other = (self._carried(layer, self.times[key], time, motion) for layer, key in zip(layers, (before, after), strict=True))
            made[name] = cv2.addWeighted(one, 1 - share, other, share, 0)
        return _Moment(**made)

    @staticmethod
    def _carried(layer: np.ndarray, was: float, time: float, motion: _Motion) -> np.ndarray:
        inner = to_pixels(motion.shape, motion.half)
        matrix = inner @ np.linalg.inv(motion.affine(was)) @ motion.affine(time) @ np.linalg.inv(inner)
        layer = layer.astype(np.float32)
        if np.abs(matrix - np.eye(3)).max() < 1e-6:
            return layer
        how = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
        return cv2.warpAffine(layer, matrix[:2], layer.shape[1::-1], flags=how, borderMode=cv2.BORDER_REPLICATE)


def _layers(made: TripOutput, motion: _Motion, drawn: _Plate) -> _Layers:
    """What the generated frames show beside the photo that moves."""
    shape, frames = motion.shape, made.frames
    bends = _corrections(made, motion, drawn)
    expected, inside, gone = [], [], []
    for index, time in enumerate(made.times):
        affine, bend = motion.affine(time), _sum(motion.bend(time), None if bends is None else bends[index])
        expected.append(drawn.seen(affine, bend, shape))
        inside.append(drawn.is_photo(affine, bend, shape).astype(np.float32))
        gone.append(1 - motion.shown(time) if motion.field else 1 - agreement(frames[index], expected[-1], inside[-1])[0])
    gain, offset = (_steadied(np.stack(part)) for part in zip(*map(_light, frames, expected, inside), strict=True))
    seen = _step(np.abs((gain - 1) * 128 + offset).mean(axis=3, keepdims=True), LIGHT_SEEN)
    gain, offset = 1 + seen * (gain - 1), seen * offset
    lit = gain * np.stack(expected) + offset
    difference = frames - lit
    error = np.stack([_blurred(np.abs(one).mean(axis=2), 2.0) for one in difference])
    new = _step(np.stack(gone), NOT_SHOWN) * _step(error, NEW_SEEN)
    hides = new * _step(error, NEW_HIDES) if motion.field else np.stack(gone)
    new, hides = (_steadied(np.stack([_blurred(one, MASK_BLUR) for one in mask])).clip(0, 1)[..., None] for mask in (new, hides))
    shade, added = (1 - hides) * gain, (1 - hides) * offset + new * difference + hides * lit
    shade[0], added[0], hides[0] = 1, 0, 0
    plain = np.abs(shade - 1).max() < EVEN and np.abs(added).max() < 0.5
    moments = [
        _Moment(
            shade=None if plain else shade[index].astype(np.float16),
            added=None if plain else added[index].astype(np.float16),
            hidden=None if plain else hides[index, ..., 0].astype(np.float16),
            bend=None if bends is None else bends[index],
        )
        for index in range(len(frames))
    ]
    return _Layers([*moments, moments[0]], np.append(made.times, 0.0)) if made.loop else _Layers(moments, made.times)


def _corrections(made: TripOutput, motion: _Motion, drawn: _Plate) -> np.ndarray | None:
    """What the frames show of the scene's motion and the field does not know, in places: f h w 2; none where nothing but the camera moves.

    Optical flow from the frame to what is expected of it, believed where flow there and back agree and the field says that the photo
    may not be seen as it says.
    """
    if motion.field is not None and not motion.bends:
        return None
    there, back = FlowFinder(*motion.shape), FlowFinder(*motion.shape)
    short = min(motion.shape)
    to_places = (2 * motion.half / np.array(motion.shape[::-1])).astype(np.float32)
    ways = np.zeros((len(made.frames), *motion.shape, 2), np.float32)
    for way, frame, time in zip(ways[1:], made.frames[1:], made.times[1:], strict=True):
        affine, bend = motion.affine(time), motion.bend(time)
        expected = drawn.seen(affine, bend, motion.shape)
        found, returned = there.flow(frame, expected), back.flow(expected, frame)
        if motion.field is None:
            way[:] = _blurred(found, FLOW_BLUR * short)
            continue
        returned, inside = carried(returned, found)
        close = np.exp(-np.square(found + returned).sum(axis=2) / (2 * SAME_WAY**2)) * inside
        trust = (close * _step(1 - motion.shown(time), NOT_SHOWN)).astype(np.float32)
        total = _blurred(trust, FLOW_BLUR_SCENE * short)
        way[:] = _blurred(found * trust[..., None], FLOW_BLUR_SCENE * short) / np.maximum(total, 0.05)[..., None]
        way *= _step(total, (0.2, 0.6))[..., None]
    ways = _steadied(ways)
    ways[0] = 0
    if motion.field is None:
        return ways * to_places
    results = np.empty_like(ways)
    for result, way, time in zip(results, ways, made.times, strict=True):
        at = motion.straight(time) + motion.bend(time)
        grid = _pixels(motion.shape).astype(np.float32) + way
        result[:] = cv2.remap(at, grid[..., 0], grid[..., 1], cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE) - at
    return results


def _light(frame: np.ndarray, expected: np.ndarray, inside: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """`light_between`, found on smaller pictures: gain and offset, each h w 3, float32."""
    size = tuple(max(side // LIGHT_SHRINK, 8) for side in frame.shape[1::-1])
    small = [cv2.resize(one, size, interpolation=cv2.INTER_AREA) for one in (frame, expected, inside.astype(np.float32))]
    return tuple(cv2.resize(one, frame.shape[1::-1], interpolation=cv2.INTER_LINEAR) for one in light_between(*small))


def _sum(one: np.ndarray | None, other: np.ndarray | None) -> np.ndarray | None:
    return other if one is None else one if other is None else one + other


def _blurred(picture: np.ndarray, sigma: float) -> np.ndarray:
    return cv2.GaussianBlur(picture, (0, 0), sigma)


def _step(values: np.ndarray, between: tuple[float, float]) -> np.ndarray:
    """0 below, 1 above, smooth between."""
    share = ((values - between[0]) / (between[1] - between[0])).clip(0, 1)
    return share * share * (3 - 2 * share)


def _steadied(values: np.ndarray) -> np.ndarray:
    """Blurred over frames, f …; a steady change stays as it is, up to both ends."""
    beyond = min(3, len(values) - 1)
    before, after = 2 * values[:1] - values[beyond:0:-1], 2 * values[-1:] - values[-2 : -2 - beyond : -1]
    return gaussian_filter1d(np.concatenate([before, values, after]), MASK_BLUR_FRAMES, axis=0)[beyond : beyond + len(values)]
