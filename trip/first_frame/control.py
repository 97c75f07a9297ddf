"""A picture from words, drawn over the control map of a photo: ControlNet (Zhang et al. 2023), on Stable Diffusion 1.5 or SDXL."""

from dataclasses import dataclass, field

import numpy as np
from diffusers import DiffusionPipeline
from PIL import Image

from trip.first_frame.annotators import ANNOTATORS, Detector, canny
from trip.first_frame.drawing import Picture, Pictures, StepCallback, draw, fitted, generator, seeds_of, truncation_notes
from trip.settings import ControlSettings

FLAT = 2  # levels of 255 between the darkest and the brightest pixel of a map that shows nothing
ALIKE = 0.03  # relative difference of two shapes that needs no mention
MAP_SIDE = 512  # pixels of a map's shorter side, where nothing else is asked
MAP_LONG_SIDE = 4096  # of its longer side, at most
MOST_STRETCH = 16  # longer side to shorter: the networks enlarge a photo by its shorter side


@dataclass(frozen=True)
class ControlMap:
    """A control map, in the shape of its photo, and what people should know of it."""

    image: Image.Image
    notes: list[str] = field(default_factory=list)


def control_map(photo: Image.Image, settings: ControlSettings, detector: Detector | None = None, side: int = MAP_SIDE) -> ControlMap:
    """What the annotator sees in a photo; an empty map is given all the same, with a note.

    detector  of `open_detector`; canny needs none
    side      pixels of the map's shorter side; fewer where the longer one would have more than MAP_LONG_SIDE
    Raises ValueError, in one line, for a photo that is a strip.
    """
    if settings.is_map:
        return ControlMap(photo.convert("RGB"))
    shortest, longest = sorted(photo.size)
    if longest > MOST_STRETCH * shortest:
        raise ValueError(
            f"wanted a photo at most {MOST_STRETCH} times as long as wide for a control map, got {photo.width} x {photo.height}; crop it"
        )
    side = round(min(side, MAP_LONG_SIDE * shortest / longest))
    scale = side / shortest
    shape = tuple(max(16, round(scale * length)) for length in photo.size)
    if settings.annotator == "canny":
        found = canny(photo.resize(shape, Image.Resampling.LANCZOS), settings.low, settings.high)
    else:
        found = detector.read(photo, max(64, round(side / 64) * 64)).convert("RGB").resize(shape, Image.Resampling.NEAREST)
    return ControlMap(found, [_empty_map_note(settings)] if is_empty(found) else [])


def is_empty(found: Image.Image) -> bool:
    """Whether a map shows nothing: it is the same all over."""
    pixels = np.asarray(found.convert("L"))
    return int(pixels.max()) - int(pixels.min()) <= FLAT


def _empty_map_note(settings: ControlSettings) -> str:
    annotator = ANNOTATORS[settings.annotator]
    advice = "lower its thresholds or " if settings.annotator == "canny" else ""
    return f"{annotator.title}: no {annotator.finds} were found, the map is empty; {advice}choose another annotator or photo"


def draw_over(
    pipe: DiffusionPipeline, found: Image.Image, settings: ControlSettings, on_step: StepCallback, photo: Image.Image | None = None
) -> Pictures:
    """Pictures over a control map.

    pipe      StableDiffusionControlNetPipeline or the SDXL one
    found     the map, perhaps edited since
    settings  resolved
    photo     what the map was made of: its shape counts; none: the map's
    """
    like = photo or found
    width, height = fitted(*like.size, settings.size, pipe)
    notes = truncation_notes(pipe, picture=settings.prompt, negative_prompt=settings.negative_prompt)
    if abs(found.width / found.height * like.height / like.width - 1) > ALIKE:
        notes.append(f"The map is {found.width} × {found.height}, of another shape than the photo; it was stretched to fit")
    found = found.convert("RGB").resize((width, height), Image.Resampling.BILINEAR)
    if is_empty(found):
        notes.append("The control map is empty: only the words count")
    shared = {
        "prompt": settings.prompt,
        "negative_prompt": settings.negative_prompt,
        "image": found,
        "width": width,
        "height": height,
        "guidance_scale": settings.guidance_scale,
        "controlnet_conditioning_scale": settings.strength,
        "control_guidance_start": settings.start,
        "control_guidance_end": settings.end,
    }
    images = draw(pipe, settings, on_step, "Drawing", [shared | {"generator": generator(seed)} for seed in seeds_of(settings)])
    return Pictures([Picture(image, seed) for image, seed in zip(images, seeds_of(settings), strict=True)], notes, found)
