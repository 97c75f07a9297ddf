"""The embedded editor: several instructions for one photo at once, and the photo's own detail given back to what comes out."""

from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np
import torch
from diffusers import StableDiffusionInstructPix2PixPipeline
from numpy import ndarray
from PIL import Image

from trip.first_frame.detail import give_back_detail
from trip.model.weights import check_finite
from trip.system.environment import ASSETS

EDITOR = ASSETS / "editor"
NUM_STEPS = 2  # measured: more follow the known edits less closely
LEAST_LIGHT = 0.45  # share of the photo's mean that an edit keeps: below it a night is black on a screen


def open_editor(source: str | Path | None = None) -> StableDiffusionInstructPix2PixPipeline:
    """An InstructPix2Pix pipeline from a folder or a hub id, the embedded one where none is given; in float32, without a progress bar.

    Raises ValueError where there is none.
    """
    try:
        pipe = StableDiffusionInstructPix2PixPipeline.from_pretrained(
            source or EDITOR, use_safetensors=True, torch_dtype=torch.float32, safety_checker=None
        )
    except (OSError, TypeError) as error:
        raise ValueError(f"{source or EDITOR}: wanted an InstructPix2Pix pipeline folder, found none ({_first_line(error)})") from error
    check_finite(str(source or EDITOR), pipe.vae, pipe.text_encoder, pipe.unet)
    pipe.set_progress_bar_config(disable=True)
    return pipe


def edit_all(
    pipe: StableDiffusionInstructPix2PixPipeline,
    photo: ndarray,
    instructions: Sequence[str],
    *,
    seed: int,
    num_steps: int = NUM_STEPS,
    guidance_scale: float = 1.0,
    image_guidance_scale: float = 1.0,
) -> list[ndarray]:
    """A picture for each instruction, all from the same noise: h w 3, uint8, the editor's own pixels.

    photo  h w 3, uint8 RGB; sides in eights
    """
    size = [1, pipe.vae.config.latent_channels, *(side // pipe.vae_scale_factor for side in photo.shape[:2])]
    noise = torch.randn(size, generator=torch.Generator().manual_seed(seed)).repeat(len(instructions), 1, 1, 1)
    pictures = pipe(
        prompt=list(instructions),
        image=[Image.fromarray(photo)] * len(instructions),
        num_inference_steps=num_steps,
        guidance_scale=guidance_scale,
        image_guidance_scale=image_guidance_scale,
        latents=noise.to(pipe.device, pipe.unet.dtype),
        output_type="np",
    ).images
    return list((255 * pictures).round().astype("uint8"))


@torch.no_grad()
def through_autoencoder(pipe: StableDiffusionInstructPix2PixPipeline, photo: ndarray) -> ndarray:
    """What the autoencoder keeps of a photo: h w 3, uint8, sides in eights -> the same."""
    pixels = pipe.image_processor.preprocess(Image.fromarray(photo)).to(pipe.device, pipe.vae.dtype)
    decoded = pipe.vae.decode(pipe.vae.encode(pixels).latent_dist.mode()).sample
    return (255 * pipe.image_processor.postprocess(decoded, output_type="np")[0]).round().astype("uint8")


def with_detail(pipe: StableDiffusionInstructPix2PixPipeline, edited: Sequence[ndarray], photo: ndarray) -> list[ndarray]:
    """Edited pictures, h w 3, with the detail of the photo they were made of, in its size: H W 3, uint8."""
    height, width = edited[0].shape[:2]
    small = photo if photo.shape[:2] == (height, width) else cv2.resize(photo, (width, height), interpolation=cv2.INTER_AREA)
    decoded = through_autoencoder(pipe, small)
    return [give_back_detail(picture, decoded, photo) for picture in edited]


def lightened(edited: ndarray, photo: ndarray) -> ndarray:
    """An edit, brought to LEAST_LIGHT of its photo's mean by a power law where it is darker: h w 3, uint8."""
    now, wanted = edited.mean() / 255, LEAST_LIGHT * photo.mean() / 255
    if not 0 < now < wanted:
        return edited
    return (255 * (edited / 255) ** (np.log(wanted) / np.log(now))).round().astype(np.uint8)


def _first_line(error: Exception) -> str:
    return next(iter(str(error).strip().splitlines()), type(error).__name__)
