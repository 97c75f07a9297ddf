"""The motion of the photo, learnt from the truth: `PhotoWarp` against clips whose every displacement is known.

The first stage that trains a 3D-UNet with the option `photo_warp`, and later a term beside the denoising loss.
"""

from collections.abc import Iterable, Sequence
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
from trip.training.loop import step_generator

PLACE_WEIGHT, VISIBILITY_WEIGHT, MOVES_WEIGHT = 4.0, 0.1, 0.1  # of the mean distance, in halves of the short side; of cross-entropies
LEAST_SCENE = 0.01  # halves of the short side: a scene moves where its places lie so far, on average, from those of any camera move
SAME_PLACE, SAME_SHARE = 0.02, 0.1  # a place so far from the true one hardly shows it: halves of the short side, share of the displacement
PATCHES = (1, 4, 12)  # cells of a side of what is compared as a whole
NUM_HELD_OUT, NUM_SAMPLES = 128, 10
NUM_SENTENCES = 512  # whose mean is taken as zero


def scene_noise(warp: PhotoWarp, photos: Tensor, generators: Iterable[torch.Generator]) -> Tensor | None:
    """Two draws of what chance decides about each clip, b 2 n h' w'; none where nothing is left to it.

    photos  latents   b c h w
    """
    noise = warp.draw_noise(*photos.shape[2:], [one for one in generators for _ in range(2)])
    return noise if noise is None else noise.unflatten(0, (-1, 2))


def field_loss(
    fields: Sequence[MotionField], times: Tensor, motion: Tensor, sways: Tensor | None = None
) -> tuple[Tensor, dict[str, Tensor]]:
    """Distance of the places that a field names to the true ones, and cross-entropy of what it says to be still in view.

    Of two draws the distance is the energy score (Gneiting and Raftery, 2007): their mean distance to the truth less half of that
    between them, which is least on average where draws are distributed as the truth is. Distances are over all times, of single
    places and of patches of them, so that draws are right in how places and times go together. Of a clip that does not sway, draws
    are to agree: what is not known of it, as how far its things are, is guessed once.

    A place is in view where the clip shows it and the field finds it: where it cannot know the displacement, it is to say so; where that
    is drawn, the clip alone decides. The scene's displacements count where the clip's scene moves, and where the sentence says that it
    does: what is shown then must have been learnt.

    fields  one, or two draws
    times   of the frames, in reference frames                             b f
    motion  x and y of the true places, visibility, known: see `EncodedClip`    b f 4 g g
    sways   1 where chance has a say in how things move, else 0; none: it has in every clip   b
    """
    motion = motion.float()
    true, visibility, known = motion[:, :, :2].movedim(2, -1), motion[:, :, 2], motion[:, :, 3]
    scene, moves = scene_moves(true, known), fields[0].moves
    gate = scene - 0.5 if moves is None else torch.maximum(scene - 0.5, moves.detach())
    found = [replace(field, moves=gate).at(times, *visibility.shape[2:]) for field in fields]
    place_error = sum(_apart(places, true, known).sum() for places, _ in found) / len(found)
    if len(found) == 2:
        between = _apart(found[0][0], found[1][0], known)
        place_error = place_error - (between if sways is None else between * sways).sum() / 2

    inside = (true.abs().amax(dim=4) <= 1).float()
    displacement = (true - places_of(*visibility.shape[2:], true.device)).square().sum(dim=4).sqrt()
    visibility_error = 0
    for places, seen in found:
        near = torch.exp(-((places.detach() - true).square().sum(dim=4) / (SAME_PLACE + SAME_SHARE * displacement).square()) / 2)
        if len(found) == 2:
            near = torch.where((gate > 0).view(-1, 1, 1, 1), 1.0, near)
        entropy = functional.binary_cross_entropy(seen.clamp(1e-4, 1 - 1e-4), visibility * near, reduction="none")
        visibility_error = visibility_error + (entropy * inside).sum() / inside.sum().clamp(min=1) / len(found)
    loss = PLACE_WEIGHT * place_error + VISIBILITY_WEIGHT * visibility_error
    figures = {"place_error": place_error.detach(), "visibility_error": visibility_error.detach()}
    if moves is not None:
        moves_error = functional.binary_cross_entropy_with_logits(moves, scene)
        loss, figures["moves_error"] = loss + MOVES_WEIGHT * moves_error, moves_error.detach()
    return loss, figures


