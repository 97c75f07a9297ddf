"""`python -m trip encode`: a filmed data set through the frozen autoencoder and text encoder, once, for any number of trainings."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import torch
from diffusers import AutoencoderKL
from torch import Tensor

from trip.data.cache import digest
from trip.data.layouts import Entry, entries, layout_of, splits_of
from trip.data.shards import Encoders, encode_shards
from trip.data.windows import read_at_rate
from trip.model.latents import encode_video
from trip.model.text import encode_prompts
from trip.training.warm_start import Base


@dataclass(frozen=True)
class WindowSettings:
    """How clips are cut: the paper's 16 frames at 4 a second, centre square of 256 pixels."""

    num_frames: int = 16
    fps: float = 4.0
    size: int = 256
    crop: bool = True
    windows: int = 1
    seed: int = 0


def window_reader(settings: WindowSettings) -> Callable[[Entry, int], tuple[np.ndarray, np.ndarray]]:
    """Cuts a window of an entry: frames f h w 3 uint8, and times f in distances between frames; its place follows seed and name."""

    def read(entry: Entry, window: int) -> tuple[np.ndarray, np.ndarray]:
        place = [settings.seed, window, int.from_bytes(f"{entry.name} {entry.begin}".encode()[-16:])]
        frames, seconds = read_at_rate(
            entry,
            num_frames=settings.num_frames,
            fps=settings.fps,
            size=settings.size,
            rng=np.random.default_rng(place),
            crop=settings.crop,
        )
        return frames, seconds * settings.fps

    return read


def latent_encoder(vae: AutoencoderKL) -> Callable[[Tensor], Tensor]:
    """Frames, 1 3 f h w in [-1, 1] -> latents, 1 c f h w; in bfloat16 on a CUDA device."""

    def encode(video: Tensor) -> Tensor:
        with torch.autocast(vae.device.type, torch.bfloat16, enabled=vae.device.type == "cuda"):
            return encode_video(vae, video)

    return encode


def encode_data_set(
    data: Path,
    output: Path,
    base: Base,
    settings: WindowSettings,
    *,
    layout: str,
    categories: Sequence[str] = (),
    split: Sequence[str] = (),
    most: dict[str, int | None],
    with_text: bool,
    shard_size: int,
    device: torch.device,
    part: int,
    num_parts: int,
) -> Iterator[dict[str, Any]]:
    """Makes this process's part of OUTPUT/SPLIT for every split, and yields what is done after each shard.

    categories  of DTDB, those that are wanted; none: all
    split       the splits that are wanted; none: those to train with, or the one that the paper evaluates on
    most        the most entries of each split
    """
    layout = layout_of(data) if layout == "auto" and data.is_dir() else layout
    vae, text_encoder, tokenizer = base.frozen_parts(text=with_text)
    key = {"vae": digest(vae.state_dict()), "text": digest(text_encoder.state_dict()) if text_encoder else None, "layout": layout}
    key |= {name: getattr(settings, name) for name in ("num_frames", "fps", "size", "crop", "seed")}
    vae.to(device)
    if text_encoder:
        text_encoder.to(device)

    def text(captions: list[str]) -> tuple[Tensor, Tensor]:
        return encode_prompts(captions, tokenizer, text_encoder)

    encoders = Encoders(window_reader(settings), latent_encoder(vae), text if with_text else None)
    for name in split or splits_of(layout):
        for done in encode_shards(
            output / name,
            islice(entries(data, layout, name, categories=categories), most[name]),
            encoders,
            key={**key, "split": name},
            shard_size=shard_size,
            windows=settings.windows,
            part=part,
            num_parts=num_parts,
        ):
            yield {"split": name, **done}
