"""The small instruction editor: the InstructPix2Pix recipe (Brooks et al. 2023, Sec. 3.2) on photos edited by rule.

The U-Net sees the noised latent of the edited photo and, in more channels, the clean latent of the photo; the text encoder learns with it.
"""

from typing import Any

import numpy as np
import torch
from diffusers import UNet2DConditionModel
from torch import Tensor, nn
from transformers import CLIPTextModel

from trip.data.cache import LatentCache
from trip.settings import StageSettings
from trip.training.picture_stage import PictureStage

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


class EditorStage(PictureStage):
    """Denoises edited photos, given photo and instruction.

    The caches hold photos with their edits as clips: frame 0 is the photo, and the caption has an instruction a line for the others.
    """

    def __init__(self, name: str, editor: Editor, cache: LatentCache, held_out: LatentCache, settings: StageSettings, **parts: Any):
        super().__init__(name, editor, settings, **parts)
        self.cache = cache
        self.held_out = held_out

    def batch(self, step: int, rank: int, num_ranks: int) -> dict[str, Any]:
        """Latents of photos and edited photos b c h w, and instructions; some are dropped."""
        rng = np.random.default_rng([self.seed, step, rank])
        batch = _pairs(self.cache, rng.integers(len(self.cache), size=self.settings.batch_size), rng)
        lot = rng.random(self.settings.batch_size)
        batch["words"] = ["" if u < 2 * DROP else words for u, words in zip(lot, batch["words"], strict=True)]
        batch["z_photo"][torch.from_numpy((lot >= DROP) & (lot < 3 * DROP))] = 0
        return batch

    def held_out_batch(self, count: int | None, seed: int) -> dict[str, Any]:
        """The same of held-out photos, nothing dropped."""
        return _pairs(self.held_out, np.arange(len(self.held_out))[:count], np.random.default_rng(seed))

    def given(self, batch: dict[str, Any]) -> tuple[Tensor, ...]:
        """Latents of the photos, and tokens."""
        return batch["z_photo"].to(self.device), self.tokens(batch)

    def shown(self, batch: dict[str, Any]) -> list[Tensor]:
        """The photos and their known edits."""
        return [batch["z_photo"], batch["z_0"]]


def _pairs(cache: LatentCache, chosen: np.ndarray, rng: np.random.Generator) -> dict[str, Any]:
    """One edit each of the chosen photos."""
    edits = rng.integers(1, cache.latents.shape[2], size=len(chosen))
    return {
        "z_photo": cache.latents[chosen, :, 0].float(),
        "z_0": cache.latents[chosen, :, edits].float(),
        "words": [cache.captions[i].split("\n")[edit - 1] for i, edit in zip(chosen, edits, strict=True)],
    }
