"""The small instruction editor: the InstructPix2Pix recipe (Brooks et al. 2023, Sec. 3.2) on photos edited by rule.

The U-Net sees the noised latent of the edited photo and, in more channels, the clean latent of the photo; the text encoder learns with it.
"""

from pathlib import Path
from typing import Any

import numpy as np
import torch
from diffusers import AutoencoderKL, DDIMScheduler, UNet2DConditionModel
from einops import rearrange
from PIL import Image
from torch import Tensor, nn
from transformers import CLIPTextModel, CLIPTokenizer

from trip.data.cache import LatentCache
from trip.model.latents import decode_video
from trip.model.text import tokenize
from trip.settings import StageSettings

DROP = 0.05  # share of samples without text, as many without photo, as many without both (Sec. 3.2.1), for the two guidances


class Editor(nn.Module):
    """U-Net and text encoder, trained together."""

    def __init__(self, unet: UNet2DConditionModel, text_encoder: CLIPTextModel):
        super().__init__()
        self.unet = unet
        self.text_encoder = text_encoder

    def forward(self, z_t: Tensor, timestep: Tensor, z_photo: Tensor, tokens: Tensor) -> Tensor:
        """v, b c h w; z_t and z_photo b c h w, timestep b, tokens b n."""
        words = self.text_encoder(tokens).last_hidden_state
        return self.unet(torch.cat([z_t, z_photo], dim=1), timestep, encoder_hidden_states=words).sample


class EditorStage:
    """Denoises edited photos, given photo and instruction: mean squared error of v.

    The caches hold photos with their edits as clips: frame 0 is the photo, and the caption has an instruction a line for the others.
    """

    def __init__(
        self,
        name: str,
        editor: Editor,
        cache: LatentCache,
        held_out: LatentCache,
        settings: StageSettings,
        *,
        tokenizer: CLIPTokenizer,
        scheduler: DDIMScheduler,
        vae: AutoencoderKL,
        seed: int,
    ):
        self.name = name
        self.model = editor
        self.cache = cache
        self.held_out = held_out
        self.settings = settings
        self.tokenizer = tokenizer
        self.scheduler = scheduler
        self.vae = vae
        self.seed = seed

    def param_groups(self) -> list[dict[str, Any]]:
        """All weights at one rate."""
        return [{"params": list(self.model.parameters()), "lr": self.settings.learning_rate}]

    def batch(self, step: int, rank: int, num_ranks: int) -> dict[str, Any]:
        """Latents of photos and edited photos b c h w, and instructions; some are dropped."""
        rng = np.random.default_rng([self.seed, step, rank])
        batch = _pairs(self.cache, rng.integers(len(self.cache), size=self.settings.batch_size), rng)
        lot = rng.random(self.settings.batch_size)
        batch["instructions"] = ["" if u < 2 * DROP else words for u, words in zip(lot, batch["instructions"], strict=True)]
        batch["z_photo"][torch.from_numpy((lot >= DROP) & (lot < 3 * DROP))] = 0
        return batch

    def loss(self, model: nn.Module, batch: dict[str, Any], generator: torch.Generator) -> tuple[Tensor, dict[str, Any]]:
        """Mean squared error of v; more at high noise, where the edit is decided, and where v is the edited photo itself."""
        device = next(self.model.parameters()).device
        z_edited, z_photo = batch["z_edited"].to(device), batch["z_photo"].to(device)
        level = torch.rand(len(z_edited), generator=generator).sqrt()
        timestep = (level * self.scheduler.config.num_train_timesteps).long().to(device)
        eps = torch.randn(z_edited.shape, generator=generator).to(device)
        tokens = tokenize(batch["instructions"], self.tokenizer).to(device)
        v_hat = model(self.scheduler.add_noise(z_edited, eps, timestep), timestep, z_photo, tokens)
        v = self.scheduler.get_velocity(z_edited, eps, timestep)
        return (v_hat.float() - v).square().mean(), {}

    @torch.no_grad()
    def evaluate(self) -> dict[str, float]:
        """On held-out photos: the loss with always the same noise, and the error of the first look, from noise alone."""
        rng, generator = np.random.default_rng(0), torch.Generator().manual_seed(0)
        batch = _pairs(self.held_out, np.arange(len(self.held_out)), rng)
        loss, _ = self.loss(self.model, batch, generator)
        error = (self._first_look(batch, generator) - batch["z_edited"]).square().mean()
        return {"held_out_loss": loss.item(), "held_out_first_look": error.item()}

    @torch.no_grad()
    def sample(self, path: Path) -> None:
        """Held-out photos, their known edits, and the model's first look, side by side; the instructions beside it."""
        count = 24
        batch = _pairs(self.held_out, np.arange(min(count, len(self.held_out))), np.random.default_rng(1))
        looks = self._first_look(batch, torch.Generator().manual_seed(1))
        rows = torch.stack([batch["z_photo"], batch["z_edited"], looks], dim=2)
        pixels = rearrange(decode_video(self.vae, rows), "b c f h w -> (f h) (b w) c")
        Image.fromarray(((pixels + 1) * 127.5).round().clamp(0, 255).byte().cpu().numpy()).save(path)
        path.with_suffix(".txt").write_text("\n".join(batch["instructions"]) + "\n")

    def _first_look(self, batch: dict[str, Any], generator: torch.Generator) -> Tensor:
        """What one call at the last timestep, where no signal is left, makes of pure noise: z_0 = -v."""
        device = next(self.model.parameters()).device
        eps = torch.randn(batch["z_photo"].shape, generator=generator).to(device)
        last = torch.full((len(eps),), self.scheduler.config.num_train_timesteps - 1, device=device)
        return -self.model(eps, last, batch["z_photo"].to(device), tokenize(batch["instructions"], self.tokenizer).to(device)).cpu()


def _pairs(cache: LatentCache, chosen: np.ndarray, rng: np.random.Generator) -> dict[str, Any]:
    """One edit each of the chosen photos."""
    edits = rng.integers(1, cache.latents.shape[2], size=len(chosen))
    return {
        "z_photo": cache.latents[chosen, :, 0].float(),
        "z_edited": cache.latents[chosen, :, edits].float(),
        "instructions": [cache.captions[i].split("\n")[edit - 1] for i, edit in zip(chosen, edits, strict=True)],
    }
