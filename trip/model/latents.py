"""Pixels to latents and back: the one place where latents are scaled."""

import torch
from diffusers import AutoencoderKL
from einops import rearrange
from torch import Tensor


def _statistics(vae: AutoencoderKL, like: Tensor) -> tuple[Tensor, Tensor]:
    """Mean and deviation that latents are scaled by, each 1 c 1 1; the scalar factor where the channels have none."""
    if vae.config.latents_mean is None:
        return like.new_zeros(1, 1, 1, 1), like.new_full((1, 1, 1, 1), 1 / vae.config.scaling_factor)
    mean, deviation = (like.new_tensor(values).view(1, -1, 1, 1) for values in (vae.config.latents_mean, vae.config.latents_std))
    return mean, deviation


@torch.no_grad()
def encode_video(vae: AutoencoderKL, video: Tensor, chunk: int = 16) -> Tensor:
    """Scaled latents of a video (the posterior's mode): b 3 f h w in [-1, 1] -> b c f h/8 w/8, float32."""
    frames = rearrange(video, "b c f h w -> (b f) c h w").to(vae.device, vae.dtype)
    latents = torch.cat([vae.encode(part).latent_dist.mode().float() for part in frames.split(chunk)])
    mean, deviation = _statistics(vae, latents)
    return rearrange((latents - mean) / deviation, "(b f) c h w -> b c f h w", b=video.shape[0])


@torch.no_grad()
def decode_video(vae: AutoencoderKL, latents: Tensor, chunk: int = 8) -> Tensor:
    """Pixels of scaled latents: b c f h w -> b 3 f 8h 8w in [-1, 1], float32; `chunk` frames at a time."""
    frames = rearrange(latents, "b c f h w -> (b f) c h w").float()
    mean, deviation = _statistics(vae, frames)
    frames = (frames * deviation + mean).to(vae.device, vae.dtype)
    pixels = torch.cat([vae.decode(part).sample.float() for part in frames.split(chunk)])
    return rearrange(pixels.clamp(-1, 1), "(b f) c h w -> b c f h w", b=latents.shape[0])
