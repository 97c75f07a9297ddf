"""What the runs of the small models of pictures share: photos, the autoencoder, encoded pictures, and the pipeline's plain parts."""

import math
import time
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch
from accelerate import Accelerator
from diffusers import AutoencoderKL

from trip.data.cache import Sample, digest, encode_cache
from trip.data.photos import read_photos
from trip.model.latents import encode_video, fold_statistics
from trip.pipeline import check_checkpoint
from trip.settings import PictureModelSettings, StageSettings
from trip.training.loop import Stage, train

HELD_OUT_PHOTOS = 96
WITHOUT_CHECKER = {"safety_checker": None, "feature_extractor": None, "requires_safety_checker": False}


class PictureRun:
    """One run folder, the photos it learns from, and the autoencoder.

    base  checkpoint folder whose autoencoder is taken
    Raises ValueError, in one line, for a folder of photos or a base that cannot be.
    """

    def __init__(
        self, settings: PictureModelSettings, folder: Path, photos_folder: Path, base: Path, *, seed: int = 0, max_minutes: float = math.inf
    ):
        check_checkpoint(base)
        cv2.setNumThreads(1)  # photos are drawn beside the network's own threads
        self.settings = settings
        self.folder = folder
        self.seed = seed
        self.deadline = time.monotonic() + 60 * max_minutes
        self.photos = {held_out: read_photos(photos_folder, held_out=held_out) for held_out in (False, True)}
        self.vae = AutoencoderKL.from_pretrained(base, subfolder="vae", use_safetensors=True, torch_dtype=torch.float32)
        self.vae.register_to_config(_name_or_path="")  # a path of this machine
        fold_statistics(self.vae.eval().requires_grad_(False))

    @property
    def is_late(self) -> bool:
        """Whether the time that was given is up."""
        return time.monotonic() >= self.deadline

    def stages(self) -> Iterator[tuple[str, int, StageSettings]]:
        """Name, side in pixels and settings of each stage that there is."""
        for name, size, settings in (
            ("half-size", self.settings.size // 2, self.settings.half_size),
            ("full-size", self.settings.size, self.settings.full_size),
        ):
            if settings is not None:
                yield name, size, settings

    def draw(self, size: int, rng: np.random.Generator, *, held_out: bool) -> Sample:
        """A photo and what is made of it, as a clip of `num_edits` frames more, with the words for them."""
        raise NotImplementedError

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

    def _encode(self, size: int, *, held_out: bool) -> Iterator[dict[str, Any]]:
        settings = self.settings
        name = self._cache(size, held_out=held_out).name
        count = min(HELD_OUT_PHOTOS, settings.num_photos) if held_out else settings.num_photos
        names = "\n".join(photo.name for photo in self.photos[held_out])
        key = {
            "vae": digest(self.vae.state_dict()),
            "size": size,
            "edits": settings.num_edits,
            "seed": self.seed,
            "photos": zlib.crc32(names.encode()),
        }

        def encode(video: torch.Tensor) -> torch.Tensor:
            with torch.autocast(self.vae.device.type, torch.bfloat16):
                return encode_video(self.vae, video)

        for done, wanted in encode_cache(
            self.folder / name, lambda rng: self.draw(size, rng, held_out=held_out), encode, num_clips=count, seed=self.seed, key=key
        ):
            yield {"stage": name, "step": done, "max_steps": wanted}

    def _cache(self, size: int, *, held_out: bool) -> Path:
        return self.folder / f"pairs-{size}{'-held-out' if held_out else ''}"
