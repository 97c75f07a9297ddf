"""How people ask for the edits of `trip.data.edits`: many wordings each, some of them kept out of training, and which edits words tell."""

import re

import numpy as np

from trip.data.edits import EDITS
from trip.data.prompts import stem_of

STATES = {  # edit -> what the picture shall show; fits "make it ..." and "what if it were ..."
    "night": ["night", "night time", "midnight", "a dark night", "a moonlit night", "late at night", "nighttime"],
    "dusk": ["dusk", "twilight", "the blue hour", "evening", "early evening", "nightfall", "dawn"],
    "sunset": ["sunset", "a sunset", "a red sunset", "a burning sunset", "an orange evening sky", "sundown", "sunrise"],
    "golden hour": ["the golden hour", "golden hour", "golden light", "golden sunlight", "a sunny day", "sunny", "full of golden sun"],
    "winter": ["winter", "a winter day", "snowy", "covered in snow", "a snowy winter", "full of snow", "snow", "frozen", "christmas"],
    "autumn": ["autumn", "fall", "an autumn day", "the fall season", "full of autumn leaves", "october", "autumnal"],
    "fog": ["foggy", "misty", "a foggy day", "full of fog", "a misty morning", "hazy", "in dense fog", "fog", "mist"],
    "rain": ["rainy", "a rainy day", "raining", "wet with rain", "pouring with rain", "a rain storm", "rain", "stormy"],
    "underwater": ["underwater", "under water", "under the sea", "at the bottom of the ocean", "a scene under the ocean", "submerged"],
    "mars": ["on mars", "the planet mars", "mars", "the red planet", "a red desert", "a dust storm"],
    "neon": ["neon", "cyberpunk", "lit by neon", "full of neon lights", "synthwave", "vaporwave", "in neon colours"],
    "sketch": ["a sketch", "a pencil sketch", "a drawing", "a pencil drawing", "line art", "drawn in pencil"],
    "cartoon": ["a cartoon", "a comic", "a comic book", "cartoon style", "an anime", "in the style of a comic"],
    "sepia": ["sepia", "sepia toned", "brown like an old print", "in sepia tones", "an antique photo", "a sepia photo"],
    "black and white": ["black and white", "monochrome", "grayscale", "greyscale", "without colour", "a black and white photo", "grey"],
    "vintage": ["vintage", "retro", "a faded old film", "a vintage photo", "a polaroid", "like a 1970s photo", "washed out"],
    "warmer": ["warmer", "warm", "more orange", "warmer in colour", "warm in tone"],
    "cooler": ["cooler", "colder", "cold", "bluer", "more blue", "cooler in colour", "cold in tone"],
    "brighter": ["brighter", "bright", "lighter", "light", "better lit", "with more light"],
    "darker": ["darker", "dark", "dimmer", "dim", "with less light", "gloomy", "moody"],
    "vivid": ["more vivid", "vivid", "more colourful", "colourful", "more saturated", "vibrant", "more vibrant", "richer in colour"],
}

ORDERS = {  # edit -> sentences of its own
    "night": ["turn day into night", "switch off the sun", "change day to night", "show it at night"],
    "dusk": ["show it after the sun has gone", "let evening fall", "show it at dusk"],
    "sunset": ["add a sunset", "let the sun set", "show it at sunset", "give it a sunset sky"],
    "golden hour": ["let the sun shine", "add golden sunlight", "bathe it in golden light", "add sunshine"],
    "winter": ["add snow", "cover it with snow", "let it snow", "cover the ground in snow", "turn summer into winter"],
    "autumn": ["turn the leaves orange", "make the leaves red and yellow", "turn summer into autumn", "give it autumn colours"],
    "fog": ["add fog", "add some mist", "let fog roll in", "hide it in the mist"],
    "rain": ["add rain", "let it rain", "add a storm", "make it rain", "add raindrops"],
    "underwater": ["put it under water", "sink it in the sea", "flood it with water", "move it to the ocean"],
    "mars": ["move it to mars", "put it on mars", "put it on the red planet", "cover it with red dust"],
    "neon": ["add neon lights", "light it with neon", "give it a cyberpunk look", "give it neon colours"],
    "sketch": ["draw it with a pencil", "sketch it", "draw it", "turn the photo into a pencil sketch"],
    "cartoon": ["turn it into a comic", "draw it as a cartoon", "give it a cartoon look"],
    "sepia": ["add a sepia tone", "tone it in sepia", "give it sepia tones"],
    "black and white": ["remove the colour", "take the colours away", "remove all colors", "desaturate it"],
    "vintage": ["give it a vintage look", "give it a retro look", "add a vintage filter", "fade it like old film"],
    "warmer": ["add warmth", "warm it up", "use warmer colours", "give it a warm tone"],
    "cooler": ["cool it down", "use colder colours", "give it a cool tone", "add blue"],
    "brighter": ["brighten it", "add light", "more light", "brighten it up", "increase the brightness"],
    "darker": ["darken it", "less light", "take light away", "lower the brightness", "dim the light"],
    "vivid": ["boost the colours", "more colour", "increase the saturation", "make the colours pop"],
}

