"""A photo changed by an instruction: InstructPix2Pix (Brooks et al. 2023), on Stable Diffusion 1.5 or SDXL."""

import inspect

import numpy as np
from diffusers import DiffusionPipeline
from PIL import Image

from trip.first_frame.drawing import Picture, Pictures, StepCallback, draw, fitted, generator, seeds_of, truncation_notes
from trip.first_frame.embedded import lightened, with_detail
from trip.settings import EditSettings


def edit(pipe: DiffusionPipeline, photo: Image.Image, settings: EditSettings, on_step: StepCallback, *, detail: bool = False) -> Pictures:
    """The photo, changed; in the photo's shape, with as many pixels as the model was made for.

    pipe      StableDiffusionInstructPix2PixPipeline or the SDXL one
    settings  resolved
    detail    give the photo's own detail back, in the photo's size
    """
    width, height = fitted(*photo.size, settings.size, pipe)
    shared = {
        "prompt": settings.instruction,
        "negative_prompt": settings.negative_prompt,
        "image": photo.resize((width, height), Image.Resampling.LANCZOS),
        "guidance_scale": settings.guidance_scale,
        "image_guidance_scale": settings.image_guidance,
    }
    if "width" in inspect.signature(pipe.__call__).parameters:
        shared |= {"width": width, "height": height}
    images = draw(pipe, settings, on_step, "Editing", [shared | {"generator": generator(seed)} for seed in seeds_of(settings)])
    if detail:
        pixels = np.asarray(photo)
        sharp = with_detail(pipe, [np.asarray(image) for image in images], pixels)
        images = [Image.fromarray(lightened(one, pixels)) for one in sharp]
    notes = truncation_notes(pipe, instruction=settings.instruction, negative_prompt=settings.negative_prompt)
    return Pictures([Picture(image, seed) for image, seed in zip(images, seeds_of(settings), strict=True)], notes)
