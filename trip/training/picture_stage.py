"""What training the small models of pictures shares: v-prediction on a schedule that ends in pure noise, and how it is watched."""

from abc import ABC, abstractmethod
from pathlib import Path
from typing import Any

import torch
from diffusers import AutoencoderKL, DDIMScheduler
from einops import rearrange
from PIL import Image
from torch import Tensor, nn
from transformers import CLIPTokenizer

from trip.model.latents import decode_video
from trip.model.text import tokenize
from trip.settings import StageSettings

NUM_SAMPLES = 24


class PictureStage(ABC):
    """Denoises pictures, given words and more: mean squared error of v.

    model  called with the noised latents, the timesteps, and what `given` takes out of a batch
    A batch is a dict; `z_0` in it are the latents of the pictures wanted, b c h w, and `words` what is said of them.
    """

    def __init__(
        self,
        name: str,
        model: nn.Module,
        settings: StageSettings,
        *,
        tokenizer: CLIPTokenizer,
        scheduler: DDIMScheduler,
        vae: AutoencoderKL,
        seed: int,
    ):
        self.name = name
        self.model = model
        self.settings = settings
        self.tokenizer = tokenizer
        self.scheduler = scheduler
        self.vae = vae
        self.seed = seed

    @abstractmethod
    def batch(self, step: int, rank: int, num_ranks: int) -> dict[str, Any]:
        """The samples of a step; some of what is given is dropped."""

    @abstractmethod
    def held_out_batch(self, count: int | None, seed: int) -> dict[str, Any]:
        """Held-out pictures, all of them or the first so many, with everything given."""

    @abstractmethod
    def given(self, batch: dict[str, Any]) -> tuple[Tensor, ...]:
        """What the model is given beside noised latents and timesteps, on its device."""

    @abstractmethod
    def shown(self, batch: dict[str, Any]) -> list[Tensor]:
        """Latents to show above the model's pictures, each b c h w."""

    @property
    def device(self) -> torch.device:
        """Where the model is."""
        return next(self.model.parameters()).device

    def tokens(self, batch: dict[str, Any]) -> Tensor:
        """The words of a batch, b n."""
        return tokenize(batch["words"], self.tokenizer).to(self.device)

    def param_groups(self) -> list[dict[str, Any]]:
        """All weights at one rate."""
        return [{"params": list(self.model.parameters()), "lr": self.settings.learning_rate}]

    def loss(self, model: nn.Module, batch: dict[str, Any], generator: torch.Generator) -> tuple[Tensor, dict[str, Any]]:
        """Mean squared error of v; more at high noise, where words decide, and where v is the wanted picture itself."""
        z_0 = batch["z_0"].to(self.device)
        level = torch.rand(len(z_0), generator=generator).sqrt()
        timestep = (level * self.scheduler.config.num_train_timesteps).long().to(self.device)
        eps = torch.randn(z_0.shape, generator=generator).to(self.device)
        v_hat = model(self.scheduler.add_noise(z_0, eps, timestep), timestep, *self.given(batch))
        v = self.scheduler.get_velocity(z_0, eps, timestep)
        return (v_hat.float() - v).square().mean(), {}

    @torch.no_grad()
    def evaluate(self) -> dict[str, float]:
        """On held-out photos: the loss with always the same noise, and the error of the first look, from noise alone."""
        generator = torch.Generator().manual_seed(0)
        batch = self.held_out_batch(None, seed=0)
        loss, _ = self.loss(self.model, batch, generator)
        error = (self._first_look(batch, generator) - batch["z_0"]).square().mean()
        return {"held_out_loss": loss.item(), "held_out_first_look": error.item()}

    @torch.no_grad()
    def sample(self, path: Path) -> None:
        """Held-out pictures above the model's first look at what is given; the words beside it."""
        batch = self.held_out_batch(NUM_SAMPLES, seed=1)
        looks = self._first_look(batch, torch.Generator().manual_seed(1))
        rows = torch.stack([*self.shown(batch), looks], dim=2)
        pixels = rearrange(decode_video(self.vae, rows), "b c f h w -> (f h) (b w) c")
        Image.fromarray(((pixels + 1) * 127.5).round().clamp(0, 255).byte().cpu().numpy()).save(path)
        path.with_suffix(".txt").write_text("\n".join(batch["words"]) + "\n")

    def _first_look(self, batch: dict[str, Any], generator: torch.Generator) -> Tensor:
        """What one call at the last timestep, where no signal is left, makes of pure noise: z_0 = -v."""
        eps = torch.randn(batch["z_0"].shape, generator=generator).to(self.device)
        last = torch.full((len(eps),), self.scheduler.config.num_train_timesteps - 1, device=self.device)
        return -self.model(eps, last, *self.given(batch)).cpu()
