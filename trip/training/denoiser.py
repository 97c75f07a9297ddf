"""Third stage, and with given weights the only one: 3D-UNet and fusion together, on cached latents (Sec. 3.3, Eq. 10)."""

from pathlib import Path
from typing import Any

import numpy as np
import torch
from diffusers import AutoencoderKL, DDIMScheduler
from PIL import Image
from torch import Tensor, nn
from transformers import CLIPTextModel, CLIPTokenizer

from trip.data.cache import LatentCache
from trip.diffusion import add_noise, image_noise_prior, predict_z_0, spread
from trip.model.denoiser import Condition, Denoiser
from trip.model.latents import decode_video
from trip.model.text import encode_prompts
from trip.settings import RecipeSettings, StageSettings

NUM_BINS = 5  # of noise levels, in the metrics


class DenoiserStage:
    """Noise prediction on clips whose latents are cached."""

    def __init__(
        self,
        name: str,
        model: Denoiser,
        cache: LatentCache,
        held_out: LatentCache,
        settings: StageSettings,
        *,
        vae: AutoencoderKL,
        text_encoder: CLIPTextModel,
        tokenizer: CLIPTokenizer,
        scheduler: DDIMScheduler,
        recipe: RecipeSettings,
        seed: int,
    ):
        self.name = name
        self.settings = settings
        self.model = model
        self.cache = cache
        self.held_out = held_out
        self.vae = vae
        self.text_encoder = text_encoder
        self.tokenizer = tokenizer
        self.alphas_bar = scheduler.alphas_cumprod
        self.recipe = recipe
        self.num_frames = settings.num_frames or cache.latents.shape[2]
        self.seed = seed

    def param_groups(self) -> list[dict[str, Any]]:
        """The paper's two rates: 3D-UNet and fusion."""
        rate = self.settings.learning_rate
        return self.model.param_groups(rate, self.settings.fusion_learning_rate or rate)

    def batch(self, step: int, rank: int, num_ranks: int) -> dict[str, Any]:
        """Latents b c f h w, times b f, prompts; some prompts are emptied, for guidance."""
        rng = np.random.default_rng([self.seed, step, rank])
        chosen = rng.integers(len(self.cache), size=self.settings.batch_size)
        frames = self._frames(rng)
        prompts = [self.cache.captions[i] if rng.random() >= self.recipe.text_drop else "" for i in chosen]
        return {"z_0": self.cache.latents[chosen][:, :, frames].float(), "times": self.cache.times[chosen][:, frames], "prompts": prompts}

    def _frames(self, rng: np.random.Generator) -> np.ndarray:
        """Which frames of the cached clips a step sees: the photo first, then at one of the distances that fit."""
        have, want = self.cache.latents.shape[2], self.num_frames
        return np.arange(want) * rng.integers(1, (have - 1) // (want - 1) + 1)

    def loss(self, model: nn.Module, batch: dict[str, Any], generator: torch.Generator) -> tuple[Tensor, dict[str, Any]]:
        """Mean squared error of the fused noise (Eq. 10), and both paths' own errors by noise level.

        Errors in the figures are of the predicted clean clip on the scale of v, error(eps) / alpha_bar, which compares across t.
        """
        device = next(self.model.parameters()).device
        z_0 = batch["z_0"].to(device)
        timestep = self._timesteps(len(z_0), generator).to(device)
        eps = torch.randn(z_0.shape, generator=generator).to(device)
        alpha_bar = self.alphas_bar.to(device)[timestep]
        words, sentence = encode_prompts(batch["prompts"], self.tokenizer, self.text_encoder)
        condition = Condition(z_0[:, :, :1], words, sentence, batch["times"].to(device))

        z_t = add_noise(z_0, eps, alpha_bar)
        eps_hat, residual = model(z_t, timestep, alpha_bar, condition)
        weight = 1 / spread(alpha_bar) if self.recipe.loss_weight == "v" else torch.ones_like(spread(alpha_bar))
        loss = (weight * (eps_hat.float() - eps).square()).mean()

        with torch.no_grad():
            prior = image_noise_prior(z_t, condition.z_first, alpha_bar)
            paths = {"fused": eps_hat, "unet": residual, "prior": prior}
            errors = {name: ((e.float() - eps).square() / spread(alpha_bar)).flatten(1).mean(dim=1) for name, e in paths.items()}
        return loss, {"by_noise": self._by_noise(timestep, errors)}

    def _timesteps(self, count: int, generator: torch.Generator) -> Tensor:
        num = len(self.alphas_bar)
        if self.recipe.timestep_spread is None:
            return torch.randint(num, (count,), generator=generator)
        level = torch.sigmoid(self.recipe.timestep_spread * torch.randn(count, generator=generator))
        return (level * num).long().clamp(0, num - 1)

    def _by_noise(self, timestep: Tensor, errors: dict[str, Tensor]) -> dict[str, dict[str, float]]:
        """Mean error of each path in each fifth of the noise levels that the batch met."""
        bins = timestep * NUM_BINS // len(self.alphas_bar)
        return {
            str(level): {name: round(values[bins == level].mean().item(), 5) for name, values in errors.items()}
            for level in sorted(set(bins.tolist()))
        }

    @torch.no_grad()
    def evaluate(self) -> dict[str, Any]:
        """The same errors on held-out clips, always with the same noise: one clean-clip figure for each path."""
        generator = torch.Generator().manual_seed(0)
        count = min(len(self.held_out), 48)
        frames = np.arange(self.num_frames) * ((self.held_out.latents.shape[2] - 1) // (self.num_frames - 1))
        totals: dict[str, list[float]] = {}
        for start in range(0, count, 8):
            part = slice(start, min(start + 8, count))
            batch = {
                "z_0": self.held_out.latents[part][:, :, frames].float(),
                "times": self.held_out.times[part][:, frames],
                "prompts": self.held_out.captions[part],
            }
            loss, figures = self.loss(self.model, batch, generator)
            totals.setdefault("held_out_loss", []).append(loss.item())
            for paths in figures["by_noise"].values():
                for name, value in paths.items():
                    totals.setdefault(f"held_out_{name}", []).append(value)
        return {name: float(np.mean(values)) for name, values in totals.items()}

    @torch.no_grad()
    def sample(self, path: Path) -> None:
        """Held-out clips, and below each what one look from almost pure noise makes of it."""
        count, num_frames = 6, self.num_frames
        z_0 = self.held_out.latents[:count, :, :num_frames].float()
        device = next(self.model.parameters()).device
        timestep = torch.full((len(z_0),), int(0.9 * len(self.alphas_bar)), device=device)
        alpha_bar = self.alphas_bar.to(device)[timestep]
        eps = torch.randn(z_0.shape, generator=torch.Generator().manual_seed(0)).to(device)
        words, sentence = encode_prompts(self.held_out.captions[:count], self.tokenizer, self.text_encoder)
        z_t = add_noise(z_0.to(device), eps, alpha_bar)
        condition = Condition(z_0[:, :, :1].to(device), words, sentence, self.held_out.times[:count, :num_frames].to(device))
        eps_hat, _ = self.model(z_t, timestep, alpha_bar, condition)
        rows = torch.stack([z_0.to(device), predict_z_0(z_t, eps_hat, alpha_bar)], dim=1).flatten(0, 1)
        pixels = decode_video(self.vae, rows).cpu()  # rows 3 f h w
        grid = pixels.permute(0, 3, 2, 4, 1).flatten(0, 1).flatten(1, 2)
        Image.fromarray(((grid + 1) * 127.5).round().clamp(0, 255).byte().numpy()).save(path)
