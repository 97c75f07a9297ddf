"""The small painter over canny maps: a ControlNet (Zhang et al. 2023) whose U-Net learns with it, as there is none to start from.

A share of the samples goes without the ControlNet, so that the U-Net stays a model of its own, and the map's strength means something.
"""

from typing import Any

import numpy as np
import torch
from diffusers import ControlNetModel, UNet2DConditionModel
from torch import Tensor, nn
from transformers import CLIPTextModel

from trip.data.cache import LatentCache
from trip.data.edges import LOOKS, canny_edges, draw_thresholds, shrunk
from trip.data.photos import Photo, random_crop
from trip.settings import StageSettings
from trip.training.picture_stage import PictureStage

NO_TEXT, NO_MAP = 0.1, 0.1  # shares of samples
UNSTYLED = 0.5  # share of samples that are photos as they are


class Painter(nn.Module):
    """U-Net, ControlNet and text encoder, trained together."""

    def __init__(self, unet: UNet2DConditionModel, controlnet: ControlNetModel, text_encoder: CLIPTextModel):
        super().__init__()
        self.unet = unet
        self.controlnet = controlnet
        self.text_encoder = text_encoder

    def forward(self, z_t: Tensor, timestep: Tensor, maps: Tensor, has_map: Tensor, tokens: Tensor) -> Tensor:
        """v, b c h w.

        z_t       noised pictures                                b c h w
        timestep  of their noise                                 b
        maps      white edges on black, in [0, 1]                b 3 H W
        has_map   0 where what the ControlNet adds is left out   b
        tokens    words                                          b n
        """
        words = self.text_encoder(tokens).last_hidden_state
        downs, middle = self.controlnet(z_t, timestep, encoder_hidden_states=words, controlnet_cond=maps, return_dict=False)
        shown = has_map.view(-1, 1, 1, 1)
        return self.unet(
            z_t,
            timestep,
            encoder_hidden_states=words,
            down_block_additional_residuals=[shown * part for part in downs],
            mid_block_additional_residual=shown * middle,
        ).sample


class Mapped:
    """Encoded photos with their styles, and the maps of the crops that they were made of, drawn anew each time.

    cache   photos as clips: frame 0 is the photo, the others are styled; the caption has a line for each
    photos  those that the cache was made of, with the same seed
    """

    def __init__(self, cache: LatentCache, photos: list[Photo], size: int, seed: int):
        self.cache = cache
        self.photos = photos
        self.size = size
        self.seed = seed

    def __len__(self) -> int:
        return len(self.cache)

    def batch(self, chosen: np.ndarray, rng: np.random.Generator) -> dict[str, Any]:
        """One picture each of the chosen photos, and a map of it: latents b c h w, words, maps b 3 H W in [0, 1]."""
        styles = np.where(rng.random(len(chosen)) < UNSTYLED, 0, rng.integers(1, self.cache.num_frames, size=len(chosen)))
        maps = torch.from_numpy(np.stack([self.map(index, rng) for index in chosen])).float() / 255
        return {
            "z_0": self.cache.latents[chosen, :, styles].float(),
            "words": [self.cache.captions[i].split("\n")[style] for i, style in zip(chosen, styles, strict=True)],
            "maps": maps.unsqueeze(1).expand(-1, 3, -1, -1),
        }

    def map(self, index: int, rng: np.random.Generator) -> np.ndarray:
        """Edges of a photo's crop, looked for at one of several sizes, with thresholds by chance: size size, uint8."""
        look = self.size * int(rng.choice(LOOKS))
        crop = draw_crop(self.photos, look, np.random.default_rng([self.seed, index]))[1]
        return shrunk(canny_edges(crop, *draw_thresholds(rng)), self.size)


def draw_crop(photos: list[Photo], size: int, rng: np.random.Generator) -> tuple[Photo, np.ndarray]:
    """A photo and a crop of it; the same place of the same photo at any size."""
    photo = photos[rng.integers(len(photos))]
    return photo, random_crop(photo, size, rng)


class PainterStage(PictureStage):
    """Denoises photos and styled photos, given words and a map of edges."""

    def __init__(self, name: str, painter: Painter, mapped: Mapped, held_out: Mapped, settings: StageSettings, **parts: Any):
        super().__init__(name, painter, settings, **parts)
        self.mapped = mapped
        self.held_out = held_out

    def batch(self, step: int, rank: int, num_ranks: int) -> dict[str, Any]:
        """Latents, words, maps, and whether the map counts; some words and some maps are dropped."""
        rng = np.random.default_rng([self.seed, step, rank])
        batch = self.mapped.batch(rng.integers(len(self.mapped), size=self.settings.batch_size), rng)
        batch["words"] = ["" if u < NO_TEXT else words for u, words in zip(rng.random(len(batch["words"])), batch["words"], strict=True)]
        batch["has_map"] = torch.from_numpy(rng.random(self.settings.batch_size) >= NO_MAP).float()
        return batch

    def held_out_batch(self, count: int | None, seed: int) -> dict[str, Any]:
        """The same of held-out photos, nothing dropped."""
        batch = self.held_out.batch(np.arange(len(self.held_out))[:count], np.random.default_rng(seed))
        return batch | {"has_map": torch.ones(len(batch["words"]))}

    def given(self, batch: dict[str, Any]) -> tuple[Tensor, ...]:
        """Maps, whether they count, and tokens."""
        return batch["maps"].to(self.device), batch["has_map"].to(self.device), self.tokens(batch)

    def shown(self, batch: dict[str, Any]) -> list[Tensor]:
        """The pictures that the maps and the words are of."""
        return [batch["z_0"]]
