"""First stage of the editor: the text encoder learns which edit a sentence asks for, and how much of it.

It stands in for CLIP, from whose text encoder InstructPix2Pix starts; here it goes on learning with the U-Net afterwards.
"""

from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional
from transformers import CLIPTextModel, CLIPTokenizer

from trip.data.edits import EDITS
from trip.data.photos import Photo
from trip.data.wordings import UNSEEN, draw_instruction
from trip.model.text import tokenize
from trip.settings import StageSettings


class EditWordsStage:
    """Names the edit that an instruction asks for (cross-entropy) and its amount (mean squared error)."""

    name = "words"

    def __init__(self, encoder: CLIPTextModel, tokenizer: CLIPTokenizer, photos: list[Photo], settings: StageSettings, *, seed: int):
        self.tokenizer = tokenizer
        self.captions = [photo.caption for photo in photos]
        self.settings = settings
        self.seed = seed
        self.model = _Reader(encoder)

    def param_groups(self) -> list[dict[str, Any]]:
        """All weights at one rate."""
        return [{"params": list(self.model.parameters()), "lr": self.settings.learning_rate}]

    def batch(self, step: int, rank: int, num_ranks: int) -> tuple[Tensor, Tensor, Tensor]:
        """Tokens b n, numbers of the edits b, amounts b."""
        rng = np.random.default_rng([self.seed, step, rank])
        drawn = [draw_instruction(rng, self.captions[rng.integers(len(self.captions))]) for _ in range(self.settings.batch_size)]
        names, amounts, instructions = zip(*drawn, strict=True)
        return self._tokens(instructions), torch.tensor([list(EDITS).index(name) for name in names]), torch.tensor(amounts)

    def loss(self, model: nn.Module, batch: tuple[Tensor, Tensor, Tensor], generator: torch.Generator) -> tuple[Tensor, dict[str, Any]]:
        """Cross-entropy of the edit and squared error of the amount."""
        tokens, edits, amounts = (part.to(next(self.model.parameters()).device) for part in batch)
        read = model(tokens).float()
        return functional.cross_entropy(read[:, :-1], edits) + (read[:, -1] - amounts).square().mean(), {}

    @torch.no_grad()
    def evaluate(self) -> dict[str, float]:
        """Share of the sentences that training never sees whose edit is read right."""
        names, read = self._read_unseen()
        return {"read_right": float(np.mean([name == nearest for name, nearest in zip(names, read, strict=True)]))}

    def sample(self, path: Path) -> None:
        """The unseen sentences, with the edit that is read from each."""
        sentences = [sentence for sentences in UNSEEN.values() for sentence in sentences]
        _, read = self._read_unseen()
        path.with_suffix(".txt").write_text("".join(f"{name:16} {words}\n" for name, words in zip(read, sentences, strict=True)))

    @torch.no_grad()
    def _read_unseen(self) -> tuple[list[str], list[str]]:
        names = [name for name, sentences in UNSEEN.items() for _ in sentences]
        tokens = self._tokens([sentence for sentences in UNSEEN.values() for sentence in sentences])
        read = self.model(tokens.to(next(self.model.parameters()).device))[:, :-1].argmax(dim=1)
        return names, [list(EDITS)[int(number)] for number in read]

    def _tokens(self, instructions: list[str] | tuple[str, ...]) -> Tensor:
        return tokenize(list(instructions), self.tokenizer)


class _Reader(nn.Module):
    """The encoder and a linear layer that is thrown away after training."""

    def __init__(self, encoder: CLIPTextModel):
        super().__init__()
        self.encoder = encoder
        self.readout = nn.Linear(encoder.config.hidden_size, len(EDITS) + 1)

    def forward(self, tokens: Tensor) -> Tensor:
        return self.readout(self.encoder(tokens).last_hidden_state.mean(dim=1))
