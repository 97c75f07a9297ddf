"""Photos made into moving clips, and the truth about how every place of them moves; `prompts.py` has the motions and their words.

Time counts reference frames: 0 is the photo, 15 the last frame of a 16-frame clip. Every motion depends on speed times time
alone and starts from the untouched photo.
"""

from dataclasses import dataclass

import cv2
import numpy as np

from trip.data.prompts import MOTIONS, Motion, has_parallax
from trip.data.scene import SCENE_EFFECTS, SceneMotion, Source, region_of
from trip.media import agreement

REFERENCE_FRAMES = 15  # the time in which a medium motion goes its whole way
PAN_SHIFT = 0.20  # view widths in that time, at speed 1
ZOOM_FACTOR = 1.25
ROLL_ANGLE = np.radians(12)
PARALLAX_FAR, PARALLAX_NEAR = 0.06, 0.25  # view widths
PARALLAX_GRID = 48
VIEW_SHARE = (0.5, 0.8)  # side of the view, as a share of the largest that keeps every frame inside the photo
SUPERSAMPLING = 2  # frames are drawn at this multiple of their size and averaged down, so that sharpness does not flicker

PLACES_SIDE = 24  # cells a side of the grid on which the true motion of a clip is told


@dataclass(frozen=True)
class _Pose:
    """Where the camera is, in view widths: a point q of the frame, in [-0.5, 0.5], shows `shift + scale * turn(q)`."""

    shift_x: float
    shift_y: float
    scale: float
    angle: float  # the picture's, clockwise on the screen
    parallax: float  # medium motions; negative to the left

    def matrix(self) -> np.ndarray:
        """2 3, from a point of the frame to a point of the photo; parallax apart."""
        cos, sin = self.scale * np.cos(self.angle), self.scale * np.sin(self.angle)
        return np.array([[cos, sin, self.shift_x], [-sin, cos, self.shift_y]])


def _pose(motions: tuple[Motion, ...], time: float) -> _Pose:
    way = dict.fromkeys(MOTIONS, 0.0)  # medium motions gone by now
    for motion in motions:
        way[motion.name] += motion.speed * time / REFERENCE_FRAMES
    return _Pose(
        shift_x=PAN_SHIFT * (way["pan_right"] - way["pan_left"]),
        shift_y=PAN_SHIFT * (way["tilt_down"] - way["tilt_up"]),
        scale=ZOOM_FACTOR ** (way["zoom_out"] - way["zoom_in"]),
        angle=ROLL_ANGLE * (way["roll_right"] - way["roll_left"]),
        parallax=way["parallax_right"] - way["parallax_left"],
    )


def camera_at(motions: tuple[Motion, ...], time: float) -> tuple[np.ndarray, bool]:
    """Where the frame at a time looks in the photo, 2 3 float32, from a point of the frame, both in halves of the view from its middle;
    and whether that holds for all of the picture, as it does without parallax.
    """
    matrix = _pose(motions, time).matrix().astype(np.float32)
    matrix[:, 2] *= 2
    return matrix, not has_parallax(motions)


def photo_in_motion(pixels: np.ndarray, motions: tuple[Motion, ...], times: np.ndarray) -> np.ndarray:
    """A photo as the camera shows it, mirrored at its borders: f h w 3, uint8. Parallax is left out.

    pixels  the photo             h w 3, uint8
    times   in reference frames   f
    """
    height, width = pixels.shape[:2]
    middle, unit = np.array([width - 1, height - 1]) / 2, width / 2
    how = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
    frames = np.empty((len(times), *pixels.shape), np.uint8)
    for frame, time in zip(frames, times, strict=True):
        turn, shift = np.split(camera_at(motions, float(time))[0].astype(np.float64), [2], axis=1)
        matrix = np.hstack([turn, middle[:, None] + unit * shift - turn @ middle[:, None]])
        frame[:] = cv2.warpAffine(pixels, matrix, (width, height), flags=how, borderMode=cv2.BORDER_REFLECT_101)
    return frames


