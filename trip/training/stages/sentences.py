"""What a sentence alone decides about the motion of a photo, learnt from sentences alone: where the camera goes, whether the scene moves.

Sentences cost nothing to draw, clips do: the text encoder and two small parts of `PhotoWarp` see hundreds of thousands of them before
the field and the 3D-UNet see a clip.
"""

from copy import deepcopy
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional
from transformers import CLIPTextModel, CLIPTokenizer

from trip.data.motion import camera_at
from trip.data.photos import Photo
from trip.data.prompts import describe, draw_motion, moves_scene
from trip.model.text import tokenize
from trip.model.warp import REFERENCE_FRAMES, PhotoWarp, generator_of, places_of
from trip.settings import StageSettings

PLACE_WEIGHT, MOVES_WEIGHT = 4.0, 0.3  # of the mean distance, in halves of the short side; of the cross-entropy
KEEP_WEIGHT = 1.0  # of the words' squared change: a 3D-UNet may know them as they were
PLACES_SIDE = 5  # places a side at which two cameras are compared
NUM_HELD_OUT = 512


class Sentences(NamedTuple):
    """A batch of sentences and the truth about them.

    tokens   b n
    cameras  from a point of the last frame to the photo's, both in halves of the view   b 2 3
    follows  1 where the whole picture follows the camera, 0 where nearer places pass faster   b
    moves    1 where the scene moves by itself   b
    """

    tokens: Tensor
    cameras: Tensor
    follows: Tensor
    moves: Tensor


class SentenceStage:
    """The text encoder, and camera and `moves` of a warp: distance of the places that the camera leads to, and a cross-entropy."""

    name = "sentences"

    def __init__(
        self,
        encoder: CLIPTextModel,
        warp: PhotoWarp,
        tokenizer: CLIPTokenizer,
        photos: list[Photo],
        held_out: list[Photo],
        settings: StageSettings,
        *,
        seed: int,
    ):
        self.encoder, self.tokenizer, self.photos = encoder, tokenizer, photos
        self.before = deepcopy(encoder).eval().requires_grad_(False)
        self.model = nn.ModuleDict({"encoder": encoder.requires_grad_(True), "camera": warp.camera, "moves": warp.moves})
        self.settings, self.seed = settings, seed
        self.held_out_captions, self.held_out = self._drawn(held_out, NUM_HELD_OUT, np.random.default_rng([seed, 1, 1, 1]))

    def param_groups(self) -> list[dict[str, Any]]:
        """All weights at one rate."""
        return [{"params": list(self.model.parameters()), "lr": self.settings.learning_rate}]

    def batch(self, step: int, share: int, num_shares: int) -> Sentences:
        """Sentences drawn for this share of the step."""
        return self._drawn(self.photos, self.settings.batch_size, np.random.default_rng([self.seed, step, share]))[1]

    def _drawn(self, photos: list[Photo], count: int, rng: np.random.Generator) -> tuple[list[str], Sentences]:
        chosen = [photos[index] for index in rng.integers(len(photos), size=count)]
        motions = [draw_motion(rng, photo.kind) for photo in chosen]
        captions = [describe(motion, rng, photo.caption) for motion, photo in zip(motions, chosen, strict=True)]
        cameras = [camera_at(motion, REFERENCE_FRAMES) for motion in motions]
        return captions, Sentences(
            tokenize(captions, self.tokenizer),
            torch.from_numpy(np.stack([matrix for matrix, _ in cameras])),
            torch.tensor([follows for _, follows in cameras]).float(),
            torch.tensor([moves_scene(motion) for motion in motions]).float(),
        )

    def loss(self, model: nn.Module, batch: Sentences, generator: torch.Generator) -> tuple[Tensor, dict[str, Any]]:
        """Weighted sum of both errors, and of how far the words have gone from what they were."""
        tokens, cameras, follows, moves = (part.to(self.encoder.device) for part in batch)
        said = self.encoder(tokens)
        distance, moves_error, _ = self._errors(said.pooler_output, cameras, moves)
        place_error = _mean(distance, follows)
        with torch.no_grad():
            was = self.before.to(tokens.device)(tokens).last_hidden_state
        changed = (said.last_hidden_state - was).square().mean()
        loss = PLACE_WEIGHT * place_error + MOVES_WEIGHT * moves_error + KEEP_WEIGHT * changed
        return loss, {"place_error": place_error.item(), "moves_error": moves_error.item(), "changed": changed.item()}

    def _errors(self, sentence: Tensor, cameras: Tensor, moves: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Distance of the places by sentence, mean cross-entropy, and which sentences are read right as to `moves`."""
        generator = generator_of(self.model["camera"](sentence))
        places = functional.pad(places_of(PLACES_SIDE, PLACES_SIDE, sentence.device).flatten(0, 1), (0, 1), value=1.0)  # n 3
        aside = torch.einsum("bij,nj->bni", torch.matrix_exp(generator)[:, :2] - cameras, places)
        distance = (aside.square().sum(dim=2) + 1e-10).sqrt().mean(dim=1)
        logits = self.model["moves"](sentence).float().squeeze(1)
        return distance, functional.binary_cross_entropy_with_logits(logits, moves), (logits > 0) == (moves > 0)

    @torch.no_grad()
    def evaluate(self) -> dict[str, float]:
        """The same on sentences about held-out photos, and the share of them that are read right as to whether the scene moves."""
        distance, right = self._read()
        return {"held_out_loss": _mean(distance, self.held_out.follows).item(), "moves_read_right": right.float().mean().item()}

    @torch.no_grad()
    def sample(self, path: Path) -> None:
        """Sentences about held-out photos: how far off the camera is, and whether it is read right that the scene moves; worst first."""
        distance, right = (part.tolist() for part in self._read())
        follows = self.held_out.follows.tolist()
        rows = sorted(zip(distance, follows, right, self.held_out_captions, strict=True), key=lambda row: -row[0] * row[1])
        lines = [f"{off:7.4f} {'' if follow else 'parallax':9}{'' if read else 'misread':8} {said}" for off, follow, read, said in rows]
        path.with_suffix(".txt").write_text("\n".join(lines) + "\n")

    def _read(self) -> tuple[Tensor, Tensor]:
        """Distances, and what is read right, of the held-out sentences; on the CPU."""
        tokens, cameras, _, moves = (part.to(self.encoder.device) for part in self.held_out)
        distance, _, right = self._errors(self.encoder(tokens).pooler_output, cameras, moves)
        return distance.cpu(), right.cpu()


def _mean(distance: Tensor, follows: Tensor) -> Tensor:
    """Over the sentences whose camera leads all of the picture."""
    return (distance * follows).sum() / follows.sum().clamp(min=1)
