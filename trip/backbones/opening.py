"""Opens video models by others, as diffusers' pipelines: safetensors only, in the precision of the device, nothing fetched."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import diffusers
import torch
from diffusers import AutoencoderKLWan, DDIMScheduler, DiffusionPipeline, LCMScheduler, MotionAdapter

from trip.backbones.backbone import Backbone
from trip.backbones.local import VideoModel, find_video_model
from trip.first_frame.catalogue import LCM_LORA
from trip.first_frame.local_models import index_of, parts_of
from trip.first_frame.opening import component_in, num_bytes_in, opened, pipeline_in
from trip.model.weights import check_finite
from trip.model_cache import acquire_pipeline, shared_cache
from trip.pipeline import TripPipeline

ADAPTED = {"beta_schedule": "linear", "beta_start": 0.00085, "beta_end": 0.012, "steps_offset": 1, "clip_sample": False}  # AnimateDiff's
LCM_WEIGHT = 0.8  # of AnimateLCM's LoRA, as its page has it


@contextmanager
def acquire(
    name: str | Path | VideoModel | None, lora: str | Path | None = None, models: Path | None = None
) -> Iterator[TripPipeline | Backbone]:
    """What animates photos, ready to work: a TRIP checkpoint, or a video model by others.

    name  of either, as the person at the machine says it, a path too; or a video model that was found already
    Raises ValueError, in one line, where there is nothing that opens.
    """
    model = name if isinstance(name, VideoModel) or not name else find_video_model(str(name), models, anywhere=True)
    if model is None:
        with acquire_pipeline(name, lora) as pipe:
            yield pipe
        return
    if lora is not None:
        raise ValueError(f"a fine-tune is of TRIP's own weights, and {model.title} is another model; choose one of them")
    key = ("video", str(model.folder), str(model.adapter))
    takes = tuple(1e9 * one for one in model.memory or ())
    with shared_cache().acquire(key, lambda: open_pipeline(model), num_bytes_on_disk(model), takes) as pipe:
        yield Backbone(pipe, model.kind, model.title)


def open_pipeline(model: VideoModel) -> DiffusionPipeline:
    """Its pipeline, in memory, not yet where it works. Raises ValueError, in one line, where it does not open."""
    pipe = opened(model.name, lambda: _load(model))
    check_finite(model.name, *(part for part in pipe.components.values() if isinstance(part, torch.nn.Module)))
    if hasattr(pipe.vae, "use_slicing"):
        pipe.vae.enable_slicing()
    if hasattr(pipe.vae, "use_tiling") and not hasattr(pipe, "unet"):  # autoencoders of clips, which take most of their memory at once
        pipe.vae.enable_tiling()
    if isinstance(pipe.vae, AutoencoderKLWan):
        pipe.vae.float()  # its own pages ask for it
    pipe.set_progress_bar_config(disable=True)
    return pipe


def _load(model: VideoModel) -> DiffusionPipeline:
    more: dict[str, Any] = {}
    if model.adapter:
        more = {"motion_adapter": component_in(MotionAdapter, model.adapter), "feature_extractor": None, "image_encoder": None}
    pipe = pipeline_in(getattr(diffusers, model.class_name), model.folder, more)
    if model.class_name == "I2VGenXLPipeline" and not hasattr(pipe.text_encoder, "text_model"):
        object.__setattr__(pipe.text_encoder, "text_model", pipe.text_encoder)  # where the class looks for it; transformers 5 dropped it
    if model.adapter:
        pipe.register_modules(motion_adapter=None)  # its weights are in the U-Net by now
        is_fast = (model.adapter / LCM_LORA).is_file()
        pipe.scheduler = (LCMScheduler if is_fast else DDIMScheduler)(**ADAPTED | ({} if is_fast else {"timestep_spacing": "linspace"}))
        if is_fast:
            pipe.load_lora_weights(str(model.adapter), weight_name=LCM_LORA, adapter_name="lcm")
            pipe.set_adapters(["lcm"], [LCM_WEIGHT])
    return pipe


def num_bytes_on_disk(model: VideoModel) -> int:
    """What its weights will take in memory, read from the heads of its files."""
    index = index_of(model.folder) or {}
    folders = [model.folder / part for part, has_weights in parts_of(index, "video") if has_weights]
    return num_bytes_in(*folders, *([model.adapter] if model.adapter else []))
