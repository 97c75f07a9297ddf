"""`python -m trip train-painter`: captioned photos with their styles, encoded once, and the painter trained on them over canny maps.

RUN/metrics.jsonl            a line per step of all stages
RUN/half-size, full-size     samples and checkpoints of each stage
RUN/pairs-SIZE, -held-out    encoded photos and styled photos
RUN/model                    the pipeline folder that `StableDiffusionPipeline.from_pretrained` opens
RUN/model/controlnet         the `ControlNetModel` for it
"""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
from diffusers import StableDiffusionInstructPix2PixPipeline, StableDiffusionPipeline, UNet2DConditionModel
from transformers import CLIPTextModel, CLIPTokenizer

from trip.data.cache import LatentCache, Sample
from trip.data.edits import apply_edit
from trip.data.photos import Photo
from trip.data.titles import STYLES, draw_title
from trip.model.build import build_text_encoder
from trip.model.pictures import build_controlnet, build_picture_scheduler, build_picture_unet, wake_map_reader
from trip.model.text import train_tokenizer
from trip.settings import PainterSettings
from trip.training.painter import Mapped, Painter, PainterStage, draw_crop
from trip.training.picture_run import WITHOUT_CHECKER, PictureRun

NUM_TITLES = 10_000  # that the tokenizer is learnt from
AMOUNTS = (0.85, 1.1)  # of a style


class PainterRun(PictureRun):
    """One run folder, the photos it learns from, and the painter.

    editor  pipeline folder of `train-editor`, whose text encoder and U-Net the painter begins with; none: untrained ones
    """

    settings: PainterSettings

    def __init__(self, *arguments: Any, editor: Path | None = None, **options: Any):
        super().__init__(*arguments, **options)
        self.editor = editor

    def steps(self) -> Iterator[dict[str, Any]]:
        """Encodes and trains, one record a step, and writes the pipeline folder at the end."""
        self._check_maps()
        torch.manual_seed(self.seed)
        scheduler, (tokenizer, text_encoder, unet) = build_picture_scheduler(), self._from_editor() if self.editor else self._from_nothing()
        painter = Painter(unet, build_controlnet(self.settings, unet), text_encoder)
        for number, (name, size, settings) in enumerate(self.stages()):
            yield from self._encode(size, held_out=False)
            yield from self._encode(size, held_out=True)
            mapped = [
                Mapped(LatentCache(self._cache(size, held_out=held_out)), self.photos[held_out], size, self.seed)
                for held_out in (False, True)
            ]
            parts = {"tokenizer": tokenizer, "scheduler": scheduler, "vae": self.vae, "seed": self.seed}
            if number == 0:
                maps = mapped[0].batch(np.arange(min(64, len(mapped[0]))), np.random.default_rng(self.seed))["maps"]
                wake_map_reader(painter.controlnet, maps)
            yield from self._train(PainterStage(name, painter, *mapped, settings, **parts), settings)
            if self.is_late:
                break
        folder = self.folder / "model"
        StableDiffusionPipeline(
            vae=self.vae.half(),
            text_encoder=painter.text_encoder.half(),
            tokenizer=tokenizer,
            unet=painter.unet.half(),
            scheduler=scheduler,
            **WITHOUT_CHECKER,
        ).save_pretrained(folder, max_shard_size="9MB")
        painter.controlnet.half().save_pretrained(folder / "controlnet", max_shard_size="9MB")

    def draw(self, size: int, rng: np.random.Generator, *, held_out: bool) -> Sample:
        """A crop of a photo, and the same in some of the STYLES; a title for each, line by line."""
        return draw_styles(self.photos[held_out], self.settings.num_edits, size, rng)

    def _from_nothing(self) -> tuple[CLIPTokenizer, CLIPTextModel, UNet2DConditionModel]:
        tokenizer = self._tokenizer()
        unet = build_picture_unet(self.settings, self.vae.config.latent_channels, sees_photo=False)
        return tokenizer, build_text_encoder(self.settings, len(tokenizer)), unet

    def _from_editor(self) -> tuple[CLIPTokenizer, CLIPTextModel, UNet2DConditionModel]:
        """The editor as it is where no photo is given: a tenth of its samples had none."""
        editor = open_parts(self.editor)
        unet = build_picture_unet(self.settings, self.vae.config.latent_channels, sees_photo=False)
        weights = editor.unet.state_dict()
        weights["conv_in.weight"] = weights["conv_in.weight"][:, : unet.config.in_channels]
        wrong = [name for name, weight in unet.state_dict().items() if name not in weights or weights[name].shape != weight.shape]
        if wrong:
            raise ValueError(f"{self.editor}: wanted an editor of the painter's sizes, but its {wrong[0]} differs; choose another preset")
        unet.load_state_dict(weights)
        return editor.tokenizer, editor.text_encoder, unet

    def _check_maps(self) -> None:
        wanted, found = (len(channels) - 1 for channels in (self.vae.config.block_out_channels, self.settings.map_channels))
        if wanted != found:
            raise ValueError(
                f"map_channels: wanted {wanted} halvings, as many as the autoencoder's, got {found}; choose another base or preset"
            )

    def _tokenizer(self) -> CLIPTokenizer:
        rng = np.random.default_rng(self.seed)
        photos = self.photos[False]
        drawn = [(photos[i % len(photos)], "" if rng.random() < 0.5 else str(rng.choice(STYLES))) for i in range(NUM_TITLES)]
        titles = [draw_title(rng, photo.pixels, photo.caption, style) for photo, style in drawn]
        return train_tokenizer(titles, vocabulary=self.settings.text.vocabulary, max_tokens=self.settings.text.max_tokens)


def open_parts(folder: Path) -> StableDiffusionInstructPix2PixPipeline:
    """An editor's pipeline in float32; ValueError where there is none."""
    try:
        return StableDiffusionInstructPix2PixPipeline.from_pretrained(
            str(folder), use_safetensors=True, torch_dtype=torch.float32, local_files_only=True, **WITHOUT_CHECKER
        )
    except (OSError, TypeError) as error:
        raise ValueError(f"{folder}: wanted the pipeline folder of an editor, found none; give RUN/model of train-editor") from error


def draw_styles(photos: list[Photo], count: int, size: int, rng: np.random.Generator) -> Sample:
    """A crop of a photo and as many styles of it as a clip: frame 0 is the photo, the caption has a title a line."""
    photo, crop = draw_crop(photos, size, rng)
    styles = rng.choice(STYLES, size=count, replace=count > len(STYLES))
    frames = [crop, *(apply_edit(str(style), crop, rng, rng.uniform(*AMOUNTS)) for style in styles)]
    titles = [draw_title(rng, frame, photo.caption, str(style)) for frame, style in zip(frames, ("", *styles), strict=True)]
    return Sample(np.stack(frames), np.arange(count + 1), "\n".join(titles))
