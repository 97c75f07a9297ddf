"""Photos made into captioned moving clips: which motions there are, how people word them, and how they are drawn.

Directions are the camera's: "the camera pans right" moves the content to the left of the screen, a tilt up moves it down.
A roll is worded by what is seen: `roll_right` turns the picture clockwise on the screen.
Time counts reference frames: 0 is the photo, 15 the last frame of a 16-frame clip. Every motion depends on speed times time
alone and starts from the untouched photo. The order of MOTIONS is part of the checkpoint: the text encoder learns its indices.
"""

from dataclasses import dataclass

import cv2
import numpy as np

from trip.data.scene import SCENE_EFFECTS, Act, Source, region_of
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
STILL_SHARE, CAMERA_SHARE, BOTH_SHARE = 0.08, 0.44, 0.1  # of clips; the rest are scenes alone

SPEEDS = {"slow": 0.5, "medium": 1.0, "fast": 1.6}
SPEED_SHARES = (0.2, 0.6, 0.2)
PACE_WORDS = {  # {ly} before a verb, {how} after it, {a} before a noun
    "slow": {"ly": ("slowly", "gently"), "how": ("slowly", "gently", "at a slow pace"), "a": ("a slow", "a gentle")},
    "medium": {"ly": ("",), "how": ("",), "a": ("a",)},
    "steady": {"ly": ("steadily",), "how": ("steadily", "at a steady pace"), "a": ("a steady",)},
    "fast": {"ly": ("quickly", "rapidly"), "how": ("fast", "quickly", "rapidly", "at high speed"), "a": ("a fast", "a quick")},
}


@dataclass(frozen=True)
class MotionKind:
    """One entry of MOTIONS.

    wordings  sentences with one slot for the pace: {ly}, {how} or {a}
    camera    whether the whole view moves
    suits     photo kinds on which a scene motion looks right; a camera motion suits all
    """

    wordings: tuple[str, ...]
    camera: bool = False
    suits: frozenset[str] = frozenset()


@dataclass(frozen=True)
class Motion:
    """One motion of a clip; speed 1 is medium."""

    name: str
    speed: float = 1.0


# fmt: off
_PAN = (
    "the camera pans {side} {how}", "the camera pans {how} to the {side}", "the camera {ly} pans to the {side}",
    "the camera is panning {side} {how}", "camera panning to the {side} {how}", "pan {side} {how}", "{a} pan to the {side}",
    "camera pan {side} {how}", "the camera moves {how} to the {side}", "camera moving to the {side} {how}", "move {side} {how}",
    "{a} camera move to the {side}", "the view slides {how} to the {side}", "slide {side} {how}", "the camera {ly} turns {side}",
    "look {side} {how}", "{a} {side}ward pan",
)
_TILT = (
    "the camera tilts {side} {how}", "the camera {ly} tilts {side}ward", "the camera is tilting {side} {how}", "tilt {side} {how}",
    "camera tilt {side} {how}", "{a} tilt {side}", "the camera moves {side} {how}", "camera moving {side} {how}", "move {side} {how}",
    "pan {side} {how}", "the view slides {side}ward {how}", "look {side} {how}", "the camera {ly} looks {side}",
)
_ROLL = (
    "the picture turns {turn} {how}", "the picture {ly} rotates {turn}", "the view rotates {turn} {how}", "rotate {turn} {how}",
    "the image spins {turn} {how}", "turn {turn} {how}", "{a} rotation {turn}", "the whole picture rolls {how} to the {side}",
    "the picture {ly} turns to the {side}, like a wheel", "roll {side} {how}", "{a} roll to the {side}", "rotating {turn} {how}",
)
_PARALLAX = (
    "the camera trucks {side} {how}", "truck {side} {how}", "{a} tracking shot to the {side}", "tracking {side} {how}",
    "the camera {ly} glides sideways to the {side}", "{a} sideways dolly to the {side}", "the camera slides sideways to the {side} {how}",
    "the camera travels {side} past the scene {how}", "{a} parallax move to the {side}", "parallax to the {side} {how}",
    "the camera tracks {side} {how}, the foreground passes by", "the camera steps sideways to the {side} {how}", "dolly {side} {how}",
)
_CLOUDS = (
    "the clouds drift {how} to the {side}", "clouds drift {side} {how}", "the clouds {ly} move to the {side}", "clouds moving {side} {how}",
    "the sky drifts {side} {how}", "the wind {ly} pushes the clouds to the {side}", "clouds float {how} to the {side}",
    "the clouds sail {side} {how}", "drifting clouds, to the {side} {how}", "{a} drift of clouds to the {side}",
    "the clouds pass {how} to the {side}", "clouds blow {side} {how}",
)
# fmt: on