def _apart(some: Tensor, others: Tensor, known: Tensor) -> Tensor:
    """Each clip's part of how far motions are apart: root mean squares over all frames and a patch, the mean of all patches of all
    PATCHES. b

    some, others  b f g g 2
    known         weights, b f g g
    """
    square, weight = ((some - others).square().sum(dim=4) * known).mean(dim=1), known.mean(dim=1)
    result = 0
    for side in PATCHES:
        side = min(side, *weight.shape[1:])
        squares, weights = (functional.avg_pool2d(part, side, stride=1) for part in (square, weight))
        distance = (squares / weights.clamp(min=1e-6) + 1e-8).sqrt()
        result = result + (distance * weights).sum(dim=(1, 2)) / weights.sum().clamp(min=1e-6) / len(PATCHES)
    return result


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
    return ((distance * weight).sum(dim=(1, 2)) > LEAST_SCENE * weight.sum(dim=(1, 2))).float()


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
        if model.waves is not None:
            sentences = encode_prompts(cache.captions[:NUM_SENTENCES], tokenizer, text_encoder)[1]
            model.waves.set_sentence_statistics(sentences.to(model.waves.sentence_mean.device))

    def param_groups(self) -> list[dict[str, Any]]:
        """What the sentence alone decides learns faster than what the photo has a say in."""
        fast = [*self.model.camera.parameters(), *self.model.moves.parameters()]
        slow = [weight for weight in self.model.parameters() if all(weight is not other for other in fast)]
        fast, slow = ([weight for weight in weights if weight.requires_grad] for weights in (fast, slow))
        rate = self.settings.learning_rate
        return [group for group in ({"params": fast, "lr": 3 * rate}, {"params": slow, "lr": rate}) if group["params"]]

    def batch(self, step: int, share: int, num_shares: int) -> dict[str, Any]:
        """Clips drawn by chance; some prompts are emptied."""
        first = (step * num_shares + share) * self.settings.batch_size
        positions = range(first, first + self.settings.batch_size)
        unsaid = [np.random.default_rng([self.seed, position, 1]).random() < self.text_drop for position in positions]
        chance = [step_generator(self.seed, position, 1) for position in positions]
        return self._batch([self.cache.draw(self.seed, position) for position in positions], unsaid, chance)

    def _held_out(self, count: int) -> dict[str, Any]:
        """The first held-out clips, with whole prompts and always the same noise."""
        clips = self.held_out[:count]
        return self._batch(clips, [False] * len(clips), [torch.Generator().manual_seed(0)] * len(clips))

    def _batch(self, clips: list[EncodedClip], unsaid: list[bool], chance: list[torch.Generator]) -> dict[str, Any]:
        """photo b c h w, noise as `scene_noise` gives it, times b f, motion b f 4 g g, sways b, sentence b d."""
        prompts = ["" if left_out else clip.caption for clip, left_out in zip(clips, unsaid, strict=True)]
        photo = torch.stack([clip.latents[:, 0].float() for clip in clips])
        return {
            "photo": photo,
            "noise": scene_noise(self.model, photo, chance),
            "times": torch.stack([clip.times for clip in clips]),
            "motion": torch.stack([clip.motion.float() for clip in clips]),
            "sways": torch.tensor([float(clip.sways) for clip in clips]),
            "sentence": encode_prompts(prompts, self.tokenizer, self.text_encoder)[1],
        }

    def loss(self, model: nn.Module, batch: dict[str, Any], generator: torch.Generator) -> tuple[Tensor, dict[str, Any]]:
        """See `field_loss`."""
        device = next(self.model.parameters()).device
        batch = {name: part if part is None else part.to(device) for name, part in batch.items()}
        fields = model.draws(batch["photo"], batch["sentence"], batch["noise"])
        loss, figures = field_loss(fields, batch["times"], batch["motion"], batch["sways"])
        return loss, {name: value.item() for name, value in figures.items()}

    @torch.no_grad()
    def evaluate(self) -> dict[str, float]:
        """The same errors on held-out clips."""
        loss, figures = self.loss(self.model, self._held_out(len(self.held_out)), torch.Generator())
        return {"held_out_loss": loss.item(), **{f"held_out_{name}": value for name, value in figures.items()}}

    @torch.no_grad()
    def sample(self, path: Path) -> None:
        """Three channels of held-out photos' last frames, and below each what the field makes of the photo."""
        batch = self._held_out(NUM_SAMPLES)
        field = self.model.draws(batch["photo"], batch["sentence"], batch["noise"])[0]
        guess = moved(batch["photo"], field, batch["times"][:, -1:])[:, :3, 0]
        true = torch.stack([clip.latents[:3, -1].float() for clip in self.held_out[:NUM_SAMPLES]])
        grid = torch.stack([true, guess]).permute(0, 3, 1, 4, 2).flatten(0, 1).flatten(1, 2)
        Image.fromarray(((grid + 2.5) * 51).clamp(0, 255).byte().numpy()).save(path)
