"""`python -m trip train`: the stages of a preset in order, in one run folder that the same command takes up again.

RUN/metrics.jsonl                    a line per step of every stage
RUN/vae, text, sentences, field, half-size, denoiser   samples and checkpoints of each stage
RUN/clips-SIZE, moments-SIZE         encoded clips, and those of which moments are enough; …-held-out beside them
RUN/model                            the pipeline folder that `trip animate --model RUN/model` opens
"""

import logging
import math
import os
import time
from collections.abc import Generator, Iterable, Iterator
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch
from accelerate import Accelerator
from diffusers import AutoencoderKL
from transformers import CLIPTextModel, CLIPTokenizer

from trip.checkpoint import check_checkpoint, weights_of
from trip.data.cache import LatentCache, Sample, data_digest, digest, draw_moments, draw_sample, encode_cache
from trip.data.clips import find_clips
from trip.data.photos import read_photos
from trip.data.prompts import MOTIONS
from trip.model.build import build_fusion, build_scheduler, build_text_encoder, build_unet, build_vae
from trip.model.denoiser import Denoiser
from trip.model.latents import encode_video
from trip.model.text import train_tokenizer
from trip.model.weights import check_finite
from trip.settings import Preset, StageSettings
from trip.training.folder import remember_settings, write_model
from trip.training.loop import Stage, train
from trip.training.stages.decoder import DecoderStage, imagenet_features
from trip.training.stages.denoiser import DenoiserStage
from trip.training.stages.field import FieldStage
from trip.training.stages.sentences import SentenceStage
from trip.training.stages.text import TextStage, draw_captions
from trip.training.stages.vae import VaeStage, set_latent_statistics
from trip.training.warm_start import check_kept, continued, take_trip

logger = logging.getLogger(__name__)

HELD_OUT_CLIPS = 128
SHORT_SIDE = 640  # of photos, pixels: views are half to four fifths of what a clip's motion leaves of them