def _worded(templates: tuple[str, ...], side: str, *turns: str) -> tuple[str, ...]:
    """Templates with the direction filled in; the pace stays open. Several names of a turn give several wordings."""
    filled = (t.replace("{side}", side).replace("{turn}", turn) for turn in turns or ("",) for t in templates)
    return tuple(dict.fromkeys(filled))


def _camera(*wordings: str) -> MotionKind:
    return MotionKind(wordings, camera=True)


def _scene(suits: str, *wordings: str) -> MotionKind:
    return MotionKind(wordings, suits=frozenset(suits.split()))


# fmt: off
MOTIONS = {
    "still": MotionKind((
        "nothing moves", "a still picture", "no motion", "the camera stays still", "still", "static shot", "a static camera",
        "everything stays still", "a motionless scene", "the camera does not move", "nothing changes", "hold still", "a frozen moment",
    )),
    "pan_left": _camera(*_worded(_PAN, "left")),
    "pan_right": _camera(*_worded(_PAN, "right")),
    "tilt_up": _camera(*_worded(_TILT, "up"), "the camera rises {how}", "the camera {ly} goes up"),
    "tilt_down": _camera(*_worded(_TILT, "down"), "the camera sinks {how}", "the camera {ly} goes down"),
    "zoom_in": _camera(
        "the camera zooms in {how}", "the camera {ly} zooms in", "zoom in {how}", "zooming in {how}", "{a} zoom in", "push in {how}",
        "the camera moves closer {how}", "the camera moves forward {how}", "camera moving forward {how}", "the view {ly} closes in",
        "{a} push in", "come closer {how}", "the camera {ly} approaches", "the picture grows {how}",
    ),
    "zoom_out": _camera(
        "the camera zooms out {how}", "the camera {ly} zooms out", "zoom out {how}", "zooming out {how}", "{a} zoom out",
        "pull back {how}", "the camera pulls back {how}", "the camera moves backward {how}", "camera moving backward {how}",
        "the view {ly} widens", "{a} pull back", "the camera backs away {how}", "the camera {ly} draws away", "the picture shrinks {how}",
    ),
    "roll_left": _camera(*_worded(_ROLL, "left", "counterclockwise", "anticlockwise")),
    "roll_right": _camera(*_worded(_ROLL, "right", "clockwise")),
    "parallax_left": _camera(*_worded(_PARALLAX, "left")),
    "parallax_right": _camera(*_worded(_PARALLAX, "right")),
    "clouds_left": _scene("sky mountain land", *_worded(_CLOUDS, "left")),
    "clouds_right": _scene("sky mountain land", *_worded(_CLOUDS, "right")),
    "water_ripples": _scene(
        "water sea waterfall", "the water ripples {how}", "ripples run {how} over the water", "the surface of the water {ly} ripples",
        "rippling water {how}", "ripples on the water {how}", "small ripples {ly} cross the water", "the water glitters and ripples {how}",
        "{a} ripple on the water", "the lake ripples {how}", "the water {ly} trembles",
    ),
    "waves": _scene(
        "sea water", "the waves roll in {how}", "waves {ly} roll", "the sea {ly} rises and falls", "waves move {how} on the sea",
        "the waves swell {how}", "rolling waves {how}", "the ocean waves {ly} heave", "{a} swell on the sea", "waves {how}",
        "the sea is moving {how}, wave after wave",
    ),
    "flames": _scene(
        "fire light interior", "the flames flicker {how}", "the fire burns {how}", "flickering flames {how}", "the flames {ly} dance",
        "the fire {ly} flickers", "fire burning {how}", "flames leap up {how}", "{a} flicker of flames", "the blaze flickers {how}",
    ),
    "smoke": _scene(
        "fire food street object", "smoke rises {how}", "the smoke {ly} drifts up", "rising smoke {how}", "smoke curls upward {how}",
        "steam rises {how}", "the steam {ly} goes up", "smoke billows up {how}", "{a} stream of smoke rises", "wisps of smoke {ly} rise",
    ),
    "leaves": _scene(
        "plant forest land", "the leaves sway {how}", "leaves {ly} move in the wind", "the plants sway {how} in the wind",
        "the wind {ly} moves the leaves", "swaying leaves {how}", "the branches sway {how}", "the grass {ly} sways", "leaves rustle {how}",
        "{a} breeze moves the leaves", "the greenery sways {how}",
    ),
    "snow": _scene(
        "mountain land street city forest building people animal", "snow falls {how}", "snow is {ly} falling", "falling snow {how}",
        "it snows {how}", "snowflakes fall {how}", "snowflakes drift {how} down", "snowfall {how}", "{a} fall of snow",
        "it is snowing {how}", "flakes of snow {ly} come down",
    ),
    "rain": _scene(
        "street city building land forest plant vehicle water", "rain falls {how}", "rain is {ly} falling", "it rains {how}",
        "it is raining {how}", "raindrops fall {how}", "falling rain {how}", "the rain comes down {how}", "{a} shower of rain",
        "rain {ly} pours down", "rainfall {how}",
    ),
    "light": _scene(
        "interior building city object people texture animal", "the light fades {how}", "the light {ly} dims", "it gets dark {how}",
        "the picture {ly} darkens", "the scene grows darker {how}", "fading light {how}", "night falls {how}", "{a} fade into the dark",
        "the day {ly} gets dark", "darkness comes {how}", "dimming light {how}",
    ),
}
# fmt: on
CAMERA_MOTIONS = tuple(name for name, kind in MOTIONS.items() if kind.camera)
DISPLACING = {"clouds_left", "clouds_right", "water_ripples", "waves", "flames", "leaves"}  # scenes that carry the photo's own things along


