"""Where the frames of a clip look: the motion of the photo as affine maps of the camera and smooth bends of the scene."""

from dataclasses import dataclass
from functools import lru_cache

import cv2
import numpy as np
import torch

from trip.model.warp import REFERENCE_FRAMES
from trip.output import AnimatedClip

GRID = 96  # cells of the short side on which bends are kept: smooth, four for each of the field's
TORN = (-0.5, -0.25)  # less than half of the area, or more than twice as much: nothing that the photo shows moves so
LEAST_BEND = 1e-4  # halves of the short side
MOVING = (0.0005, 0.002)  # halves of the short side that places go on average, at their farthest: at rest below the first, moving above


@dataclass(frozen=True)
class View:
    """Where one frame looks: place p shows the photo at `affine p + bend(p)`.

    affine  3 3
    bend    on a grid of the frame, h w 2, float32; none: 0
    """

    affine: np.ndarray
    bend: np.ndarray | None = None

    def bent(self, more: np.ndarray | None) -> "View":
        """The same, bent some more."""
        return View(self.affine, self.bend if more is None else more if self.bend is None else self.bend + more)


class ClipMotion:
    """The motion of one clip.

    shape  height and width of the network's frames
    half   halves of width and height, in halves of the short side: 2
    grid   height and width of the grid of bends
    bends  whether the field says that anything but the camera moves
    """

    def __init__(self, clip: AnimatedClip):
        self.field = clip.field
        self.shape: tuple[int, int] = clip.frames.shape[1:3]
        self.half = np.array(self.shape[::-1], float) / min(self.shape)
        shrink = min(1.0, GRID / min(self.shape))
        self.grid = tuple(round(side * shrink) for side in self.shape)
        self.bends = clip.field is not None and float(clip.field.largest_displacement) > LEAST_BEND
        self._fine = clip.field.enlarged(4) if clip.field is not None else None
        self.looked_up = lru_cache(maxsize=256)(self._looked_up)

    def view(self, time: float) -> View:
        """Where a frame looks so many reference frames after the photo, by the field."""
        return View(self.affine(time), self.looked_up(time)[0] if self.bends else None)

    def affine(self, time: float) -> np.ndarray:
        """What the camera does until then: 3 3."""
        if self.field is None:
            return np.eye(3)
        return torch.matrix_exp(max(time, 0.0) / REFERENCE_FRAMES * self.field.camera[0].double()).numpy()

    def gone(self, time: float, farthest: float) -> np.ndarray:
        """What share of the places that a frame shows the clip loses by its farthest time: h w, of the size of the network's frames."""
        if time <= 0 or self.field is None:
            return np.zeros(self.shape, np.float32)
        visibility = cv2.resize(self.looked_up(time)[1], self.shape[::-1], interpolation=cv2.INTER_LINEAR)
        return 1 - visibility ** (farthest / time)  # shares fall at a steady rate

    def moving(self, times: np.ndarray) -> float:
        """From 0, where a clip is at rest at all these times, to 1, by the field; without one it moves."""
        if self.field is None:
            return 1.0
        places = self.places(self.grid)
        views = [self.view(float(time)) for time in times]
        displacements = [through(view.affine, places) - places + (0.0 if view.bend is None else view.bend) for view in views]
        return float(step(max(np.linalg.norm(displacement, axis=2).mean() for displacement in displacements), MOVING))

    def torn(self, time: float) -> np.ndarray:
        """Where the bend stretches the photo beyond recognition, or folds it: in [0, 1], h w, of the size of the network's frames."""
        bend = self.view(time).bend
        if bend is None:
            return np.zeros(self.shape, np.float32)
        along_y, along_x = np.gradient(bend * np.diag(to_pixels(self.grid, self.half))[:2], axis=(0, 1))
        area = (1 + along_x[..., 0]) * (1 + along_y[..., 1]) - along_x[..., 1] * along_y[..., 0]  # of the photo, for one of the frame
        kept = np.minimum(area, 1 / np.maximum(area, 1e-3))
        return cv2.resize(step(-kept, TORN).astype(np.float32), self.shape[::-1], interpolation=cv2.INTER_LINEAR)

    def _looked_up(self, time: float) -> tuple[np.ndarray, np.ndarray]:
        """Bend and share in view, on the grid."""
        if self._fine is None:
            return np.zeros((*self.grid, 2), np.float32), np.ones(self.grid, np.float32)
        places, visibility = self._fine.at(torch.tensor([[time]]), *self.grid)
        straight = through(self.affine(time), self.places(self.grid))
        return (places[0, 0].numpy() - straight).astype(np.float32), visibility[0, 0].numpy()

    def places(self, shape: tuple[int, int]) -> np.ndarray:
        """Centres of the pixels of a picture that shows what the network saw: h w 2."""
        return through(np.linalg.inv(to_pixels(shape, self.half)), pixels_of(shape))

    def frame_places(self, places: np.ndarray, time: float) -> np.ndarray:
        """Where a frame shows places of the photo, … 2: the motion undone."""
        view = self.view(time)
        back = np.linalg.inv(view.affine)
        found = through(back, places)
        if view.bend is not None:
            for _ in range(5):  # each round comes nearer by the factor of the bend's slope, which is small
                at = through(to_pixels(self.grid, self.half), found).astype(np.float32)
                displacement = cv2.remap(view.bend, at[..., 0], at[..., 1], cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
                found = through(back, places - displacement)
        return found

    def reach(self, times: np.ndarray) -> tuple[np.ndarray, float]:
        """Corners of all that frames at these times look at, 2 2, and the smallest scale of a frame."""
        low, high, nearest = -self.half, self.half, 1.0
        for time in np.unique(np.append(times[:: max(len(times) // 12, 1)], [times.max(), times.min()])):
            view = self.view(float(time))
            corners = through(view.affine, self.half * np.array([[-1, -1], [-1, 1], [1, -1], [1, 1]]))
            bend = np.zeros((1, 1, 2)) if view.bend is None else view.bend
            low = np.minimum(low, corners.min(0) + bend.min(axis=(0, 1)))
            high = np.maximum(high, corners.max(0) + bend.max(axis=(0, 1)))
            nearest = min(nearest, scale_of(view.affine))
        return np.stack([low, high]), nearest


def step(values: np.ndarray, between: tuple[float, float]) -> np.ndarray:
    """0 below, 1 above, smooth between."""
    share = ((values - between[0]) / (between[1] - between[0])).clip(0, 1)
    return share * share * (3 - 2 * share)


def through(matrix: np.ndarray, points: np.ndarray) -> np.ndarray:
    """An affine map, 3 3 or 2 3, of points … 2."""
    return points @ matrix[:2, :2].T + matrix[:2, 2]


def scale_of(matrix: np.ndarray) -> float:
    """By what factor an affine map makes lengths larger."""
    return float(np.sqrt(abs(np.linalg.det(matrix[:2, :2]))))


def to_pixels(shape: tuple[int, int], half: np.ndarray) -> np.ndarray:
    """From places to pixels of a picture of that height and width, which shows all the network saw: 3 3."""
    scale = np.array(shape[::-1]) / (2 * half)
    return np.array([[scale[0], 0, shape[1] / 2 - 0.5], [0, scale[1], shape[0] / 2 - 0.5], [0, 0, 1]])


def pixels_of(shape: tuple[int, int]) -> np.ndarray:
    """Every pixel's own x and y: h w 2."""
    y, x = np.mgrid[: shape[0], : shape[1]]
    return np.stack([x, y], axis=2).astype(float)
