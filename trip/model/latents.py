"""Pixels to latents and back: the one place where latents are scaled."""

import numpy as np
import torch
from diffusers import AutoencoderKL
from einops import rearrange
from torch import Tensor
from torch.nn import functional


def _statistics(vae: AutoencoderKL, like: Tensor) -> tuple[Tensor, Tensor]:
    """Mean and deviation that latents are scaled by, each 1 c 1 1; the scalar factor where the channels have none."""
    if vae.config.get("latents_mean") is None:
        return like.new_zeros(1, 1, 1, 1), like.new_full((1, 1, 1, 1), 1 / vae.config.scaling_factor)
    mean, deviation = (like.new_tensor(values).view(1, -1, 1, 1) for values in (vae.config.latents_mean, vae.config.latents_std))
    return mean, deviation


@torch.no_grad()
def fold_statistics(vae: AutoencoderKL) -> None:
    """Moves the scaling of latents into the autoencoder's own 1x1 convolutions: `encode` gives scaled latents, the factor is 1.

    For pipelines that scale by the factor alone, or, as InstructPix2Pix does with the photo's latents, not at all.
    """
    channels = vae.config.latent_channels
    mean, deviation = (part.flatten().expand(channels) for part in _statistics(vae, vae.quant_conv.weight))
    enter, leave = vae.quant_conv, vae.post_quant_conv
    enter.bias[:channels] -= mean
    enter.bias[:channels] /= deviation
    enter.bias[channels:] -= 2 * deviation.log()  # log variance
    enter.weight[:channels] /= deviation[:, None, None, None]
    leave.bias += leave.weight[:, :, 0, 0] @ mean
    leave.weight *= deviation[None, :, None, None]
    vae.register_to_config(scaling_factor=1.0, latents_mean=None, latents_std=None)


@torch.no_grad()
def encode_video(vae: AutoencoderKL, video: Tensor, chunk: int = 16, device: torch.device | None = None) -> Tensor:
    """Scaled latents of a video (the posterior's mode): b 3 f h w in [-1, 1] -> b c f h/8 w/8, float32.

    vae     or another of diffusers' autoencoders of pictures: `AutoencoderTiny`, which has no posterior, `AsymmetricAutoencoderKL`, …
    device  where the autoencoder works, where that is not where its weights are
    """
    frames = rearrange(video, "b c f h w -> (b f) c h w").to(device or vae.device, vae.dtype)
    encoded = [vae.encode(part) for part in frames.split(chunk)]
    latents = torch.cat([(one.latents if "latents" in one else one.latent_dist.mode()).float() for one in encoded])
    mean, deviation = _statistics(vae, latents)
    return rearrange((latents - mean) / deviation, "(b f) c h w -> b c f h w", b=video.shape[0])


@torch.no_grad()
def decode_video(vae: AutoencoderKL, latents: Tensor, chunk: int = 8, device: torch.device | None = None) -> Tensor:
    """Pixels of scaled latents: b c f h w -> b 3 f 8h 8w in [-1, 1], float32; `chunk` frames at a time.

    device  where the autoencoder works, where that is not where its weights are
    """
    frames = rearrange(latents, "b c f h w -> (b f) c h w").float()
    mean, deviation = _statistics(vae, frames)
    frames = (frames * deviation + mean).to(device or vae.device, vae.dtype)
    pixels = torch.cat([vae.decode(part).sample.float() for part in frames.split(chunk)])
    return rearrange(pixels.clamp(-1, 1), "(b f) c h w -> b c f h w", b=latents.shape[0])


def fit_colours(z_first: Tensor, photo: Tensor) -> Tensor:
    """The linear map from latents to colours that fits a photo best: c+1 3, for `colours_of`.

    z_first  clean latent of the photo   1 c 1 h w
    photo    the photo                   1 3 1 H W in [-1, 1]
    """
    cells = functional.adaptive_avg_pool2d(photo[:, :, 0].float().cpu(), z_first.shape[3:])
    latents, colours = (rearrange(x, "1 c h w -> (h w) c") for x in (z_first[:, :, 0].float().cpu(), cells))
    return torch.linalg.lstsq(functional.pad(latents, (0, 1), value=1.0), colours, driver="gelsd").solution


def colours_of(z_0: Tensor, colour_map: Tensor, enlarged: int = 4) -> Tensor:
    """A blurred look at latents, for next to nothing of what decoding costs: b c f h w -> b 3 f 4h 4w in [-1, 1]."""
    latents = functional.pad(rearrange(z_0.float().cpu(), "b c f h w -> b f h w c"), (0, 1), value=1.0)
    small = rearrange(latents @ colour_map, "b f h w c -> (b f) c h w")
    large = functional.interpolate(small, scale_factor=enlarged, mode="bicubic", align_corners=False)
    return rearrange(large.clamp(-1, 1), "(b f) c h w -> b c f h w", b=z_0.shape[0])


def to_uint8(video: Tensor) -> np.ndarray:
    """b 3 f h w in [-1, 1] -> b f h w 3."""
    return ((video + 1) * 127.5).round().clamp(0, 255).byte().permute(0, 2, 3, 4, 1).cpu().numpy()


def round_trip(vae: AutoencoderKL, frames: np.ndarray) -> np.ndarray:
    """A clip as the autoencoder gives it back: f h w 3, uint8, sides in whole latents."""
    video = torch.from_numpy(frames).permute(3, 0, 1, 2).unsqueeze(0).float() / 127.5 - 1
    return to_uint8(decode_video(vae, encode_video(vae, video)))[0]
