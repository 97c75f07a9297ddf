"""Motions to press under the prompt, and what is said of a prompt that tells none.

A chip stands for a sentence that the weights were trained on. The prompt is the truth: chips are read off it and written into it, and
what a person typed beside them stays.
"""

import html
import re
from difflib import SequenceMatcher

from trip.data.prompts import CAMERA_MOTIONS, FILLERS, MOTIONS, motion_words, words_of

# fmt: off
CHIPS = {  # motion -> what the chip says, and the sentence that it stands for
    "zoom_in": ("Zoom in", "the camera zooms in {how}"),
    "zoom_out": ("Zoom out", "the camera zooms out {how}"),
    "pan_left": ("Pan left", "the camera pans left {how}"),
    "pan_right": ("Pan right", "the camera pans right {how}"),
    "tilt_up": ("Tilt up", "the camera tilts up {how}"),
    "tilt_down": ("Tilt down", "the camera tilts down {how}"),
    "roll_left": ("Roll left", "the picture turns counterclockwise {how}"),
    "roll_right": ("Roll right", "the picture turns clockwise {how}"),
    "parallax_left": ("Travel left", "the camera travels left past the scene {how}"),
    "parallax_right": ("Travel right", "the camera travels right past the scene {how}"),
    "still": ("Still", "nothing moves"),
    "clouds_left": ("Clouds left", "the clouds drift {how} to the left"),
    "clouds_right": ("Clouds right", "the clouds drift {how} to the right"),
    "water_ripples": ("Ripples", "the water ripples {how}"),
    "waves": ("Waves", "the waves roll in {how}"),
    "flames": ("Flames", "the flames flicker {how}"),
    "smoke": ("Smoke", "smoke rises {how}"),
    "leaves": ("Leaves", "the leaves sway {how}"),
    "snow": ("Snow", "snow falls {how}"),
    "rain": ("Rain", "rain falls {how}"),
    "light": ("Light fades", "the light fades {how}"),
}
# fmt: on
PACES = {"slow": ("slowly", "slowly"), "fast": ("fast", "fast")}  # what the chip says, and how all that is chosen moves
SIDES = {"left", "right", "up", "down"}
GENTLE = ("zoom_in", "slow")  # what an empty prompt becomes
OFFERED = ("zoom_in", "pan_right", "parallax_left")  # where nothing is near to what was typed
MOST_OFFERED, NEAR = 3, 0.82  # chips; how alike two words are, from 0 to 1


def choices(known: tuple[str, ...]) -> list[tuple[str, str]]:
    """Labels and names of the chips for motions that the weights know, and of the paces."""
    motions = [(label, name) for name, (label, _) in CHIPS.items() if name in known]
    return motions and motions + [(label, name) for name, (label, _) in PACES.items()]


def telling_words(name: str) -> set[str]:
    """Words of a chip's sentence that tell which motion it is, its side aside."""
    return set(re.findall(r"[a-z]+", sentence(name))) - FILLERS - SIDES


def sentence(name: str, pace: str = "") -> str:
    """What a chip writes."""
    how = PACES[pace][1] if pace else ""
    return " ".join(CHIPS[name][1].format(how=how).split())


_SENTENCES = {sentence(name, pace): (name, pace) for name in CHIPS for pace in (*PACES, "")}  # the last one holds where a pace says nothing
_TOLD = re.compile(rf"(?:^|,\s*|\s+and\s+)({'|'.join(sorted(map(re.escape, _SENTENCES), key=len, reverse=True))})(?=\s*(?:$|,|\sand\s))")


def chosen(prompt: str) -> list[str]:
    """Names of the chips that a prompt holds, paces last."""
    told = [_SENTENCES[match[1]] for match in _TOLD.finditer(prompt.strip())]
    paces = {pace for _, pace in told if pace}
    return [name for name in CHIPS if name in {name for name, _ in told}] + [pace for pace in PACES if pace in paces]


def pressed(prompt: str, names: list[str]) -> str:
    """The prompt after a person has changed the chips to `names`.

    Clips were learnt with one motion of the camera and one of the scene at most: of the camera's, of two directions and of the paces the
    one pressed last stays, and nothing moves beside `still`.
    """
    new = [name for name in names if name not in chosen(prompt)]
    kept = [name for name in names if name not in new and not any(_excludes(name, other) for other in new)]
    names = [name for name in (*CHIPS, *PACES) if name in {*kept, *new}]
    pace = next((name for name in names if name in PACES), "")
    sentences = [sentence(name, pace) for name in names if name in CHIPS]
    typed = _TOLD.sub("", prompt.strip()).strip(" ,")
    return ", ".join(filter(None, [typed, " and ".join(sentences)]))


def _excludes(name: str, other: str) -> bool:
    if name in PACES or other in PACES:
        return name in PACES and other in PACES
    is_same_kind = name.split("_")[0] == other.split("_")[0]
    return is_same_kind or "still" in (name, other) or (name in CAMERA_MOTIONS and other in CAMERA_MOTIONS)


def gentle(known: tuple[str, ...]) -> str:
    """What an empty prompt becomes: a slow zoom, or else the first motion that the weights know; empty where they know none."""
    name = GENTLE[0] if GENTLE[0] in known else next((name for name in CHIPS if name in known), "")
    return sentence(name, GENTLE[1]) if name else ""


def taken(prompt: str) -> str:
    """HTML of the line that says what an empty prompt became."""
    return f"<p>No words were given, so this was taken: “{html.escape(prompt)}”.</p>"


def is_told(prompt: str, known: tuple[str, ...]) -> bool:
    """Whether a prompt has a word that tells one of the motions that the weights know."""
    return bool(words_of(prompt) & motion_words(known))


def nearest(prompt: str, known: tuple[str, ...]) -> list[str]:
    """Names of the few motions whose words are most like those of a prompt."""
    typed = words_of(prompt) - words_of(" ".join(FILLERS))

    def similarity(name: str) -> tuple[float, int]:
        own = motion_words((name,))
        alike = max((SequenceMatcher(None, one, other).ratio() for one in typed for other in own), default=0.0)
        return round(alike, 2), len(typed & words_of(" ".join(MOTIONS[name].wordings)))

    scores = {name: similarity(name) for name in CHIPS if name in known}
    near = sorted((name for name, (alike, _) in scores.items() if alike >= NEAR), key=lambda name: scores[name], reverse=True)
    return (near or [name for name in OFFERED if name in known] or [*scores])[:MOST_OFFERED]


def offer(prompt: str, known: tuple[str, ...]) -> str:
    """HTML of the line that says that a prompt tells no motion, with the nearest chips to press."""
    buttons = "".join(f'<button type="button" data-chip="{name}">{CHIPS[name][0]}</button>' for name in nearest(prompt, known))
    return f"<p>These weights know no word of this that moves something. Near to it: {buttons} or Run again to make it all the same.</p>"
