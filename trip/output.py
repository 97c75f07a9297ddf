"""What a pipeline gives: clips with all that rendering needs, and their frames as diffusers' users expect them."""

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from diffusers.utils import BaseOutput
from PIL import Image
from torch import Tensor

from trip.diffusion import arrival_share
from trip.media import Box
from trip.model.latents import to_uint8
from trip.model.warp import MotionField

OUTPUT_TYPES = ("pil", "np", "pt", "latent")


@dataclass(frozen=True)
class AnimatedClip:
    """A clip as the network drew it, and what `trip.render` makes pixels to keep of.

    frames         f h w 3, uint8; frame 0 is the photo as the model saw it
    metadata       settings as they were used, seed, model and versions
    photo          the whole photo, RGB and upright, not cropped
    part           left, top, right and bottom of what the model saw of it, pixels
    decoded_photo  what the autoencoder makes of frame 0   h w 3, uint8
    times          of the frames, as the network was told them, in reference frames; they rise, and fall again where the clip
                   comes home   f, float32
    field          the motion of the photo, on the CPU; none where the 3D-UNet finds none
    loop           whether the frame after the last one is the photo again
    notes          what a person should know, a line each: what of the prompts was not read
    last_photo     the photo that the clip arrives at, as `photo`; none: it goes where the motion takes it
    decoded_last   what the autoencoder makes of it, as `decoded_photo`
    """

    frames: np.ndarray
    fps: float
    metadata: dict[str, Any]
    photo: Image.Image
    part: Box
    decoded_photo: np.ndarray
    times: np.ndarray
    field: MotionField | None = None
    loop: bool = False
    notes: tuple[str, ...] = ()
    last_photo: Image.Image | None = None
    decoded_last: np.ndarray | None = None

    def arrived(self, at: np.ndarray) -> np.ndarray:
        """With what share moments of the clip show the last photo, in [0, 1]; `at` in frames, of any shape."""
        if self.last_photo is None:
            return np.zeros(np.shape(at), np.float32)
        return arrival_share(torch.as_tensor(at / (len(self.frames) - 1))).numpy().astype(np.float32)


@dataclass
class TripPipelineOutput(BaseOutput):
    """What a call gives.

    frames  the clips, by `output_type`: pil, a list of PIL images each; np, b f h w 3, float32 in [0, 1]; pt, b f 3 h w, float32 in
            [0, 1]; latent, b c f h w
    clips   the same, each with its metadata, for `trip.render`; none where latents were asked for
    """

    frames: list[list[Image.Image]] | np.ndarray | Tensor
    clips: list[AnimatedClip] | None = None


def as_frames(video: Tensor, photos: np.ndarray, output_type: str) -> list[list[Image.Image]] | np.ndarray | Tensor:
    """A video as `TripPipelineOutput.frames`, but for latents.

    video   b 3 f h w in [-1, 1], not rounded; frame 0 is `photos`, to the last bit
    photos  b h w 3, uint8
    """
    if output_type == "pil":
        return [[Image.fromarray(frame) for frame in clip] for clip in to_uint8(video)]
    pixels = ((video + 1) / 2).clamp(0, 1).permute(0, 2, 1, 3, 4)
    pixels[:, 0] = torch.from_numpy(photos).permute(0, 3, 1, 2).to(pixels) / 255
    return pixels if output_type == "pt" else pixels.permute(0, 1, 3, 4, 2).cpu().numpy()