class TrainingRun:
    """One run folder, the data it learns from, and the stages of its preset.

    base    checkpoint folder whose autoencoder and text encoder are taken as they are, so that their stages are left out
    init    checkpoint folder whose 3D-UNet and fusion the training starts from, on the noise schedule that they know; it is the
            base too, where no other is given
    chosen  settings of the preset's model that somebody chose, such as `schedule.kind`: refused where `init` decides otherwise
    Raises ValueError, in one line, for a folder, a seed or a preset that cannot be.
    """

    def __init__(
        self,
        preset: Preset,
        folder: Path,
        photos_folder: Path,
        clips_folder: Path | None = None,
        *,
        seed: int = 0,
        max_minutes: float = math.inf,
        base: Path | None = None,
        init: Path | None = None,
        chosen: Iterable[str] = (),
    ):
        if int(os.environ.get("WORLD_SIZE", 1)) > 1:
            raise ValueError("wanted one process for a training from photos, got several; encode a data set and train with --cache")
        if not 0 <= seed < 2**31:
            raise ValueError(f"wanted a seed from 0 to 2147483647, got {seed}")
        for given in filter(None, (base, init)):
            check_checkpoint(given)
        if not (base or init) and (preset.recipe.vae is None or preset.recipe.text is None):
            raise ValueError("wanted a preset that trains from scratch (embedded or tiny), got one that starts from given weights")
        if init:
            model = continued(init, preset.model)
            check_kept(chosen, preset.model, model, init.name)
            preset = preset.model_copy(update={"model": model})
        if preset.recipe.field_trains == "waves" and not preset.model.unet.scene_frequencies:
            raise ValueError("recipe.field_trains: wanted all, as this model has no waves, got waves; set model.unet.scene_frequencies")
        if preset.recipe.field_trains == "none" and not init:
            raise ValueError("recipe.field_trains: wanted all, as the photo's motion starts untrained, got none; name a model with --init")
        cv2.setNumThreads(1)  # photos are drawn beside the network's own threads
        self.preset = preset
        self.folder = folder
        self.base, self.keeps_text = base or init, base is not None
        self.init = init
        self.seed = seed
        self.deadline = time.monotonic() + 60 * max_minutes
        self.photos = {held_out: read_photos(photos_folder, held_out=held_out, short_side=SHORT_SIDE) for held_out in (False, True)}
        self.clips = {held_out: find_clips(clips_folder, held_out=held_out) if clips_folder else [] for held_out in (False, True)}
        self.data = {held_out: data_digest(self.photos[held_out], self.clips[held_out]) for held_out in (False, True)}
        settings = {"seed": seed, "data": [*self.data.values()], **preset.model_dump(mode="json")}
        remember_settings(folder, settings, ("model", "seed", "data"))

    def stages(self) -> Iterator[dict[str, Any]]:
        """Trains all stages, one record a step (with its `stage`), and writes the pipeline folder at the end."""
        torch.manual_seed(self.seed)
        recipe, model = self.preset.recipe, self.preset.model
        scheduler = build_scheduler(model)
        if self.base:
            vae, text_encoder, tokenizer = self.given_parts()
        else:
            vae = yield from self._autoencoder()
            tokenizer = self._tokenizer()
            text_encoder = (yield from self._text_encoder(tokenizer)) if vae else None
            if text_encoder is None:
                return
        if not (yield from self._sharpened(vae)):
            return
        denoiser = self._denoiser()
        if recipe.sentences and model.unet.photo_warp and not self.keeps_text:
            data = {"photos": self.photos[False], "held_out": self.photos[True], "settings": recipe.sentences, "seed": self.seed}
            if not (yield from self._train(SentenceStage(text_encoder, denoiser.unet.warp, tokenizer, **data), recipe.sentences)):
                return
            for learnt in (denoiser.unet.warp.camera, denoiser.unet.warp.moves):
                learnt.requires_grad_(False)  # the clips that come now tell of fewer sentences, and not as exactly
        for frozen in (vae, text_encoder):
            frozen.eval().requires_grad_(False)
        trains_field = model.unet.photo_warp and recipe.field_trains != "none"
        if model.unet.photo_warp and recipe.field_trains != "all":  # all else stays as given, beside the denoising loss too
            denoiser.unet.warp.requires_grad_(False)
        if recipe.field_trains == "waves":
            denoiser.unet.warp.waves.requires_grad_(True)
        text = {"text_encoder": text_encoder, "tokenizer": tokenizer}

        for name, size, settings in (
            ("field", model.frame_size, recipe.field if trains_field else None),
            ("half-size", model.frame_size // 2, recipe.half_size),
            ("denoiser", model.frame_size, recipe.denoiser),
        ):
            if settings is None:
                continue
            caches = yield from self.caches("moments" if name == "field" else "clips", vae, size)
            if name == "field":
                stage = FieldStage(denoiser.unet.warp, *caches, settings, **text, text_drop=recipe.text_drop, seed=self.seed)
            else:
                given = {**text, "vae": vae, "scheduler": scheduler, "recipe": recipe, "seed": self.seed}
                stage = DenoiserStage(name, denoiser, *caches, settings, **given)
            if not (yield from self._train(stage, settings)):
                break
        write_model(self.folder / "model", model, vae, text_encoder, tokenizer, denoiser, scheduler, card=self.preset.card)

    def given_parts(self) -> tuple[AutoencoderKL, CLIPTextModel, CLIPTokenizer]:
        """What the base's folder holds of a pipeline for text and pictures."""
        vae, text_encoder = (
            AutoencoderKL.from_pretrained(self.base, torch_dtype=torch.float32, **weights_of(self.base, "vae")),
            CLIPTextModel.from_pretrained(self.base, dtype=torch.float32, **weights_of(self.base, "text_encoder")),
        )
        check_finite(str(self.base), vae, text_encoder)
        return vae, text_encoder, CLIPTokenizer.from_pretrained(self.base, subfolder="tokenizer")

    def _denoiser(self) -> Denoiser:
        """The 3D-UNet and the fusion as they start; ValueError where the given ones are not of this preset's sizes."""
        denoiser = Denoiser(build_unet(self.preset.model), build_fusion(self.preset.model))
        if self.init:
            try:
                take_trip(denoiser, self.init)
            except RuntimeError as error:
                raise ValueError(f"{self.init}: wanted a model of this preset's sizes, got another; choose its preset") from error
            check_finite(str(self.init), denoiser.unet, denoiser.fusion)
        return denoiser

    def _autoencoder(self) -> Generator[dict[str, Any], None, AutoencoderKL | None]:
        """The trained autoencoder, or none where the time was up."""
        vae, settings = build_vae(self.preset.model), self.preset.recipe.vae
        frame_size = self.preset.model.frame_size
        stage = VaeStage(vae, self.photos[False], self.photos[True], settings, frame_size=frame_size, seed=self.seed)
        if not (yield from self._train(stage, settings)):
            return None
        set_latent_statistics(vae, [stage.batch(step, 0, 1) for step in range(16)])
        return vae

    def _sharpened(self, vae: AutoencoderKL) -> Generator[dict[str, Any], None, bool]:
        """Trains the decoder on, where the recipe says so; False where the time was up."""
        settings, frame_size = self.preset.recipe.decoder, self.preset.model.frame_size
        if settings is None:
            return True
        data = {"frame_size": frame_size, "seed": self.seed, "features": imagenet_features()}
        return (yield from self._train(DecoderStage(vae, self.photos[False], self.photos[True], settings, **data), settings))

    def _text_encoder(self, tokenizer: CLIPTokenizer) -> Generator[dict[str, Any], None, CLIPTextModel | None]:
        """The trained text encoder, or none where the time was up."""
        encoder, settings = build_text_encoder(self.preset.model, len(tokenizer)), self.preset.recipe.text
        finished = yield from self._train(TextStage(encoder, tokenizer, self.photos[False], settings, seed=self.seed), settings)
        return encoder if finished else None

    def _train(self, stage: Stage, settings: StageSettings) -> Generator[dict[str, Any], None, bool]:
        """Records of a stage; its value says whether the stage is finished. Leaves the averaged weights in the model."""
        step = yield from train(
            stage,
            settings,
            self.folder / stage.name,
            self.folder / "metrics.jsonl",
            seed=self.seed,
            accelerator=Accelerator(mixed_precision=self.preset.recipe.precision),
            deadline=self.deadline,
            evaluate=stage.evaluate,
        )
        return step >= settings.max_steps

    def _tokenizer(self) -> CLIPTokenizer:
        captions = [photo.caption for photo in self.photos[False]] + [clip.caption for clip in self.clips[False]]
        captions += [caption for caption, _ in draw_captions(self.photos[False], 200 * len(MOTIONS), np.random.default_rng(self.seed))]
        text = self.preset.model.text
        return train_tokenizer(captions, vocabulary=text.vocabulary, max_tokens=text.max_tokens)

    def caches(self, name: str, vae: AutoencoderKL, size: int) -> Generator[dict[str, Any], None, list[LatentCache]]:
        """Encoded clips, or `moments` of them: those to learn from, and those held out. What is there is not encoded again."""
        found = []
        for held_out in (False, True):
            folder = f"{name}-{size}{'-held-out' if held_out else ''}"
            yield from self._encode(folder, vae, size, held_out=held_out)
            found.append(LatentCache(self.folder / folder))
        return found

    def _encode(self, name: str, vae: AutoencoderKL, size: int, *, held_out: bool) -> Iterator[dict[str, Any]]:
        """Fills a cache of whole clips, or of `moments`, of which the photo alone is encoded."""
        data = (self.photos[held_out], self.clips[held_out])
        moments, num_frames = name.startswith("moments"), self.preset.model.num_frames
        count = self.preset.recipe.num_moments if moments else self.preset.recipe.num_cached_clips
        encoder = {name: weight for name, weight in vae.state_dict().items() if name.startswith(("encoder", "quant_conv"))}
        made_of = {"seed": self.seed, "data": self.data[held_out]}
        key: dict[str, Any] = {"vae": digest(encoder), "frames": 1 if moments else num_frames, "size": size, **made_of}
        swaying = self.preset.recipe.swaying_moments if moments else self.preset.recipe.swaying_clips
        if swaying:
            key["swaying"] = swaying
        vae = vae.to(memory_format=torch.channels_last)  # a third faster on a CPU

        def draw(rng: np.random.Generator) -> Sample:
            if moments:
                return draw_moments(*data, size=size, rng=rng, swaying=swaying)
            return draw_sample(*data, num_frames=num_frames, size=size, rng=rng, swaying=swaying)

        def encode(video: torch.Tensor) -> torch.Tensor:
            with torch.autocast(vae.device.type, torch.bfloat16):
                return encode_video(vae, video[:, :, :1] if moments else video)

        count = HELD_OUT_CLIPS if held_out else count
        unet = self.preset.model.unet
        keeps_photo = unet.photo_warp and unet.warp_space == "pixel" and not moments
        for done, wanted in encode_cache(
            self.folder / name, draw, encode, num_clips=count, seed=self.seed, key=key, keeps_photo=keeps_photo
        ):
            yield {"stage": name, "step": done, "max_steps": wanted}