FRAMES = [  # {} stands for a state
    "make it {}", "make it look {}", "make the photo {}", "make this picture {}", "make the scene {}", "change it to {}", "turn it into {}",
    "turn this photo into {}", "turn the scene into {}", "what if it were {}", "what if it was {}", "what would it look like in {}",
    "as if it were {}", "{}", "it is {}", "i want it to be {}", "please make it {}", "let it be {}", "it should be {}", "have it be {}",
    "as {}", "can you make it {}", "transform it into {}", "convert it to {}", "show it in {}",
]  # fmt: skip
ABOUT = ["{caption}, {state}", "make {caption} {state}", "{state}, {caption}", "{caption} in {state}", "turn {caption} into {state}"]

DEGREES = {  # words for how much of an edit; the amount lies between the two
    "": (0.85, 1.1),
    "slightly": (0.35, 0.6),
    "a bit": (0.35, 0.6),
    "a little": (0.35, 0.6),
    "very": (1.2, 1.45),
    "much": (1.2, 1.45),
    "really": (1.2, 1.45),
}
DEGREE_SHARE = 0.2  # instructions that say how much

UNSEEN = {  # whole sentences that training never sees, made of words that it does
    "night": ["what if it were midnight", "make the scene a moonlit night"],
    "dusk": ["turn this photo into twilight", "let it be the blue hour"],
    "sunset": ["make it a red sunset", "what if it were sundown"],
    "golden hour": ["make the scene full of golden sun", "add golden light"],
    "winter": ["turn the scene into a snowy winter", "add snow to the ground"],
    "autumn": ["what if it were an autumn day", "give the leaves autumn colours"],
    "fog": ["make the scene misty", "what if it were a foggy day"],
    "rain": ["turn it into a rainy day", "what if it was pouring with rain"],
    "underwater": ["what if it were under the sea", "make the scene submerged"],
    "mars": ["what if it were on mars", "transform it into the red planet"],
    "neon": ["make it look cyberpunk", "make the scene full of neon lights"],
    "sketch": ["turn this photo into a pencil drawing", "please make it a sketch"],
    "cartoon": ["make it look like a cartoon", "convert it to a comic book"],
    "sepia": ["make the photo sepia toned", "turn it into a sepia photo"],
    "black and white": ["make this picture black and white", "turn it into monochrome"],
    "vintage": ["make the photo look vintage", "turn this photo into a polaroid"],
    "warmer": ["make the photo warmer", "give the photo warmer colours"],
    "cooler": ["make the photo colder", "give it cooler colours"],
    "brighter": ["make the scene brighter", "please make it better lit"],
    "darker": ["make the photo darker", "it should be with less light"],
    "vivid": ["make this picture more vibrant", "please make it more colourful"],
}
_KEPT_OUT = {sentence for sentences in UNSEEN.values() for sentence in sentences}


ARTICLES = {"a", "an", "the"}
THINGS = {stem_of(word) for word in ("add", "put", "place", "insert", "remove", "erase", "delete", "replace", "swap", "give")}


def told_edits(instruction: str) -> list[str]:
    """Names of the edits that an instruction tells by a wording above; none where a thing is to come or go that is in no wording."""
    words = _stems(instruction)
    if THINGS & set(words) and not set(words) <= _VOCABULARY:
        return []
    text = f" {' '.join(words)} "
    return [name for name, phrases in _PHRASES.items() if any(f" {phrase} " in text for phrase in phrases)]


def _stems(text: str) -> list[str]:
    return [stem_of(word) for word in re.findall(r"[a-z0-9]+", text.lower()) if word not in ARTICLES]


_PHRASES = {name: {" ".join(_stems(words)) for words in (*STATES[name], *ORDERS[name])} for name in EDITS}
_COMMON = " ".join([*FRAMES, *DEGREES, "some lots of more to with and"])
_VOCABULARY = {word for phrases in _PHRASES.values() for phrase in phrases for word in phrase.split()} | {*_stems(_COMMON)}


def draw_instruction(rng: np.random.Generator, caption: str = "") -> tuple[str, float, str]:
    """One request for an edit: its name, the amount that the words ask for, and the words.

    caption  what the photo shows; some requests repeat it
    """
    name = str(rng.choice(list(EDITS)))
    while True:
        degree = str(rng.choice(list(DEGREES))) if rng.random() < DEGREE_SHARE else ""
        words = _words(name, degree, caption, rng)
        if words not in _KEPT_OUT:
            return name, float(rng.uniform(*DEGREES[degree])), words


def _words(name: str, degree: str, caption: str, rng: np.random.Generator) -> str:
    lot = rng.random()
    if degree:
        return f"{_frame(rng).format(f'{degree} {_state(name, rng)}')}"
    if lot < 0.25:
        return str(rng.choice(ORDERS[name]))
    if lot < 0.4 and caption:
        return str(rng.choice(ABOUT)).format(caption=caption, state=_state(name, rng))
    return _frame(rng).format(_state(name, rng))


def _state(name: str, rng: np.random.Generator) -> str:
    return str(rng.choice(STATES[name]))


def _frame(rng: np.random.Generator) -> str:
    return str(rng.choice(FRAMES))