def draw_motion(rng: np.random.Generator, kind_of_photo: str) -> tuple[Motion, ...]:
    """What moves in a clip: mostly one camera motion, at times nothing, the scene, or both. Speeds are slow, medium or fast."""
    scenes = [name for name, kind in MOTIONS.items() if kind_of_photo in kind.suits]
    weights = np.array([1 / len(MOTIONS[name].suits) for name in scenes])  # what suits few photos is drawn more often on those
    lot = rng.random()
    if lot < STILL_SHARE:
        return (Motion("still"),)
    camera = Motion(str(rng.choice(CAMERA_MOTIONS)), _draw_speed(rng))
    if lot < STILL_SHARE + CAMERA_SHARE or not scenes:
        return (camera,)
    scene = Motion(str(rng.choice(scenes, p=weights / weights.sum())), _draw_speed(rng))
    return (scene,) if lot < 1 - BOTH_SHARE else (camera, scene)


def _draw_speed(rng: np.random.Generator) -> float:
    return float(rng.choice(list(SPEEDS.values()), p=SPEED_SHARES))  # as words tell it, so that where things go can be known


def motion_vector(motions: tuple[Motion, ...]) -> np.ndarray:
    """Speed of every motion, 0 where it is absent: len(MOTIONS), float32."""
    vector = np.zeros(len(MOTIONS), np.float32)
    for motion in motions:
        vector[list(MOTIONS).index(motion.name)] = motion.speed
    return vector


def pace(speed: float) -> str:
    """Name of the SPEEDS entry that a speed belongs to."""
    return "slow" if speed < 0.75 else "fast" if speed > 1.3 else "medium"


def describe(motions: tuple[Motion, ...], rng: np.random.Generator, subject: str = "") -> str:
    """One of many wordings of a clip's motions; a slow or fast one always says so.

    subject  what the photo shows; named in two of five captions, never where it tells sides, since photos are mirrored
    """
    parts = [_sentence(motion, rng) for motion in motions]
    if len(parts) > 1:
        rng.shuffle(parts)
    text = _pick(rng, (" while ", " and ", ", ")).join(parts)
    sided = {"left", "right"} & set(subject.lower().replace(",", " ").split())
    if subject and not sided and rng.random() < 0.4:
        link = _pick(rng, (", ", ", ", ": ", ". "))
        first, second = (subject, text) if rng.random() < 0.7 else (text, subject)
        text = first + link + (_capital(second) if link == ". " else second)
    text = _capital(text) if rng.random() < 0.4 else text
    return text + "." if rng.random() < 0.3 else text