@dataclass(frozen=True)
class View:
    """The square part of a photo that the first frame of a clip shows, in pixels of the photo and fractions of them.

    mirrored  whether the photo is mirrored, left for right, before all else
    """

    left: float
    top: float
    side: float
    mirrored: bool = False


@dataclass(frozen=True)
class DrawnClip:
    """A clip as it was drawn.

    frames  f size size 3, uint8
    places  as in `MovingClip`   f g g 2
    view    what it was drawn from
    """

    frames: np.ndarray
    places: np.ndarray
    view: View


@dataclass(frozen=True)
class MovingClip:
    """A clip and the truth about its motion, on a grid of g by g cells.

    frames      f size size 3, uint8
    places      what place of the photo each cell shows, in halves of the view from its middle; beyond -1 … 1 the view never was   f g g 2
    visibility  in [0, 1], with what share it is that place, but for broad changes of light   f g g
    known       in [0, 1], how far `places` can be believed                                   f g g
    """

    frames: np.ndarray
    places: np.ndarray
    visibility: np.ndarray
    known: np.ndarray


def render(pixels: np.ndarray, motions: tuple[Motion, ...], times: np.ndarray, size: int, rng: np.random.Generator) -> MovingClip:
    """Draws a clip and finds out how much of each frame is the photo; see `draw`."""
    drawn = draw(pixels, motions, times, size, rng)
    visibility = visibility_of(drawn.frames, drawn.places)
    return MovingClip(drawn.frames, drawn.places, visibility, np.ones(drawn.places.shape[:3], np.float32))


def draw(
    pixels: np.ndarray, motions: tuple[Motion, ...], times: np.ndarray, size: int, rng: np.random.Generator, view: View | None = None
) -> DrawnClip:
    """Draws a clip out of a photo: a square view of it, mirrored half of the time, in which the motions run.

    pixels  the photo                          h w 3, uint8
    times   reference frames, 0 is the photo   f
    view    what the first frame shows, where that is settled; the generator then draws the patterns of scenes alone
    """
    mirrored = rng.random() < 0.5 if view is None else view.mirrored
    pixels = pixels[:, ::-1] if mirrored else pixels
    canvas = size * SUPERSAMPLING
    effects = [(motion, SCENE_EFFECTS[motion.name]) for motion in motions if motion.name in SCENE_EFFECTS]
    region = effects[0][1].region if effects else None
    mask, poses = region_of(pixels, region), [_pose(motions, t) for t in (0, *times)]
    view = _chosen_view(mask, poses, region is not None, size, mirrored, rng) if view is None else view
    source = _source(pixels, mask, view, poses, size)
    deep = has_parallax(motions)
    screen = Source(np.zeros((canvas, canvas, 3), np.uint8), np.ones((canvas, canvas), np.float32), canvas, (canvas / 2, canvas / 2))
    in_photo = [(motion, effect.make(source, rng)) for motion, effect in effects if not effect.on_screen]
    on_screen = [(motion, effect.make(screen, rng)) for motion, effect in effects if effect.on_screen]
    frames = np.empty((len(times), size, size, 3), np.uint8)
    places = np.empty((len(times), PLACES_SIDE, PLACES_SIDE, 2), np.float32)
    for frame, place, time in zip(frames, places, times, strict=True):
        picture = source.pixels
        for motion, scene in in_photo:
            picture = scene.draw(picture, motion.speed * time / REFERENCE_FRAMES)
        pose = _pose(motions, time)
        picture = _photograph(picture, source, pose, deep, canvas)
        for motion, scene in on_screen:
            picture = scene.draw(picture, motion.speed * time / REFERENCE_FRAMES)
        frame[:] = cv2.resize(picture, (size, size), interpolation=cv2.INTER_AREA)
        place[:] = _true_places(source, pose, deep, [(scene, motion.speed * time / REFERENCE_FRAMES) for motion, scene in in_photo])
    return DrawnClip(frames, places, view)


