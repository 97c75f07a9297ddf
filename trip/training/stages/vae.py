"""First stage of training from scratch: the autoencoder, on crops of photos."""

from pathlib import Path
from typing import Any

import numpy as np
import torch
from diffusers import AutoencoderKL
from PIL import Image
from torch import Tensor
from torch.nn import functional

from trip.data.photos import Photo, random_crop
from trip.settings import StageSettings

KL_WEIGHT = 5e-4  # per latent value, beside a mean absolute error per pixel: keeps the latents smooth
SCALES = (1, 4, 16)  # sides of the squares that are averaged before they are compared: colours are coarse
DISPLACED_SHARE = 0.5  # batches whose latents are moved before they are decoded
DISPLACED_SIDE = 0.75  # side of a moved picture, as a share of the whole one


class VaeStage:
    """Reconstruction of photos: mean absolute error at several scales, with a light pull of the latents towards a unit Gaussian.

    Half of the batches are decoded from latents that were moved, turned and scaled, and compared with photos that were moved in the
    same way (after EQ-VAE, Kouzelis et al. 2025): motion of the picture becomes motion of the latents, which a denoiser learns soon.
    """

    name = "vae"

    def __init__(
        self, model: AutoencoderKL, photos: list[Photo], held_out: list[Photo], settings: StageSettings, *, frame_size: int, seed: int
    ):
        self.model = model.to(memory_format=torch.channels_last)  # a third faster on a CPU
        self.photos = photos
        self.settings = settings
        self.frame_size = frame_size
        self.seed = seed
        rng = np.random.default_rng(0)
        self.held_out = self._pixels([random_crop(photo, frame_size, rng) for photo in held_out[:64]])

    def param_groups(self) -> list[dict[str, Any]]:
        """All weights at one rate."""
        return [{"params": list(self.model.parameters()), "lr": self.settings.learning_rate}]

    def batch(self, step: int, rank: int, num_ranks: int) -> Tensor:
        """Random crops: b 3 h w in [-1, 1]."""
        rng = np.random.default_rng([self.seed, step, rank])
        chosen = rng.integers(len(self.photos), size=self.settings.batch_size)
        return self._pixels([recolour(random_crop(self.photos[i], self.frame_size, rng), rng) for i in chosen])

    def loss(self, model: torch.nn.Module, batch: Tensor, generator: torch.Generator) -> tuple[Tensor, dict[str, Any]]:
        """Mean absolute error of the pixels at each scale plus the weighted divergence of the latents."""
        batch = batch.to(self.model.device, memory_format=torch.channels_last)
        posterior = self.model.encode(batch).latent_dist
        noise = torch.randn(posterior.mean.shape, generator=generator).to(batch.device)  # from the CPU: a seed means the same everywhere
        latents = posterior.mean + posterior.std * noise
        if torch.rand((), generator=generator) < DISPLACED_SHARE:
            affine = random_affine(len(batch), generator).to(batch.device)
            latents, batch = displaced(latents.float(), affine), displaced(batch, affine)
        reconstruction = self.model.decode(latents).sample
        error = pixel_error(reconstruction.float(), batch)
        divergence = 0.5 * (posterior.mean.float().square() + posterior.var.float() - 1 - posterior.logvar.float()).mean()
        return error + KL_WEIGHT * divergence, {"error": error.item(), "divergence": divergence.item()}

    @torch.no_grad()
    def evaluate(self) -> dict[str, float]:
        """Peak signal-to-noise ratio on unseen photos, dB."""
        return {"psnr": psnr(self._round_trip(), self.held_out)}

    def sample(self, path: Path) -> None:
        """Unseen photos above their reconstructions."""
        rows = torch.stack([self.held_out[:10], self._round_trip()[:10]])  # row photo c h w
        grid = rows.permute(0, 3, 1, 4, 2).flatten(0, 1).flatten(1, 2)
        Image.fromarray(((grid + 1) * 127.5).round().clamp(0, 255).byte().numpy()).save(path)

    @torch.no_grad()
    def _round_trip(self) -> Tensor:
        parts = [self.model(part.to(self.model.device)).sample.clamp(-1, 1).float().cpu() for part in self.held_out.split(16)]
        return torch.cat(parts)

    @staticmethod
    def _pixels(crops: list[np.ndarray]) -> Tensor:
        return torch.from_numpy(np.stack(crops)).permute(0, 3, 1, 2).float() / 127.5 - 1


def random_affine(count: int, generator: torch.Generator) -> Tensor:
    """Camera moves that stay inside the picture: from places of the moved picture to those of the whole one, count 2 3, in -1 … 1."""
    share, turn, *aside = torch.rand(4, count, generator=generator).unbind()
    scale = 0.6 + 0.24 * share  # DISPLACED_SIDE keeps the picture's scale, less is closer
    angle = (turn - 0.5) * 0.4  # radians
    cos, sin = scale * angle.cos(), scale * angle.sin()
    room = (1 - cos.abs() - sin.abs()).clamp(min=0)
    x, y = (room * (2 * shift - 1) for shift in aside)
    return torch.stack([torch.stack([cos, -sin, x], dim=1), torch.stack([sin, cos, y], dim=1)], dim=1)


def displaced(pictures: Tensor, affine: Tensor) -> Tensor:
    """The pictures as `affine` sees them, b c h w, each side DISPLACED_SIDE of what came in."""
    b, c, h, w = pictures.shape
    places = functional.affine_grid(affine, [b, c, round(h * DISPLACED_SIDE), round(w * DISPLACED_SIDE)], align_corners=False)
    return functional.grid_sample(pictures, places, padding_mode="border", align_corners=False)


def recolour(crop: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """A photo with its colour channels in another order and other saturation; half of the photos stay as they are.

    Photos vary along blue and orange most; without this an autoencoder may never learn the other axis of colour.
    """
    if rng.random() < 0.5:
        return crop
    crop = crop[..., rng.permutation(3)].astype(np.float32)
    grey = crop.mean(axis=2, keepdims=True)
    return (grey + rng.uniform(0.5, 3.0) * (crop - grey)).clip(0, 255)


def pixel_error(a: Tensor, b: Tensor) -> Tensor:
    """Mean absolute difference of pictures, summed over SCALES."""
    return sum(functional.avg_pool2d(a - b, scale).abs().mean() for scale in SCALES)


def psnr(a: Tensor, b: Tensor) -> float:
    """Peak signal-to-noise ratio of pixels in [-1, 1], dB, the mean over the first dimension."""
    error = (a - b).square().flatten(1).mean(dim=1)
    return (10 * torch.log10(4 / error)).mean().item()


@torch.no_grad()
def set_latent_statistics(vae: AutoencoderKL, batches: list[Tensor]) -> None:
    """Measures mean and deviation of each latent channel and stores them in the config, so that scaled latents are unit-variance."""
    latents = torch.cat([vae.encode(batch.to(vae.device)).latent_dist.mode().float().cpu() for batch in batches])
    values = latents.transpose(0, 1).flatten(1)
    vae.register_to_config(
        latents_mean=[round(v, 5) for v in values.mean(dim=1).tolist()],
        latents_std=[round(v, 5) for v in values.std(dim=1).tolist()],
        scaling_factor=round(1 / values.std().item(), 5),
    )
