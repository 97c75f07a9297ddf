"""The motion of the photo, learnt from the truth: `PhotoWarp` against clips whose every displacement is known.

The first stage that trains a 3D-UNet with the option `photo_warp`, and later a term beside the denoising loss.
"""

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor, nn
from torch.nn import functional
from transformers import CLIPTextModel, CLIPTokenizer

from trip.data.cache import EncodedClip, LatentCache
from trip.model.text import encode_prompts
from trip.model.warp import MotionField, PhotoWarp, moved, places_of
from trip.settings import StageSettings

PLACE_WEIGHT, SHOWN_WEIGHT, MOVES_WEIGHT = 4.0, 0.1, 0.1  # of the mean distance, in halves of the short side; of cross-entropies
SCENE_WAY = 0.01  # halves of the short side: a scene moves where its places lie so far, on average, from those of any camera move
SAME_PLACE, SAME_WAY = 0.02, 0.1  # a place so far from the true one hardly shows what it should: halves of the short side, share of the way
NUM_HELD_OUT = 128


def field_loss(field: MotionField, times: Tensor, motion: Tensor) -> tuple[Tensor, dict[str, Tensor]]:
    """Distance of the places that a field names to the true ones, and cross-entropy of what it says to be still in view.

    A place is in view where the clip shows it and the field finds it: where it cannot know the way, it is to say so. The scene's ways
    count where the clip's scene moves, and where the sentence says that it does: what is shown then must have been learnt.

    times   of the frames, in reference frames                             b f
    motion  x and y of the true places, shown, known: see `EncodedClip`    b f 4 g g
    """
    motion = motion.float()
    true, shown, known = motion[:, :, :2].movedim(2, -1), motion[:, :, 2], motion[:, :, 3]
    scene = scene_moves(true, known)
    heeded = scene - 0.5 if field.moves is None else torch.maximum(scene - 0.5, field.moves.detach())
    places, seen = replace(field, moves=heeded).at(times, *shown.shape[2:])
    distance = (places - true).square().sum(dim=4).add(1e-8).sqrt()
    inside = (true.abs().amax(dim=4) <= 1).float()
    way = (true - places_of(*shown.shape[2:], true.device)).square().sum(dim=4).sqrt()
    target = shown * torch.exp(-(distance.detach() / (SAME_PLACE + SAME_WAY * way)).square() / 2)
    entropy = functional.binary_cross_entropy(seen.clamp(1e-4, 1 - 1e-4), target, reduction="none")
    place_error = (distance * known).sum() / known.sum().clamp(min=1)
    shown_error = (entropy * inside).sum() / inside.sum().clamp(min=1)
    loss = PLACE_WEIGHT * place_error + SHOWN_WEIGHT * shown_error
    figures = {"place_error": place_error.detach(), "shown_error": shown_error.detach()}
    if field.moves is not None:
        moves_error = functional.binary_cross_entropy_with_logits(field.moves, scene)
        loss, figures["moves_error"] = loss + MOVES_WEIGHT * moves_error, moves_error.detach()
    return loss, figures


@torch.no_grad()
def scene_moves(places: Tensor, known: Tensor) -> Tensor:
    """Whether a clip's last frame shows more than a camera move: places that no affine map of the frame comes near: 1 or 0, b

    places  b f g g 2
    known   how far they can be believed   b f g g
    """
    true, weight = places[:, -1].flatten(1, 2), known[:, -1].flatten(1).unsqueeze(2)  # b n 2, b n 1
    grid = places_of(*places.shape[2:4], places.device).flatten(0, 1)
    design = functional.pad(grid, (0, 1), value=1.0)  # n 3
    normal = torch.einsum("bnx,ni,nj->bij", weight, design, design) + 1e-6 * torch.eye(3, device=places.device)
    fitted = design @ torch.linalg.solve(normal, torch.einsum("bnx,ni,bnc->bic", weight, design, true))
    distance = (fitted - true).square().sum(dim=2, keepdim=True).sqrt()
    return ((distance * weight).sum(dim=(1, 2)) > SCENE_WAY * weight.sum(dim=(1, 2))).float()


