"""Which motions there are, how people word them, and how they are drawn for a clip.

Directions are the camera's: "the camera pans right" moves the content to the left of the screen, a tilt up moves it down.
A roll is worded by what is seen: `roll_right` turns the picture clockwise on the screen.
The order of MOTIONS is part of the checkpoint: the text encoder learns its indices.
"""

import re
from dataclasses import dataclass
from functools import cache

import numpy as np

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
SWAYING = DISPLACING - {"clouds_left", "clouds_right"}  # and do so in patterns that neither photo nor sentence tells

# fmt: off
FILLERS = {  # words of the wordings that tell no motion by themselves
    "a", "after", "and", "away", "back", "by", "camera", "come", "comes", "cross", "day", "does", "draws", "everything", "foreground",
    "gets", "goes", "hold", "image", "in", "into", "is", "it", "lake", "like", "look", "looks", "moment", "night", "no", "not", "of",
    "on", "out", "over", "past", "picture", "plants", "run", "scene", "shot", "sky", "small", "stays", "steps", "stream", "surface",
    "the", "to", "view", "wheel", "whole",
}
# fmt: on


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


def has_parallax(motions: tuple[Motion, ...]) -> bool:
    """Whether nearer places pass faster."""
    return any(motion.name.startswith("parallax") for motion in motions)


def moves_scene(motions: tuple[Motion, ...]) -> bool:
    """Whether places of the photo go another way than the camera alone leads: parallax, and scenes that carry things along."""
    return has_parallax(motions) or any(motion.name in DISPLACING for motion in motions)


CAMERA_WORDS = {"camera", "view", "shot", "pan", "pans", "zoom", "zooms", "tilt", "tilts", "roll", "rolls", "truck", "dolly"}


def camera_told(text: str) -> tuple[Motion, ...]:
    """The camera motion that a text tells by one of the wordings that clips are captioned with, as a clause of its own; none where it
    tells none, or more than one.
    """
    clauses = [" ".join(re.findall(r"[a-z]+", clause)) for clause in re.split(r"[.;,:!?]|\b(?:and|then|while|as)\b", text.lower())]
    told = {_camera_sentences()[clause] for clause in clauses if clause in _camera_sentences()}
    is_clear = not any(set(clause.split()) & CAMERA_WORDS for clause in clauses if clause not in _camera_sentences())
    return tuple(told) if len(told) == 1 and is_clear else ()


@cache
def _camera_sentences() -> dict[str, Motion]:
    """Every wording of a camera motion, its words alone. One that tells two motions, as "move up" does of some, tells the first."""
    sentences: dict[str, Motion] = {}
    for name in CAMERA_MOTIONS:
        for pace_name, slots in PACE_WORDS.items():
            motion = Motion(name, SPEEDS.get(pace_name, 1.0))
            for wording in MOTIONS[name].wordings:
                slot = re.search(r"\{(\w+)\}", wording)
                for word in slots[slot[1]] if slot else ("",):
                    text = wording.replace(slot[0], word) if slot else wording
                    sentences.setdefault(" ".join(re.findall(r"[a-z]+", text.lower())), motion)
    return sentences


def words_of(text: str) -> set[str]:
    """Words of a text without their endings, so that zoom, zooms and zooming are one."""
    return {stem_of(word) for word in re.findall(r"[a-z]+", text.lower())}


def motion_words(names: tuple[str, ...]) -> set[str]:
    """Words, as `words_of` gives them, that tell one of these motions."""
    wordings = " ".join(wording for name in names for wording in MOTIONS[name].wordings)
    return words_of(re.sub(r"\{\w+\}", " ", wordings)) - words_of(" ".join(FILLERS))


def stem_of(word: str) -> str:
    """A word without its ending."""
    stem = re.sub(r"(?<=\w{3})(ing|ed|es|s|e)$", "", word)
    return re.sub(r"([bdgmnprt])\1$", r"\1", stem)
