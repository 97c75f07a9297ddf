"""The picture that the frames of a clip are looked up in: the photo, and around it what the camera comes to see."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import cv2
import numpy as np
from PIL import Image

from trip.media import light_between
from trip.output import AnimatedClip
from trip.render.motion import ClipMotion, View, pixels_of, scale_of, through, to_pixels

FARTHEST = 3.0  # halves of the frame from the middle: what lies beyond is not kept
FINEST = 2.0  # of the clip's pixels: the plate is so much finer at most, where the camera goes near
LEAST_FINER = 1.05  # scales nearer to 1 than that are 1
MOST_PIXELS = 16_000_000  # of a plate that is kept dense
MOST_SOURCES = 6  # frames that what is around the photo is taken from
EDGE = 4.0  # pixels of a frame's border that give way to another frame
SEAM = 1 / 24  # of the short side: so broadly colours are matched where two pictures meet
LIGHT_SHRINK = 4  # light is broad: it is found on pictures so much smaller
DARKEST = 0.3  # gain below which light cannot be undone

Rectangle = tuple[int, int, int, int]  # first row and last + 1, first column and last + 1


@dataclass(frozen=True)
class Layout:
    """Which places a plate covers.

    to_pixels  from places to its pixels, 3 3
    shape      height and width
    photo      what of it is the photo's
    part       left, top, right, bottom of what the photo shows there, in pixels of the photo
    """

    to_pixels: np.ndarray
    shape: tuple[int, int]
    photo: Rectangle
    part: tuple[float, float, float, float]


def layout(
    reach: np.ndarray, half: np.ndarray, shape: tuple[int, int], finer: float, photo_size: tuple[int, int], part: Sequence[float]
) -> Layout:
    """A plate whose pixels are those of frames of that height and width, or finer by a factor.

    reach       corners of the places to cover   2 2
    half        as in `ClipMotion`
    photo_size  width and height of the photo
    part        what the network saw of it: left, top, right, bottom
    """
    reach = np.stack([np.maximum(reach[0], -FARTHEST * half), np.minimum(reach[1], FARTHEST * half)])
    frame, inner = np.array(shape[::-1]), to_pixels(shape, half)
    low, high = through(inner, reach)
    margin = np.ceil(finer * np.maximum(-0.5 - low, 0) - 1e-6).astype(int)
    beyond = np.ceil(finer * np.maximum(high + 0.5 - frame, 0) - 1e-6).astype(int)
    size = margin + np.round(finer * frame).astype(int) + beyond
    whole = np.diag([finer, finer, 1.0])
    whole[:2, 2] = margin + (finer - 1) / 2  # the frame's corner is a corner of pixels
    corner, pixel = np.array(part[:2]), (np.array(part[2:]) - np.array(part[:2])) / (finer * frame)  # of the plate, in pixels of the photo
    first = np.maximum(np.ceil(margin - corner / pixel - 1e-6), 0).astype(int)
    last = np.minimum(np.floor(margin + (np.array(photo_size) - corner) / pixel + 1e-6), size).astype(int)
    start, end = np.maximum(corner + (first - margin) * pixel, 0), np.minimum(corner + (last - margin) * pixel, photo_size)
    return Layout(whole @ inner, (size[1], size[0]), (first[1], last[1], first[0], last[0]), (*start.tolist(), *end.tolist()))


@dataclass(frozen=True)
class Plate:
    """Such a picture.

    pixels  h w 3, uint8
    half    as in `ClipMotion`
    dense   every how many-th pixel is one of the layout, in both directions; those between keep what lies between sharp
    """

    pixels: np.ndarray
    layout: Layout
    half: np.ndarray
    dense: int = 1

    def densified(self) -> "Plate":
        """The same with twice the pixels each way, where that is not too much to keep."""
        (height, width), factor = self.layout.shape, 2
        if height * width * factor**2 > MOST_PIXELS:
            return self
        how, between = cv2.INTER_LANCZOS4 | cv2.WARP_INVERSE_MAP, np.diag([1 / factor, 1 / factor, 1])[:2]
        pixels = cv2.warpAffine(self.pixels, between, (width * factor, height * factor), flags=how, borderMode=cv2.BORDER_REFLECT_101)
        return replace(self, pixels=pixels, dense=factor)

    def seen(self, view: View, shape: tuple[int, int]) -> np.ndarray:
        """What a frame of that height and width shows: h w 3, uint8."""
        matrix = self._matrix(view, shape)
        coarser = scale_of(matrix)  # pixels of the layout for one of the frame
        blur = self.dense * 0.5 * np.sqrt(max(coarser, LEAST_FINER) ** 2 - LEAST_FINER**2)
        pixels = cv2.GaussianBlur(self.pixels, (0, 0), blur) if blur > 0 else self.pixels
        matrix = np.diag([self.dense, self.dense, 1]) @ matrix
        if view.bend is None:
            how = cv2.INTER_CUBIC | cv2.WARP_INVERSE_MAP
            return cv2.warpAffine(pixels, matrix[:2], shape[::-1], flags=how, borderMode=cv2.BORDER_REFLECT_101)
        return cv2.remap(pixels, *self._lookup(matrix, view, shape, self.dense), cv2.INTER_CUBIC, borderMode=cv2.BORDER_REFLECT_101)

    def is_photo(self, view: View, shape: tuple[int, int]) -> np.ndarray:
        """Which pixels of such a frame look at the photo: h w, bool."""
        x, y = self._lookup(self._matrix(view, shape), view, shape)
        top, bottom, left, right = self.layout.photo
        return (x > left - 1) & (x < right) & (y > top - 1) & (y < bottom)

    def _matrix(self, view: View, shape: tuple[int, int]) -> np.ndarray:
        return self.layout.to_pixels @ view.affine @ np.linalg.inv(to_pixels(shape, self.half))

    def _lookup(self, matrix: np.ndarray, view: View, shape: tuple[int, int], dense: int = 1) -> tuple[np.ndarray, np.ndarray]:
        """Where each pixel of a frame looks, x and y, each h w, float32; the bend is enlarged smoothly."""
        height, width = shape
        x, y = np.arange(width, dtype=np.float32), np.arange(height, dtype=np.float32)[:, None]
        (a, b, c), (d, e, f) = matrix[:2].astype(np.float32)
        at_x, at_y = a * x + (b * y + c), d * x + (e * y + f)
        if view.bend is None:
            return at_x, at_y
        unit = (dense * np.diag(self.layout.to_pixels)[:2]).astype(np.float32)
        way = cv2.resize(view.bend * unit, (width, height), interpolation=cv2.INTER_CUBIC)
        return at_x + way[..., 0], at_y + way[..., 1]


def drawn_plate(clip: AnimatedClip, motion: ClipMotion, reach: np.ndarray) -> Plate:
    """The photo as the autoencoder gives it, and around it what the frames show there, carried back along the motion: the later the
    frame, the more of it there is. Its pixels are those of the network's frames.
    """
    height, width = motion.shape
    own = layout(reach, motion.half, motion.shape, 1.0, (width, height), (0, 0, width, height))
    plate = Plate(framed(clip.decoded_photo, own), own, motion.half)
    if own.shape == motion.shape or motion.field is None:
        return plate
    places = through(np.linalg.inv(own.to_pixels), pixels_of(own.shape))
    around, filled = np.zeros((*own.shape, 3), np.float32), np.zeros(own.shape, np.float32)
    on_the_way = clip.arrived(np.arange(len(clip.frames))) > 0  # to the last photo: what they show is not around the first
    for index in np.argsort(np.where(on_the_way, np.inf, -clip.times), kind="stable")[: min(MOST_SOURCES, np.sum(~on_the_way))]:
        time = float(clip.times[index])
        at = through(to_pixels(motion.shape, motion.half), motion.frame_places(places, time)).astype(np.float32)
        inside = np.minimum(np.minimum(at[..., 0], width - 1 - at[..., 0]), np.minimum(at[..., 1], height - 1 - at[..., 1]))
        new = np.where(inside > -0.5, np.clip((inside + 1) / EDGE, 0, 1), 0) * (1 - filled)
        if time > 0 and new.max() > 0:
            frame = _unlit(clip.frames[index], plate, motion.view(time))
            around += new[..., None] * cv2.remap(frame, at[..., 0], at[..., 1], cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
            filled += new
    seen = (filled > 0).astype(np.float32)
    around = np.where(seen[..., None] > 0, around / np.maximum(filled, 1e-6)[..., None], plate.pixels)
    return Plate(_rounded(_joined(around, seen, clip.decoded_photo, own.photo)), own, motion.half)


def photo_plate(clip: AnimatedClip, drawn: Plate, shape: tuple[int, int], reach: np.ndarray, nearest: float) -> Plate:
    """The photo as far as a clip of that height and width sees it, and around it what the network drew.

    reach, nearest  of the clip, see `ClipMotion.reach`
    """
    left, top, right, bottom = clip.part
    own = min((right - left) / shape[1], (bottom - top) / shape[0])  # pixels of the photo for one of the clip
    finer = float(np.clip(min(own, 1 / nearest), 1, FINEST))
    plan = layout(reach, drawn.half, shape, finer if finer > LEAST_FINER else 1.0, clip.photo.size, clip.part)
    top, bottom, left, right = plan.photo
    cut = np.asarray(clip.photo.resize((right - left, bottom - top), Image.Resampling.LANCZOS, box=plan.part, reducing_gap=3.0))
    if cut.shape[:2] == plan.shape:
        return Plate(cut, plan, drawn.half).densified()
    to_drawn = drawn.layout.to_pixels @ np.linalg.inv(plan.to_pixels)
    around = _coloured_as(cut, plan.photo, drawn, to_drawn)
    how = cv2.INTER_CUBIC | cv2.WARP_INVERSE_MAP
    pixels = _rounded(cv2.warpAffine(around, to_drawn[:2], plan.shape[::-1], flags=how, borderMode=cv2.BORDER_REPLICATE))
    pixels[top:bottom, left:right] = cut
    return Plate(pixels, plan, drawn.half).densified()


def light(frame: np.ndarray, expected: np.ndarray, inside: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Gain and offset that lead from what was expected to a frame, found on smaller pictures: each h/4 w/4 3, float32.

    frame, expected  h w 3, uint8
    inside           where anything was expected   h w, bool
    """
    size = tuple(max(side // LIGHT_SHRINK, 8) for side in frame.shape[1::-1])
    return light_between(*(cv2.resize(one, size, interpolation=cv2.INTER_AREA) for one in (frame, expected, inside.astype(np.float32))))


def _unlit(frame: np.ndarray, plate: Plate, view: View) -> np.ndarray:
    """A frame of the network under the light of the photo: h w 3, float32."""
    shape = frame.shape[:2]
    found = light(frame, plate.seen(view, shape), plate.is_photo(view, shape))
    gain, offset = (cv2.resize(part, shape[::-1], interpolation=cv2.INTER_LINEAR) for part in found)
    return (frame - offset) / np.maximum(gain, DARKEST)


def _coloured_as(photo: np.ndarray, where: Rectangle, drawn: Plate, to_drawn: np.ndarray) -> np.ndarray:
    """What was drawn, with the photo's colours where it meets the photo.

    photo, where  its pixels, at their place on a finer plate
    to_drawn      from pixels of that plate to those of `drawn`   3 3
    """
    top, bottom, left, right = where
    corners = through(to_drawn, np.array([[left - 0.5, top - 0.5], [right - 0.5, bottom - 0.5]])) + 0.5
    first = np.maximum(np.ceil(corners[0] - 1e-6), 0).astype(int)
    last = np.minimum(np.floor(corners[1] + 1e-6), drawn.layout.shape[::-1]).astype(int)
    box = through(np.linalg.inv(to_drawn), np.stack([first, last]) - 0.5) + 0.5 - [left, top]
    box = box.clip(0, [right - left, bottom - top])
    small = Image.fromarray(photo).resize(tuple(last - first), Image.Resampling.BOX, box=(*box[0], *box[1]))
    known = np.ones(drawn.layout.shape, np.float32)
    return _joined(drawn.pixels.astype(np.float32), known, np.asarray(small), (first[1], last[1], first[0], last[0]))


def _joined(around: np.ndarray, known: np.ndarray, photo: np.ndarray, where: Rectangle) -> np.ndarray:
    """A photo in its surroundings, which take its colours where they meet it: h w 3, float32.

    around, known  the surroundings, and where they can be compared   h w 3, h w
    """
    top, bottom, left, right = where
    weight, difference = np.zeros(known.shape, np.float32), np.zeros_like(around)
    weight[top:bottom, left:right] = known[top:bottom, left:right]
    difference[top:bottom, left:right] = photo - around[top:bottom, left:right]
    sigma = SEAM * min(photo.shape[:2])
    near = cv2.GaussianBlur(weight, (0, 0), sigma) + 0.05  # far from the photo nothing is matched
    joined = around + cv2.GaussianBlur(difference * weight[..., None], (0, 0), sigma) / near[..., None]
    joined[top:bottom, left:right] = photo
    return joined


def framed(picture: np.ndarray, own: Layout) -> np.ndarray:
    """A picture at the photo's place on a plate, mirrored beyond its borders."""
    top, bottom, left, right = own.photo
    return cv2.copyMakeBorder(picture, top, own.shape[0] - bottom, left, own.shape[1] - right, cv2.BORDER_REFLECT_101)


def _rounded(picture: np.ndarray) -> np.ndarray:
    return picture.round().clip(0, 255).astype(np.uint8)