class FieldStage:
    """The warp alone, on the photos' latents: thousands of clips a minute."""

    name = "field"

    def __init__(
        self,
        model: PhotoWarp,
        cache: LatentCache,
        held_out: LatentCache,
        settings: StageSettings,
        *,
        text_encoder: CLIPTextModel,
        tokenizer: CLIPTokenizer,
        text_drop: float,
        seed: int,
    ):
        self.model = model
        self.cache = cache
        self.held_out = held_out.first(NUM_HELD_OUT)
        self.settings = settings
        self.text_encoder, self.tokenizer = text_encoder, tokenizer
        self.text_drop = text_drop
        self.seed = seed

    def param_groups(self) -> list[dict[str, Any]]:
        """What the sentence alone decides learns faster than what the photo has a say in."""
        fast = [*self.model.camera.parameters(), *self.model.moves.parameters()]
        slow = [weight for weight in self.model.parameters() if all(weight is not other for other in fast)]
        rate = self.settings.learning_rate
        return [{"params": fast, "lr": 3 * rate}, {"params": slow, "lr": rate}]

    def batch(self, step: int, share: int, num_shares: int) -> dict[str, Any]:
        """Clips drawn by chance; some prompts are emptied."""
        first = (step * num_shares + share) * self.settings.batch_size
        positions = range(first, first + self.settings.batch_size)
        unsaid = [np.random.default_rng([self.seed, position, 1]).random() < self.text_drop for position in positions]
        return self._batch([self.cache.draw(self.seed, position) for position in positions], unsaid)

    def _batch(self, clips: list[EncodedClip], unsaid: list[bool]) -> dict[str, Any]:
        """photo b c h w, times b f, motion b f 4 g g, sentence b d."""
        prompts = ["" if left_out else clip.caption for clip, left_out in zip(clips, unsaid, strict=True)]
        return {
            "photo": torch.stack([clip.latents[:, 0].float() for clip in clips]),
            "times": torch.stack([clip.times for clip in clips]),
            "motion": torch.stack([clip.motion.float() for clip in clips]),
            "sentence": encode_prompts(prompts, self.tokenizer, self.text_encoder)[1],
        }

    def loss(self, model: nn.Module, batch: dict[str, Any], generator: torch.Generator) -> tuple[Tensor, dict[str, Any]]:
        """See `field_loss`."""
        batch = {name: part.to(next(self.model.parameters()).device) for name, part in batch.items()}
        loss, figures = field_loss(model(batch["photo"], batch["sentence"]), batch["times"], batch["motion"])
        return loss, {name: value.item() for name, value in figures.items()}

    @torch.no_grad()
    def evaluate(self) -> dict[str, float]:
        """The same errors on held-out clips."""
        loss, figures = self.loss(self.model, self._batch(self.held_out, [False] * len(self.held_out)), torch.Generator())
        return {"held_out_loss": loss.item(), **{f"held_out_{name}": value for name, value in figures.items()}}

    @torch.no_grad()
    def sample(self, path: Path) -> None:
        """Three channels of held-out photos' last frames, and below each what the field makes of the photo."""
        clips = self.held_out[:10]
        batch = self._batch(clips, [False] * len(clips))
        field = self.model(batch["photo"], batch["sentence"])
        guess = moved(batch["photo"], field, batch["times"][:, -1:])[:, :3]
        true = torch.stack([clip.latents[:3, -1].float() for clip in clips])
        grid = torch.stack([true, guess]).permute(0, 3, 1, 4, 2).flatten(0, 1).flatten(1, 2)
        Image.fromarray(((grid + 2.5) * 51).clamp(0, 255).byte().numpy()).save(path)
