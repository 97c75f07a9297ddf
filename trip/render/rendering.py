"""The frames of a clip, made one by one."""

from collections.abc import Sequence
from typing import SupportsIndex

import cv2
import numpy as np
from PIL import Image
from scipy.interpolate import PchipInterpolator

from trip.media import fit_photo
from trip.output import AnimatedClip
from trip.render.layers import Layers
from trip.render.motion import ClipMotion, View
from trip.render.plate import drawn_plate, photo_plate

DEFAULT_RATE = 24.0  # frames per second
SHORT_SIDES = {"auto": 768, "512": 512, "768": 768, "1024": 1024, "photo": 1080}  # at most, pixels
TINY = 128  # photos with a shorter side are enlarged up to that, at most twice
SAME_PART = 2.0  # pixels: sides are rounded to even ones, so that a last frame's part may miss the whole by so much
NUM_MEASURED = 12  # frames whose pixels are counted


def output_shape(clip: AnimatedClip, size: str = "auto", most: int | None = None) -> tuple[int, int]:
    """Height and width of a clip, pixels, even: see `AnimateSettings.size`. ValueError where the size is not known.

    most  pixels of the short side that it may have, where there is a limit
    """
    height, width = clip.frames.shape[1:3]
    if size == "model":
        return height, width
    if size not in SHORT_SIDES:
        raise ValueError(f"unknown size {size!r}; choose model, {', '.join(SHORT_SIDES)}")
    left, top, right, bottom = clip.part
    has = min(right - left, bottom - top)
    short = min(SHORT_SIDES[size], max(has, min(2 * has, TINY)), most or has + TINY)
    return tuple(max(2 * round(short * side / min(height, width) / 2), 2) for side in (height, width))


class Rendering(Sequence[np.ndarray]):
    """A clip as a sequence of frames, h w 3, uint8, each made when it is asked for.

    shape        height and width
    fps          frames per second
    at           where each frame lies between those of the network: in its frames, 0 is the photo   n
    photo_share  of all pixels those that are the photo's own, in [0, 1]; where the network's frames stay untouched, the first frame alone
    """

    def __init__(
        self,
        clip: AnimatedClip,
        size: str = "auto",
        rate: float = DEFAULT_RATE,
        most: int | None = None,
        shape: tuple[int, int] | None = None,
    ):
        """
        size   see `AnimateSettings.size`
        most   see `output_shape`
        rate   frames per second; the clip lasts as long as the network's frames do at their own rate
        shape  height and width in place of what the size gives, as of a clip that this one goes on from
        """
        num_frames = len(clip.frames)
        self.clip, self.untouched = clip, size == "model"
        self.shape = output_shape(clip, size, most) if shape is None or self.untouched else shape
        if self.untouched:
            self.fps, self.photo_share, self.at = clip.fps, 1 / num_frames, np.arange(num_frames)
            return
        self.fps, count = rate, max(round(num_frames / clip.fps * rate), 2)
        times = np.append(clip.times, 0.0) if clip.loop else clip.times  # of a loop, the photo comes again after the last frame
        self.at = np.linspace(0, len(times) - 1, count, endpoint=not clip.loop)  # in frames of the network
        self._times = PchipInterpolator(np.arange(len(times)), times)(self.at)
        self.motion = ClipMotion(clip)
        reach, nearest = self.motion.reach(self._times)
        drawn = drawn_plate(clip, self.motion, reach)
        self.plate = photo_plate(clip, drawn, self.shape, reach, nearest)
        self.layers = Layers.found(clip, self.motion, drawn)
        self._arrived = clip.arrived(self.at)
        self._last = None if clip.last_photo is None else fit_photo(clip.last_photo, *self.shape)
        self.photo_share = float(np.mean([self._own_share(index) for index in range(0, count, -(-count // NUM_MEASURED))]))

    def __len__(self) -> int:
        return len(self.at)

    def __getitem__(self, index: SupportsIndex) -> np.ndarray:
        index = range(len(self))[index]
        if self.untouched:
            return self.clip.frames[index]
        if index == 0:
            return self._photo()
        frame = self.plate.seen(self._view(index), self.shape)
        if share := float(self._arrived[index]):
            frame = cv2.addWeighted(frame, 1 - share, self._last, share, 0)
        shading = self.layers.shading(self.at[index], self._times[index], self.motion)
        if shading is None:
            return frame
        shade, added = (cv2.resize(layer, self.shape[::-1], interpolation=cv2.INTER_LINEAR) for layer in shading)
        return cv2.add(cv2.multiply(frame, shade, dtype=cv2.CV_32F), added, dtype=cv2.CV_8U)

    def _photo(self) -> np.ndarray:
        """The photo itself; where a clip goes on from another, that one's last frame as it is."""
        photo, size = self.clip.photo, self.shape[::-1]
        beside = np.abs(np.array(self.clip.part) - [0, 0, *photo.size]).max()
        if photo.size == size and beside <= SAME_PART:
            return np.array(photo)
        return np.array(photo.resize(size, Image.Resampling.LANCZOS, box=self.clip.part, reducing_gap=3.0))

    def _view(self, index: int) -> View:
        bend = self.layers.bend(self.at[index], self._times[index], self.motion)
        return self.motion.view(float(self._times[index])).bent(bend)

    def _own_share(self, index: int) -> float:
        share = self._arrived[index]
        own = share + (1 - share) * self.plate.is_photo(self._view(index), self.motion.shape)
        return float((own * (1 - self.layers.hidden(self.at[index], self._times[index], self.motion))).mean())
