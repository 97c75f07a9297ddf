"""Pictures from words: Stable Diffusion XL and its fast relatives, with SDXL's refiner where it is asked for."""

from typing import Any

from diffusers import DiffusionPipeline

from trip.first_frame.drawing import Picture, Pictures, StepCallback, draw, fitted, generator, seeds_of, truncation_notes
from trip.settings import PaintSettings

REFINE_FROM = 0.8  # share of the steps that the base model makes, as the refiner's page recommends
FEWEST_REFINED = 5  # steps


def paint(pipe: DiffusionPipeline, settings: PaintSettings, on_step: StepCallback) -> Pictures:
    """Candidates for a first frame.

    pipe      StableDiffusionXLPipeline or StableDiffusionPipeline
    settings  resolved
    """
    images = draw(pipe, settings, on_step, "Painting", _inputs(pipe, settings))
    return Pictures(
        _with_seeds(images, settings), truncation_notes(pipe, picture=settings.prompt, negative_prompt=settings.negative_prompt)
    )


def paint_partially(pipe: DiffusionPipeline, settings: PaintSettings, on_step: StepCallback) -> list[Any]:
    """The same, left off after REFINE_FROM of the steps: latents c h w, for `refine`."""
    if settings.num_steps < FEWEST_REFINED:
        raise ValueError(f"Refine needs at least {FEWEST_REFINED} steps, got {settings.num_steps}; choose more steps")
    inputs = [one | {"denoising_end": REFINE_FROM, "output_type": "latent"} for one in _inputs(pipe, settings)]
    return draw(pipe, settings, on_step, "Painting", inputs, (0.0, REFINE_FROM))


def refine(refiner: DiffusionPipeline, latents: list[Any], settings: PaintSettings, on_step: StepCallback) -> Pictures:
    """Finishes what `paint_partially` left: the refiner takes the last steps.

    refiner  StableDiffusionXLImg2ImgPipeline
    """
    inputs = [
        {
            "prompt": settings.prompt,
            "negative_prompt": settings.negative_prompt,
            "guidance_scale": settings.guidance_scale,
            "image": one[None].to(refiner.device, refiner.dtype),
            "denoising_start": REFINE_FROM,
            "generator": generator(seed),
        }
        for one, seed in zip(latents, seeds_of(settings), strict=True)
    ]
    images = draw(refiner, settings, on_step, "Refining", inputs, (REFINE_FROM, 1.0))
    return Pictures(
        _with_seeds(images, settings), truncation_notes(refiner, picture=settings.prompt, negative_prompt=settings.negative_prompt)
    )


def _inputs(pipe: DiffusionPipeline, settings: PaintSettings) -> list[dict[str, Any]]:
    width, height = fitted(*map(int, settings.aspect.split(":")), settings.size, pipe)
    shared = {
        "prompt": settings.prompt,
        "negative_prompt": settings.negative_prompt,
        "guidance_scale": settings.guidance_scale,
        "width": width,
        "height": height,
    }
    return [shared | {"generator": generator(seed)} for seed in seeds_of(settings)]


def _with_seeds(images: list[Any], settings: PaintSettings) -> list[Picture]:
    return [Picture(image, seed) for image, seed in zip(images, seeds_of(settings), strict=True)]
