"""Second stage of training from scratch: the text encoder learns what a caption says about the motion.

It stands in for CLIP, which the paper takes as given: like there, the encoder is frozen afterwards.
"""

from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from transformers import CLIPTextModel, CLIPTokenizer

from trip.data.photos import Photo
from trip.data.prompts import MOTIONS, describe, draw_motion, motion_vector
from trip.model.text import tokenize
from trip.settings import StageSettings

STRANGE_SHARE = 0.3  # captions with a made-up word in them: what the encoder does not know must not drown what it knows
EMPTY_SHARE = 0.03  # captions without a word


class TextStage:
    """Reads the speed of every motion off the caption's vector: mean squared error to `motion_vector`."""

    name = "text"

    def __init__(self, encoder: CLIPTextModel, tokenizer: CLIPTokenizer, photos: list[Photo], settings: StageSettings, *, seed: int):
        self.encoder = encoder
        self.tokenizer = tokenizer
        self.photos = photos
        self.settings = settings
        self.seed = seed
        self.model = _Reader(encoder, len(MOTIONS))
        self.held_out = draw_captions(photos, 512, np.random.default_rng([seed, 1, 1, 1]))

    def param_groups(self) -> list[dict[str, Any]]:
        """All weights at one rate."""
        return [{"params": list(self.model.parameters()), "lr": self.settings.learning_rate}]

    def batch(self, step: int, rank: int, num_ranks: int) -> tuple[Tensor, Tensor]:
        """Tokens b n and motion vectors b m of captions drawn for this step."""
        return self._tensors(draw_captions(self.photos, self.settings.batch_size, np.random.default_rng([self.seed, step, rank])))

    def loss(self, model: nn.Module, batch: tuple[Tensor, Tensor], generator: torch.Generator) -> tuple[Tensor, dict[str, Any]]:
        """Mean squared error of the speeds."""
        tokens, wanted = batch
        return (model(tokens).float() - wanted).square().mean(), {}

    @torch.no_grad()
    def evaluate(self) -> dict[str, float]:
        """Share of fresh captions whose strongest motion is read right."""
        tokens, wanted = self._tensors(self.held_out)
        named = wanted.amax(dim=1) > 0
        right = self.model(tokens).argmax(dim=1) == wanted.argmax(dim=1)
        return {"read_right": right[named].float().mean().item()}

    def sample(self, path: Path) -> None:
        """Fresh captions with the motion that is read from them."""
        captions = [caption for caption, _ in self.held_out[:40]]
        tokens, _ = self._tensors(self.held_out[:40])
        with torch.no_grad():
            read = self.model(tokens)
        names = list(MOTIONS)
        lines = [f"{names[int(row.argmax())]:16} {float(row.max()):5.2f}  {caption}" for row, caption in zip(read, captions, strict=True)]
        path.with_suffix(".txt").write_text("\n".join(lines) + "\n")

    def _tensors(self, captions: list[tuple[str, np.ndarray]]) -> tuple[Tensor, Tensor]:
        texts, vectors = zip(*captions, strict=True)
        device = self.encoder.device
        return tokenize(list(texts), self.tokenizer).to(device), torch.from_numpy(np.stack(vectors)).to(device)


class _Reader(nn.Module):
    """The encoder and a linear layer that is thrown away after training."""

    def __init__(self, encoder: CLIPTextModel, num_motions: int):
        super().__init__()
        self.encoder = encoder
        self.readout = nn.Linear(encoder.config.hidden_size, num_motions)

    def forward(self, tokens: Tensor) -> Tensor:
        return self.readout(self.encoder(tokens).pooler_output)


def draw_captions(photos: list[Photo], count: int, rng: np.random.Generator) -> list[tuple[str, np.ndarray]]:
    """Captions of made-up clips, each with its motion vector."""
    drawn = []
    for _ in range(count):
        photo = photos[rng.integers(len(photos))]
        motions = draw_motion(rng, photo.kind)
        caption = describe(motions, rng, photo.caption)
        vector = motion_vector(motions)
        lot = rng.random()
        if lot < EMPTY_SHARE:
            caption, vector = "", np.zeros_like(vector)
        elif lot < EMPTY_SHARE + STRANGE_SHARE:
            caption = _with_strange_word(caption, rng)
        drawn.append((caption, vector))
    return drawn


def _with_strange_word(caption: str, rng: np.random.Generator) -> str:
    word = "".join(chr(ord("a") + letter) for letter in rng.integers(0, 26, size=rng.integers(2, 10)))
    words = caption.split()
    words.insert(int(rng.choice([0, len(words)])), word)
    return " ".join(words)
