"""What painting, editing and drawing over a map share: pictures with seeds of their own, steps that are told, and words that fit."""

import inspect
import secrets
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, TypeVar

import numpy as np
import torch
from diffusers import DiffusionPipeline
from einops import rearrange
from PIL import Image
from torch import Tensor
from torch.nn.functional import interpolate

from trip.first_frame.local_models import Model
from trip.settings import PictureSettings

PREVIEW_SIDE = 16  # of the latents that a preview decodes, pixels
PREVIEW_SECONDS = 1.0  # at least, between two
Asked = TypeVar("Asked", bound=PictureSettings)


@dataclass(frozen=True)
class Step:
    """Where a picture stands.

    fraction  of all steps of all pictures
    words     what is being done
    preview   the picture as it looks by now, small; none where the last one is fresh   h w 3, uint8
    """

    fraction: float
    words: str
    preview: np.ndarray | None = None


StepCallback = Callable[[Step], None]  # raises `trip.pipeline.Interrupted` to stop


@dataclass(frozen=True)
class Picture:
    """A picture and the seed that makes it again."""

    image: Image.Image
    seed: int


@dataclass(frozen=True)
class Pictures:
    """What a way to a picture gives.

    map    the control map that was used, where there was one
    notes  what people should know, one line each
    """

    pictures: list[Picture]
    notes: list[str] = field(default_factory=list)
    map: Image.Image | None = None


def resolved(settings: Asked, model: Model) -> Asked:
    """The settings with everything filled in that was left open, as the model was made for; a missing seed is drawn."""
    own = {name: getattr(model.card, name) for name in ("size", "num_steps", "guidance_scale", "image_guidance")}
    own |= {"seed": secrets.randbelow(2**31), "picture_model": model.name}
    left_open = {name: value for name, value in own.items() if getattr(settings, name, 0) in (None, "")}
    return settings.model_copy(update=left_open)


def seeds_of(settings: PictureSettings) -> list[int]:
    """A seed for each picture; the first is the one that was asked for."""
    return [(settings.seed + index) % 2**31 for index in range(settings.num_pictures)]


def fitted(width: int, height: int, size: int, pipe: DiffusionPipeline) -> tuple[int, int]:
    """Width and height in the shape of a picture and with as many pixels as a square of `size`, such as the U-Net can halve."""
    halvings = len(pipe.vae.config.block_out_channels) + len(pipe.unet.config.block_out_channels) - 2
    unit = max(8, 2**halvings)  # diffusers wants 8 at least
    stretch = (width / height) ** 0.5
    return tuple(max(unit, round(size * side / unit) * unit) for side in (stretch, 1 / stretch))


def draw(
    pipe: DiffusionPipeline,
    settings: PictureSettings,
    on_step: StepCallback,
    words: str,
    inputs: list[dict[str, Any]],
    span: tuple[float, float] = (0.0, 1.0),
) -> list[Any]:
    """What the pipeline gives for each of the inputs, one after the other: each is the same as it would be alone.

    inputs  arguments of one call each, with its `generator`
    span    share of all the work that this is: from, to
    """
    outputs, (start, end) = [], span
    width = (end - start) / len(inputs)
    for index, one in enumerate(inputs):
        title = words if len(inputs) == 1 else f"{words}, picture {index + 1} of {len(inputs)}"
        watch = _callbacks(pipe, on_step, title, start + index * width, width, settings.num_steps)
        outputs += list(pipe(num_inference_steps=settings.num_steps, **one, **watch).images)
    return outputs


def generator(seed: int) -> torch.Generator:
    """Noise drawn on the CPU, so that a seed means the same on every device."""
    return torch.Generator().manual_seed(seed)


def _callbacks(pipe: DiffusionPipeline, on_step: StepCallback, title: str, start: float, width: float, num_steps: int) -> dict[str, Any]:
    """Arguments that let a pipeline report its steps; an exception of `on_step` ends it within one, before anything is decoded."""
    last_preview = -PREVIEW_SECONDS

    def report_step(step: int, latents: Tensor) -> None:
        nonlocal last_preview
        is_due = time.monotonic() - last_preview >= PREVIEW_SECONDS
        count = getattr(pipe, "_num_timesteps", None) or num_steps  # fewer where another model begins or ends the picture
        words = f"{title}: step {step + 1} of {count}"
        on_step(Step(start + width * (step + 1) / count, words, _preview(pipe, latents) if is_due else None))
        last_preview = time.monotonic() if is_due else last_preview

    def after_step(_: Any, step: int, timestep: int, tensors: dict[str, Tensor]) -> dict[str, Tensor]:
        report_step(step, tensors["latents"])
        return tensors

    if "callback_on_step_end" in inspect.signature(pipe.__call__).parameters:
        return {"callback_on_step_end": after_step}
    return {"callback": lambda step, timestep, latents: report_step(step, latents), "callback_steps": 1}


@torch.no_grad()
def _preview(pipe: DiffusionPipeline, latents: Tensor) -> np.ndarray | None:
    """A small picture of noisy latents, b c h w: shrunk, brought to the spread of clean ones, and decoded."""
    if hasattr(pipe.vae, "_hf_hook"):  # it would be fetched to the accelerator and the U-Net sent away
        return None
    scale = min(1.0, PREVIEW_SIDE / min(latents.shape[-2:]))
    small = interpolate(latents[:1].float(), scale_factor=scale, mode="area") if scale < 1 else latents[:1].float()
    small = small / small.std().clamp(min=1)
    pixels = pipe.vae.decode((small / pipe.vae.config.scaling_factor).to(pipe.vae.dtype)).sample[0].float()
    return ((rearrange(pixels, "c h w -> h w c") + 1) * 127.5).round().clamp(0, 255).byte().cpu().numpy()


def truncation_notes(pipe: DiffusionPipeline, **prompts: str) -> list[str]:
    """A note for each prompt that is longer than the text encoder reads, with the words that it does not."""
    tokenizer, notes = pipe.tokenizer or pipe.tokenizer_2, []
    for title, prompt in prompts.items():
        tokens = tokenizer(prompt, truncation=False, verbose=False).input_ids
        if len(tokens) > tokenizer.model_max_length:
            rest = tokenizer.decode(tokens[tokenizer.model_max_length - 1 : -1]).strip()
            last_preview = rest if len(rest) <= 200 else f"{rest[:200]} …"
            notes.append(
                f"{title.replace('_', ' ').capitalize()}: the model reads {tokenizer.model_max_length - 2} tokens, "
                f"and this has {len(tokens) - 2}; not read: “{last_preview}”"
            )
    return notes
