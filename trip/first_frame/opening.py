"""Opens models that are on this machine as diffusers pipelines: safetensors only, in the precision of the device, nothing fetched."""

import inspect
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import diffusers
import torch
import transformers
from diffusers import (
    ControlNetModel,
    DiffusionPipeline,
    EulerDiscreteScheduler,
    StableDiffusionControlNetPipeline,
    StableDiffusionInstructPix2PixPipeline,
    StableDiffusionPipeline,
    StableDiffusionXLControlNetPipeline,
    StableDiffusionXLImg2ImgPipeline,
    StableDiffusionXLInstructPix2PixPipeline,
    StableDiffusionXLPipeline,
    UNet2DConditionModel,
)
from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file

from trip.first_frame.catalogue import CARDS
from trip.first_frame.local_models import Model, base_title, card_folder, download_hint, index_of, parts_of
from trip.system.accelerator import device, precision

PIPELINES: dict[tuple[str, str], type[DiffusionPipeline]] = {  # task, family
    ("paint", "sd"): StableDiffusionPipeline,
    ("paint", "sdxl"): StableDiffusionXLPipeline,
    ("refine", "sdxl"): StableDiffusionXLImg2ImgPipeline,
    ("edit", "sd"): StableDiffusionInstructPix2PixPipeline,
    ("edit", "sdxl"): StableDiffusionXLInstructPix2PixPipeline,
    ("control", "sd"): StableDiffusionControlNetPipeline,
    ("control", "sdxl"): StableDiffusionXLControlNetPipeline,
}
LARGE = 1024  # pixels of a side from which the autoencoder works tile by tile


def open_pipeline(model: Model, models: Path | None = None, controlnet: Model | None = None) -> DiffusionPipeline:
    """The pipeline of a model, or of a base model with a ControlNet; in memory, not yet where it works.

    models  the models folder, where what it needs may be
    Raises ValueError, in one line, where it does not open or is of another kind.
    """
    task = "control" if controlnet else model.card.task
    if (task, model.card.family) not in PIPELINES:
        raise ValueError(f"{model.name}: wanted a model to {task} with, found one of another kind; choose another")
    more: dict[str, Any] = {}
    if controlnet:
        if controlnet.card.family != model.card.family:
            raise ValueError(f"{controlnet.name} is not made for {model.name}; choose a ControlNet for {base_title(model)}")
        more["controlnet"] = opened(controlnet.name, lambda: component_in(ControlNetModel, controlnet.folder))
    folder = _base_folder(model, models)
    if model.card.files:
        more["unet"] = opened(model.name, lambda: _load_unet(folder / "unet", model.folder / model.card.files[0]))
    pipe = opened(model.name, lambda: pipeline_in(PIPELINES[task, model.card.family], folder, more))
    _check_task(pipe, task, model.name)
    if model.card.files:  # SDXL-Lightning: its own page asks for this sampler
        pipe.scheduler = EulerDiscreteScheduler.from_config(pipe.scheduler.config, timestep_spacing="trailing")
    pipe.vae.enable_slicing()
    if model.card.size >= LARGE:
        pipe.vae.enable_tiling()
    pipe.set_progress_bar_config(disable=True)
    return pipe


def num_bytes_on_disk(model: Model, models: Path | None = None, controlnet: Model | None = None) -> int:
    """What the weights of a pipeline will take in memory, read from the heads of its files."""
    folder = _base_folder(model, models)
    folders = [folder / part for part, has_weights in parts_of(index_of(folder) or {}) if has_weights]
    return num_bytes_in(*folders, *([controlnet.folder] if controlnet else []))


def num_bytes_in(*folders: Path) -> int:
    """What the weights in folders of parts will take in memory, in the precision of the device."""
    return sum(map(_count_parameters, folders)) * precision(device()).itemsize


def _base_folder(model: Model, models: Path | None) -> Path:
    """Where the pipeline lies: the model's own folder, or that of the model whose U-Net it replaces."""
    if not model.card.files:
        return model.folder
    folder = card_folder(CARDS[model.card.needs[0]], models)
    if folder is None:
        raise ValueError(download_hint(model.name, models))
    return folder


def pipeline_in(kind: type[DiffusionPipeline], folder: Path, more: dict[str, Any]) -> DiffusionPipeline:
    """The pipeline of a folder, opened as a class; `more` goes to that."""
    if "safety_checker" in inspect.signature(kind.__init__).parameters:
        more = {"safety_checker": None, "feature_extractor": None, "requires_safety_checker": False, **more}
    variant = "fp16" if any(folder.glob("*/*.fp16*.safetensors")) else None
    return kind.from_pretrained(folder, use_safetensors=True, dtype=precision(device()), variant=variant, local_files_only=True, **more)


def component_in(kind: type, folder: Path) -> torch.nn.Module:
    """One network of a folder of its own."""
    variant = "fp16" if any(folder.glob("*.fp16*.safetensors")) else None
    return kind.from_pretrained(folder, use_safetensors=True, dtype=precision(device()), variant=variant, local_files_only=True)


def _load_unet(folder: Path, weights: Path) -> UNet2DConditionModel:
    unet = UNet2DConditionModel.from_config(UNet2DConditionModel.load_config(folder)).to(precision(device()))
    unet.load_state_dict(load_file(weights))
    return unet.eval()


def opened(name: str, opener: Callable[[], Any]) -> Any:
    """What the opener gives; what it raises becomes one line."""
    for library in (diffusers, transformers):  # what people should know is told in notes and errors
        library.utils.logging.disable_progress_bar()
        library.utils.logging.set_verbosity_error()
    try:
        return opener()
    except (OSError, SafetensorError, LookupError, AttributeError, TypeError, ArithmeticError, RuntimeError, ValueError) as error:
        reason = " ".join(str(error).split())[:200]
        raise ValueError(f"{name}: not a model that opens ({type(error).__name__}: {reason}); copy or fetch it again") from error


def _check_task(pipe: DiffusionPipeline, task: str, name: str) -> None:
    """An editing U-Net takes noise and photo side by side, twice the channels of a painting one."""
    sides = pipe.unet.config.in_channels / pipe.vae.config.latent_channels
    if sides != (2 if task == "edit" else 1):
        kinds = {1: "a model to paint with", 2: "a model to edit with"}
        raise ValueError(f"{name}: wanted a model to {task} with, found {kinds.get(sides, 'one of another kind')}; choose another")


def _count_parameters(folder: Path) -> int:
    """How many numbers the weights in a folder have, by one variant of them."""
    files = sorted(folder.glob("*.fp16*.safetensors")) or [file for file in folder.glob("*.safetensors") if "non_ema" not in file.name]
    total = 0
    for file in files:
        try:
            with safe_open(file, "pt") as weights:
                total += sum(math.prod(weights.get_slice(key).get_shape()) for key in weights.keys())  # noqa: SIM118
        except (OSError, SafetensorError) as error:
            raise ValueError(f"{file}: its weights are broken ({error}); copy or fetch the model again") from error
    return total