def _true_places(source: Source, pose: _Pose, deep: bool, scenes: list[tuple[SceneMotion, float]]) -> np.ndarray:
    """What place of the photo each cell of a frame shows, in halves of the view: g g 2."""
    at = _looked_at(pose, deep, PLACES_SIDE)
    for scene, way in scenes:
        if scene.offset is not None:
            in_source = at * np.float32(source.unit) + np.array(source.centre, np.float32) - 0.5
            moved = cv2.remap(scene.offset(way), in_source[..., 0], in_source[..., 1], cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
            at = at + moved / np.float32(source.unit)
    return 2 * at


def visibility_of(frames: np.ndarray, places: np.ndarray) -> np.ndarray:
    """With what share each cell of a clip shows the place of its first frame that `places` names, f g g; 0 outside that frame.

    frames  f size size 3, uint8
    places  f g g 2, in halves of the frame
    """
    size, side = frames.shape[1], places.shape[1]
    shares = np.empty(places.shape[:3], np.float32)
    for share, frame, place in zip(shares, frames, places, strict=True):
        at = (enlarged(place, size) + 1) * (size / 2) - 0.5
        inside = (np.abs(at - (size - 1) / 2) <= size / 2).all(axis=2).astype(np.float32)
        expected = cv2.remap(frames[0], at[..., 0], at[..., 1], cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
        share[:] = cv2.resize(agreement(frame, expected, inside)[0], (side, side), interpolation=cv2.INTER_AREA)
    return shares


def _chosen_view(mask: np.ndarray, poses: list[_Pose], by_mask: bool, size: int, mirrored: bool, rng: np.random.Generator) -> View:
    """A view from which no frame leaves the photo, where the photo is large enough; by the mask: one with much of what moves."""
    height, width = mask.shape
    low, high = _reach(poses)
    largest = min(width / (high[0] - low[0]), height / (high[1] - low[1]))
    side = max(largest * rng.uniform(*VIEW_SHARE), size / 2)  # a tiny photo is mirrored at its borders
    room = np.array([width, height]) - (high - low) * side
    corner = _best_corner(mask, np.maximum(room, 0), (high - low) * side, rng) if by_mask else room * rng.random(2)
    left, top = np.where(room > 0, corner, room / 2) - (low + 0.5) * side
    return View(float(left), float(top), float(side), mirrored)


def _source(pixels: np.ndarray, mask: np.ndarray, view: View, poses: list[_Pose], size: int, margin: float = 0.2) -> Source:
    """Cuts out what the clip needs, in whole pixels, with some more of the photo around for the scene to sample."""
    height, width = mask.shape
    low, high = _reach(poses)
    side, centre = view.side, np.array([view.left, view.top]) + view.side / 2
    left, top = np.maximum(np.floor(centre + (low - margin) * side), 0).astype(int)
    right, bottom = np.minimum(np.ceil(centre + (high + margin) * side), [width, height]).astype(int)
    cut = pixels[top:bottom, left:right]
    shrink = min(1.0, SUPERSAMPLING * size / (side * max(p.scale for p in poses)))
    shape = max(round(cut.shape[1] * shrink), 1), max(round(cut.shape[0] * shrink), 1)
    factors = np.array(shape) / cut.shape[1::-1]
    cut = cv2.resize(cut, shape, interpolation=cv2.INTER_AREA) if shrink < 1 else np.ascontiguousarray(cut)
    mask = cv2.resize(mask[top:bottom, left:right], shape, interpolation=cv2.INTER_AREA if shrink < 1 else cv2.INTER_LINEAR)
    x, y = (centre - [left, top]) * factors
    return Source(cut, mask, side * float(factors.mean()), (float(x), float(y)))


def _reach(poses: list[_Pose]) -> tuple[np.ndarray, np.ndarray]:
    """Smallest and largest x and y that any frame shows, in view widths from the middle of the view at time 0."""
    corners = np.array([[-0.5, 0.5, -0.5, 0.5], [-0.5, -0.5, 0.5, 0.5], [1, 1, 1, 1]])
    points = np.concatenate([pose.matrix() @ corners for pose in poses], axis=1)
    near = [PARALLAX_NEAR * pose.parallax for pose in poses]
    return points.min(1) + [min(near), 0], points.max(1) + [max(near), 0]


def _best_corner(mask: np.ndarray, room: np.ndarray, span: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Of eight random places for the view, the one with most of the region that moves."""
    total = cv2.integral(mask)
    width, height = np.minimum(span, mask.shape[::-1]).astype(int)
    corners = room * rng.random((8, 2))
    x, y = corners.astype(int).T
    held = total[y + height, x + width] - total[y, x + width] - total[y + height, x] + total[y, x]
    return corners[int(held.argmax())]


def _nearness(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """A smooth depth for a photo that has none: near below, and the middle stands out a little; 0 far, 1 near."""
    ground = np.clip((y + 0.2) / 0.7, 0, 1) ** 1.2
    return np.minimum(0.85 * ground + 0.25 * np.exp(-(x**2 + (y - 0.1) ** 2) / (2 * 0.22**2)), 1)


def _looked_at(pose: _Pose, deep: bool, side: int) -> np.ndarray:
    """Where in the photo the cells of a frame look, in view widths from the middle of the view at time 0: side side 2, float32."""
    at = (np.arange(side) + 0.5) / side - 0.5
    looked_at = np.moveaxis(np.tensordot(pose.matrix(), np.stack([*np.meshgrid(at, at), np.ones((side, side))]), 1), 0, 2)
    if deep:
        looked_at[..., 0] += _aside(pose, looked_at[..., 0], looked_at[..., 1])
    return looked_at.astype(np.float32)


def _aside(pose: _Pose, x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """How far beside each place parallax looks, in view widths."""
    aside = np.zeros_like(x)
    for _ in range(4):  # a point shows what has come to it, and how far that came depends on its own depth
        aside = pose.parallax * (PARALLAX_FAR + (PARALLAX_NEAR - PARALLAX_FAR) * _nearness(x + aside, y))
    return aside


def enlarged(grid: np.ndarray, size: int) -> np.ndarray:
    """A grid of cells with values n as a picture, straight on beyond the middles of its outer cells: g g n -> size size n, float32."""
    padded = np.pad(grid.astype(np.float32), ((1, 1), (1, 1), (0, 0)), mode="reflect", reflect_type="odd")
    at = (np.arange(size, dtype=np.float32) + 0.5) * np.float32(grid.shape[0] / size) + 0.5
    return cv2.remap(padded, *np.meshgrid(at, at), cv2.INTER_LINEAR)


def _photograph(picture: np.ndarray, source: Source, pose: _Pose, deep: bool, canvas: int) -> np.ndarray:
    """What the camera sees of the picture: canvas canvas 3."""
    offset = np.array(source.centre) - 0.5
    if not deep:
        to_view = np.array([[1 / canvas, 0, 0.5 / canvas - 0.5], [0, 1 / canvas, 0.5 / canvas - 0.5], [0, 0, 1]])
        matrix = pose.matrix() @ to_view * source.unit
        matrix[:, 2] += offset
        how = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
        return cv2.warpAffine(picture, matrix, (canvas, canvas), flags=how, borderMode=cv2.BORDER_REFLECT_101)
    # the way sideways is smooth: it is found on a coarse grid
    at = enlarged(_looked_at(pose, deep, PARALLAX_GRID), canvas) * np.float32(source.unit) + offset.astype(np.float32)
    return cv2.remap(picture, at[..., 0], at[..., 1], cv2.INTER_LINEAR, borderMode=cv2.BORDER_REFLECT_101)
