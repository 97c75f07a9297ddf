"""`python -m trip train-editor`: photos with known edits, encoded once, and the editor trained on them; the same command goes on.

RUN/metrics.jsonl            a line per step of all stages
RUN/words, half-size, full-size     samples and checkpoints of each stage
RUN/pairs-SIZE, -held-out    encoded photos and edits
RUN/model                    the pipeline folder that `StableDiffusionInstructPix2PixPipeline.from_pretrained` opens
"""

from collections.abc import Iterator
from typing import Any

import numpy as np
import torch
from diffusers import StableDiffusionInstructPix2PixPipeline
from transformers import CLIPTokenizer

from trip.data.cache import LatentCache, Sample
from trip.data.edits import apply_edit
from trip.data.photos import Photo, random_crop
from trip.data.wordings import draw_instruction
from trip.model.build import build_text_encoder
from trip.model.pictures import build_picture_scheduler, build_picture_unet
from trip.model.text import train_tokenizer
from trip.settings import EditorSettings
from trip.training.edit_words import EditWordsStage
from trip.training.editor import Editor, EditorStage
from trip.training.picture_run import WITHOUT_CHECKER, PictureRun

NUM_SENTENCES = 20_000  # that the tokenizer is learnt from


class EditorRun(PictureRun):
    """One run folder, the photos it learns from, and the editor."""

    settings: EditorSettings

    def steps(self) -> Iterator[dict[str, Any]]:
        """Encodes and trains, one record a step, and writes the pipeline folder at the end."""
        torch.manual_seed(self.seed)
        tokenizer, scheduler = self._tokenizer(), build_picture_scheduler()
        editor = Editor(
            build_picture_unet(self.settings, self.vae.config.latent_channels, sees_photo=True),
            build_text_encoder(self.settings, len(tokenizer)),
        )
        yield from self._train(
            EditWordsStage(editor.text_encoder, tokenizer, self.photos[False], self.settings.words, seed=self.seed), self.settings.words
        )
        for name, size, settings in self.stages():
            yield from self._encode(size, held_out=False)
            yield from self._encode(size, held_out=True)
            caches = [LatentCache(self._cache(size, held_out=held_out)) for held_out in (False, True)]
            parts = {"tokenizer": tokenizer, "scheduler": scheduler, "vae": self.vae, "seed": self.seed}
            yield from self._train(EditorStage(name, editor, *caches, settings, **parts), settings)
            if self.is_late:
                break
        StableDiffusionInstructPix2PixPipeline(
            vae=self.vae.half(),
            text_encoder=editor.text_encoder.half(),
            tokenizer=tokenizer,
            unet=editor.unet.half(),
            scheduler=scheduler,
            **WITHOUT_CHECKER,
        ).save_pretrained(self.folder / "model", max_shard_size="9MB")

    def draw(self, size: int, rng: np.random.Generator, *, held_out: bool) -> Sample:
        """A crop of a photo, and edits of it."""
        photo = self.photos[held_out][rng.integers(len(self.photos[held_out]))]
        return draw_edits(photo, self.settings.num_edits, size, rng)

    def _tokenizer(self) -> CLIPTokenizer:
        rng = np.random.default_rng(self.seed)
        captions = [photo.caption for photo in self.photos[False]]
        sentences = [draw_instruction(rng, captions[i % len(captions)])[2] for i in range(NUM_SENTENCES)]
        return train_tokenizer(sentences, vocabulary=self.settings.text.vocabulary, max_tokens=self.settings.text.max_tokens)


def draw_edits(photo: Photo, count: int, size: int, rng: np.random.Generator) -> Sample:
    """A crop of a photo and edits of it as a clip: frame 0 is the photo, the caption has an instruction a line for the others."""
    crop = random_crop(photo, size, rng)
    asked = [draw_instruction(rng, photo.caption) for _ in range(count)]
    frames = [crop, *(apply_edit(name, crop, rng, amount) for name, amount, _ in asked)]
    return Sample(np.stack(frames), np.arange(count + 1), "\n".join(words for _, _, words in asked))