def _sentence(motion: Motion, rng: np.random.Generator) -> str:
    name = pace(motion.speed)
    if name == "medium" and rng.random() < 0.08:
        name = "steady"
    words = {slot: _pick(rng, choices) for slot, choices in PACE_WORDS[name].items()}
    return " ".join(_pick(rng, MOTIONS[motion.name].wordings).format(**words).split()).replace(" ,", ",")


def _pick(rng: np.random.Generator, choices: tuple[str, ...]) -> str:
    return choices[int(rng.integers(len(choices)))]


def _capital(text: str) -> str:
    return text[:1].upper() + text[1:]


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
    return matrix, not any(motion.name.startswith("parallax") for motion in motions)


def moves_scene(motions: tuple[Motion, ...]) -> bool:
    """Whether places of the photo go another way than the camera alone leads: parallax, and scenes that carry things along."""
    return any(motion.name.startswith("parallax") or motion.name in DISPLACING for motion in motions)


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

    frames  f size size 3, uint8
    places  what place of the photo each cell shows, in halves of the view from its middle; beyond -1 … 1 the view never was   f g g 2
    shown   in [0, 1], with what share it is that place, but for broad changes of light                                        f g g
    known   in [0, 1], how far `places` can be believed                                                                       f g g
    """

    frames: np.ndarray
    places: np.ndarray
    shown: np.ndarray
    known: np.ndarray


def render(pixels: np.ndarray, motions: tuple[Motion, ...], times: np.ndarray, size: int, rng: np.random.Generator) -> MovingClip:
    """Draws a clip and finds out how much of each frame is the photo; see `draw`."""
    drawn = draw(pixels, motions, times, size, rng)
    shown = shown_shares(drawn.frames, drawn.places)
    return MovingClip(drawn.frames, drawn.places, shown, np.ones(drawn.places.shape[:3], np.float32))


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
    deep = any(motion.name.startswith("parallax") for motion in motions)
    screen = Source(np.zeros((canvas, canvas, 3), np.uint8), np.ones((canvas, canvas), np.float32), canvas, (canvas / 2, canvas / 2))
    in_photo = [(motion, effect.make(source, rng)) for motion, effect in effects if not effect.on_screen]
    on_screen = [(motion, effect.make(screen, rng)) for motion, effect in effects if effect.on_screen]
    frames = np.empty((len(times), size, size, 3), np.uint8)
    places = np.empty((len(times), PLACES_SIDE, PLACES_SIDE, 2), np.float32)
    for frame, place, time in zip(frames, places, times, strict=True):
        picture = source.pixels
        for motion, act in in_photo:
            picture = act.draw(picture, motion.speed * time / REFERENCE_FRAMES)
        pose = _pose(motions, time)
        picture = _photograph(picture, source, pose, deep, canvas)
        for motion, act in on_screen:
            picture = act.draw(picture, motion.speed * time / REFERENCE_FRAMES)
        frame[:] = cv2.resize(picture, (size, size), interpolation=cv2.INTER_AREA)
        place[:] = _true_places(source, pose, deep, [(act, motion.speed * time / REFERENCE_FRAMES) for motion, act in in_photo])
    return DrawnClip(frames, places, view)


def _true_places(source: Source, pose: _Pose, deep: bool, acts: list[tuple[Act, float]]) -> np.ndarray:
    """What place of the photo each cell of a frame shows, in halves of the view: g g 2."""
    at = _looked_at(pose, deep, PLACES_SIDE)
    for act, way in acts:
        if act.offset is not None:
            in_source = at * np.float32(source.unit) + np.array(source.centre, np.float32) - 0.5
            moved = cv2.remap(act.offset(way), in_source[..., 0], in_source[..., 1], cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
            at = at + moved / np.float32(source.unit)
    return 2 * at


def shown_shares(frames: np.ndarray, places: np.ndarray) -> np.ndarray:
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
