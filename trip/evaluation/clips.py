"""What a model is asked to animate, what it gives back, and the truly moved clip that stands beside it."""

import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypeVar

import cv2
import numpy as np

from trip.data.motion import SUPERSAMPLING, View, draw
from trip.data.photos import Photo
from trip.data.prompts import Motion
from trip.evaluation.camera import resized

T = TypeVar("T")
FARTHEST = 0.5  # frames of the network's: a rendered frame is at most so far from the one that it stands beside


@dataclass(frozen=True)
class ClipRequest:
    """One clip that a model is to make.

    photo      what the first frame is to show, in the size in which clips are judged            size size 3, uint8
    whole      all of the photo, at the same scale; `photo` is the square of it at `left`, `top`  h w 3, uint8
    left, top  corner of that square, pixels
    """

    photo: np.ndarray
    whole: np.ndarray
    left: int
    top: int
    prompt: str
    seed: int

    @property
    def crop(self) -> tuple[float, float, float, float]:
        """Left, top, width and height of the square, in shares of the whole photo."""
        (height, width), size = self.whole.shape[:2], len(self.photo)
        return self.left / width, self.top / height, size / width, size / height


@dataclass(frozen=True)
class GeneratedClip:
    """What a model made of it.

    network   its frames as it drew them, in a size of its own                                f h w 3, uint8
    rendered  the clip that people get, where it is not the same: frames size size 3, uint8   n
    times     of the rendered frames, in frames of the network's; none: 0 1 2 …               n
    """

    network: np.ndarray
    rendered: Sequence[np.ndarray] | None = None
    times: np.ndarray | None = None

    def sources(self, size: int, num_frames: int) -> dict[str, tuple[np.ndarray, np.ndarray]]:
        """Frames of both clips in the size in which they are judged, f size size 3, and their times; of the rendered clip those that
        are nearest in time to the network's, so no other has to be made. Raises ValueError where sizes or lengths do not fit.
        """
        shape, wanted = self.network.shape, f"({num_frames}, n, n, 3), uint8"
        if shape != (num_frames, shape[1], shape[1], 3) or self.network.dtype != np.uint8:
            raise ValueError(
                f"wanted a clip of shape {wanted}; got {shape}, {self.network.dtype}; ask the model for {num_frames} square frames"
            )
        times = np.arange(num_frames, dtype=np.float64)
        found = {"network": (resized(self.network, size, size), times)}
        if self.rendered is not None:
            found["rendered"] = self._nearest(times, size)
        return found

    def _nearest(self, times: np.ndarray, size: int) -> tuple[np.ndarray, np.ndarray]:
        own = np.arange(len(self.rendered)) if self.times is None else np.asarray(self.times, np.float64)
        if len(own) != len(self.rendered):
            raise ValueError(f"wanted a time for each rendered frame, got {len(own)} times and {len(self.rendered)} frames")
        nearest = np.abs(own[:, None] - times).argmin(axis=0)
        if (apart := np.abs(own[nearest] - times).max()) > FARTHEST:
            raise ValueError(f"wanted a rendered frame near each of the network's {len(times)}, got one that is {apart:.2f} frames away")
        frames = np.stack([self.rendered[index] for index in nearest])
        if frames.shape[1:] != (size, size, 3) or frames.dtype != np.uint8:
            raise ValueError(f"wanted rendered frames of {size} x {size}, uint8; got {frames.shape[1]} x {frames.shape[2]}, {frames.dtype}")
        return frames, own[nearest]


def photo_seed(photo: Photo, seed: int) -> list[int]:
    """Seed of all that is drawn for a photo: the same whichever other photos are measured."""
    return _named_seed(photo.name, seed)


def clip_seed(name: str, seed: int) -> int:
    """Seed of the clip of a photo or of a film of that name: the same whichever other clips are made."""
    return int(np.random.default_rng(_named_seed(name, seed)).integers(2**31))


def _named_seed(name: str, seed: int) -> list[int]:
    return [seed, zlib.crc32(name.encode())]


def clip_request(photo: Photo, first: np.ndarray, view: View, prompt: str, seed: int) -> ClipRequest:
    """The question whose first frame is known.

    first  the view of the photo   size size 3, uint8
    """
    whole, left, top = with_surroundings(photo.pixels, view, first)
    return ClipRequest(first, whole, left, top, prompt, clip_seed(photo.name, seed))


def with_surroundings(pixels: np.ndarray, view: View, first: np.ndarray) -> tuple[np.ndarray, int, int]:
    """The whole photo so that a view of it is `first` pixel by pixel: h w 3, uint8, and left and top of the view in it, pixels.

    Where the view reaches beyond a tiny photo, the view is all there is.
    """
    pixels = pixels[:, ::-1] if view.mirrored else pixels
    size, (height, width) = len(first), pixels.shape[:2]
    scale = size / view.side
    left, top = int(view.left * scale), int(view.top * scale)
    right, bottom = int((width - view.left - view.side) * scale), int((height - view.top - view.side) * scale)
    if min(left, top, right, bottom) < 0 or min(view.left, view.top) < 0:
        return first, 0, 0
    # as the first frame was drawn: at a multiple of the size, then averaged
    fine = scale * SUPERSAMPLING
    shape = max(round(width * fine), 1), max(round(height * fine), 1)
    source = cv2.resize(pixels, shape, interpolation=cv2.INTER_AREA) if fine < 1 else np.ascontiguousarray(pixels)
    step = np.array(source.shape[1::-1]) / (width, height) / fine  # pixels of the source for each of the canvas
    corner = (np.array([view.left, view.top]) * fine - np.array([left, top]) * SUPERSAMPLING + 0.5) * step - 0.5
    matrix = np.array([[step[0], 0, corner[0]], [0, step[1], corner[1]]])
    shape = left + size + right, top + size + bottom
    canvas = tuple(side * SUPERSAMPLING for side in shape)
    how = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
    whole = cv2.warpAffine(source, matrix, canvas, flags=how, borderMode=cv2.BORDER_REPLICATE)
    whole = cv2.resize(whole, shape, interpolation=cv2.INTER_AREA)
    whole[top : top + size, left : left + size] = first
    return whole, left, top


def true_clip(photo: Photo, name: str, times: np.ndarray, *, size: int, seed: int, view: View | None = None) -> tuple[np.ndarray, View]:
    """The photo really moved, f size size 3, uint8, and the view that it begins with; the same for the same seed and photo.

    times  of the frames, in reference frames                                        f
    view   that another clip of the photo began with, to show the same at other times
    """
    drawn = draw(photo.pixels, (Motion(name, 1.0),), times, size, np.random.default_rng(photo_seed(photo, seed)), view)
    return drawn.frames, drawn.view


def evenly(things: Sequence[T], number: int | None) -> list[T]:
    """So many photos, clips or other things, from all along the list; all where no number is given."""
    chosen = np.linspace(0, len(things) - 1, min(number or len(things), len(things))).round().astype(int)
    return [things[index] for index in chosen]
