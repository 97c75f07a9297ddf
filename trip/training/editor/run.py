"""`python -m trip train-editor`: photos with known edits, encoded once, and the editor trained on them; the same command goes on.

RUN/metrics.jsonl            a line per step of all stages
RUN/words, half-size, full-size     samples and checkpoints of each stage
RUN/pairs-SIZE, -held-out    encoded photos and edits
RUN/model                    the pipeline folder that `StableDiffusionInstructPix2PixPipeline.from_pretrained` opens
"""

import math
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch
from accelerate import Accelerator
from diffusers import AutoencoderKL, StableDiffusionInstructPix2PixPipeline
from transformers import CLIPTokenizer

from trip.checkpoint import check_checkpoint, weights_of
from trip.data.cache import LatentCache, Sample, data_digest, digest, encode_cache
from trip.data.edits import apply_edit
from trip.data.photos import Photo, random_crop, read_photos
from trip.data.wordings import draw_instruction
from trip.model.build import build_text_encoder
from trip.model.editor import build_editor_scheduler, build_editor_unet
from trip.model.latents import encode_video, fold_statistics
from trip.model.text import train_tokenizer
from trip.model.weights import check_finite
from trip.settings import EditorSettings, StageSettings
from trip.training.editor.stage import Editor, EditorStage
from trip.training.editor.words import EditWordsStage
from trip.training.loop import Stage, train

HELD_OUT_PHOTOS = 96
NUM_SENTENCES = 20_000  # that the tokenizer is learnt from


class EditorRun:
    """One run folder, the photos it learns from, and the editor.

    base  checkpoint folder whose autoencoder the editor takes
    Raises ValueError, in one line, for a folder of photos or a base that cannot be.
    """

    def __init__(
        self, settings: EditorSettings, folder: Path, photos_folder: Path, base: Path, *, seed: int = 0, max_minutes: float = math.inf
    ):
        check_checkpoint(base)
        cv2.setNumThreads(1)  # photos are drawn beside the network's own threads
        self.settings = settings
        self.folder = folder
        self.seed = seed
        self.deadline = time.monotonic() + 60 * max_minutes
        self.photos = {held_out: read_photos(photos_folder, held_out=held_out) for held_out in (False, True)}
        self.vae = AutoencoderKL.from_pretrained(base, torch_dtype=torch.float32, **weights_of(base, "vae"))
        check_finite(str(base), self.vae)
        self.vae.register_to_config(_name_or_path="")  # a path of this machine
        fold_statistics(self.vae.eval().requires_grad_(False))

    def steps(self) -> Iterator[dict[str, Any]]:
        """Encodes and trains, one record a step, and writes the pipeline folder at the end."""
        torch.manual_seed(self.seed)
        tokenizer, scheduler = self._tokenizer(), build_editor_scheduler()
        editor = Editor(
            build_editor_unet(self.settings, self.vae.config.latent_channels), build_text_encoder(self.settings, len(tokenizer))
        )
        yield from self._train(
            EditWordsStage(editor.text_encoder, tokenizer, self.photos[False], self.settings.words, seed=self.seed), self.settings.words
        )
        for name, size, settings in (
            ("half-size", self.settings.size // 2, self.settings.half_size),
            ("full-size", self.settings.size, self.settings.full_size),
        ):
            if settings is None:
                continue
            yield from self._encode(f"pairs-{size}", size, held_out=False)
            yield from self._encode(f"pairs-{size}-held-out", size, held_out=True)
            stage = EditorStage(
                name,
                editor,
                LatentCache(self.folder / f"pairs-{size}"),
                LatentCache(self.folder / f"pairs-{size}-held-out"),
                settings,
                tokenizer=tokenizer,
                scheduler=scheduler,
                vae=self.vae,
                seed=self.seed,
            )
            yield from self._train(stage, settings)
            if time.monotonic() >= self.deadline:
                break
        StableDiffusionInstructPix2PixPipeline(
            vae=self.vae.half(),
            text_encoder=editor.text_encoder,  # its file says its precision, which other parts' files do not
            tokenizer=tokenizer,
            unet=editor.unet.half(),
            scheduler=scheduler,
            safety_checker=None,
            feature_extractor=None,
            requires_safety_checker=False,
        ).save_pretrained(self.folder / "model", max_shard_size="9MB")

    def _train(self, stage: Stage, settings: StageSettings) -> Iterator[dict[str, Any]]:
        accelerator = Accelerator(mixed_precision="bf16")
        metrics = self.folder / "metrics.jsonl"
        for record in train(
            stage,
            settings,
            self.folder / stage.name,
            metrics,
            seed=self.seed,
            accelerator=accelerator,
            deadline=self.deadline,
            evaluate=stage.evaluate,
        ):
            yield {"max_steps": settings.max_steps, **record}

    def _tokenizer(self) -> CLIPTokenizer:
        rng = np.random.default_rng(self.seed)
        captions = [photo.caption for photo in self.photos[False]]
        sentences = [draw_instruction(rng, captions[i % len(captions)])[2] for i in range(NUM_SENTENCES)]
        return train_tokenizer(sentences, vocabulary=self.settings.text.vocabulary, max_tokens=self.settings.text.max_tokens)

    def _encode(self, name: str, size: int, *, held_out: bool) -> Iterator[dict[str, Any]]:
        settings = self.settings
        count = min(HELD_OUT_PHOTOS, settings.num_photos) if held_out else settings.num_photos
        key = {"vae": digest(self.vae.state_dict()), "size": size, "edits": settings.num_edits, "seed": self.seed}
        key["data"] = data_digest(self.photos[held_out], [])

        def draw(rng: np.random.Generator) -> Sample:
            photo = self.photos[held_out][rng.integers(len(self.photos[held_out]))]
            return draw_edits(photo, settings.num_edits, size, rng)

        def encode(video: torch.Tensor) -> torch.Tensor:
            with torch.autocast(self.vae.device.type, torch.bfloat16):
                return encode_video(self.vae, video)

        for done, wanted in encode_cache(self.folder / name, draw, encode, num_clips=count, seed=self.seed, key=key):
            yield {"stage": name, "step": done, "max_steps": wanted}


def draw_edits(photo: Photo, count: int, size: int, rng: np.random.Generator) -> Sample:
    """A crop of a photo and edits of it as a clip: frame 0 is the photo, the caption has an instruction a line for the others."""
    crop = random_crop(photo, size, rng)
    asked = [draw_instruction(rng, photo.caption) for _ in range(count)]
    frames = [crop, *(apply_edit(name, crop, rng, amount) for name, amount, _ in asked)]
    return Sample(np.stack(frames), np.arange(count + 1), "\n".join(words for _, _, words in asked))
