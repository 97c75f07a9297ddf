"""Weights to start from: a TRIP checkpoint, or a text-to-video pipeline of the ModelScope family (Sec. 4.1 builds on one).

Of a text-to-video pipeline everything is taken: autoencoder, text encoder, and the 3D-UNet, whose keys are ours. The fusion is new.
The noise schedule is the preset's, or the pipeline's own. The same step number means another amount of noise on each, so on the preset's
the 3D-UNet is told the step of its own schedule at which as much signal is left, or, if asked for, the plain number. A TRIP checkpoint
goes on with the schedule that it has.
"""

import json
import re
from collections.abc import Iterable
from dataclasses import dataclass
from functools import reduce
from pathlib import Path
from typing import Any, Literal

import torch
from diffusers import AutoencoderKL, UNet3DConditionModel
from huggingface_hub import snapshot_download
from huggingface_hub.errors import HfHubHTTPError, HFValidationError, LocalEntryNotFoundError
from torch import Tensor
from transformers import CLIPTextModel, CLIPTokenizer

from trip.checkpoint import weights_of
from trip.diffusion import alphas_bar
from trip.model.build import build_fusion, build_unet
from trip.model.denoiser import Denoiser
from trip.model.unet import TripUNet
from trip.model.weights import check_finite
from trip.pipeline import TripPipeline
from trip.settings import ModelSettings
from trip.settings.model import ScheduleSettings

NEEDED = ("*.json", "*.txt", "*.safetensors", "README.md")
BETAS = ("beta_schedule", "beta_start", "beta_end", "num_train_timesteps")  # what makes a noise schedule, in a scheduler's words
ADDED = ("frame_time_embedding.", "warp.", "photo_in.", "added_embedding.")  # parts of our 3D-UNet that no base has; zero at first


@dataclass(frozen=True)
class Base:
    """A folder of weights to start from.

    name     as it was given: a hub id, or a folder's name
    licence  as the weights' card states it
    model    the preset's settings with what these weights decide: sizes, schedule, what the 3D-UNet predicts
    """

    name: str
    folder: Path
    licence: str
    is_trip: bool
    model: ModelSettings

    @property
    def clamped_share(self) -> float:
        """Share of the time steps that are noisier than all that the 3D-UNet was trained on: it is told its last one for each."""
        if not (learnt_on := self.model.unet.base_schedule):
            return 0.0
        schedule = self.model.schedule
        own = alphas_bar(schedule.kind, schedule.beta_start, schedule.beta_end, schedule.num_train_steps)
        return (own < alphas_bar(*learnt_on)[-1]).float().mean().item()

    def frozen_parts(self, *, text: bool = True) -> tuple[AutoencoderKL, CLIPTextModel | None, CLIPTokenizer]:
        """Autoencoder, text encoder (none where it is not wanted) and tokenizer, as they are."""
        vae = AutoencoderKL.from_pretrained(self.folder, torch_dtype=torch.float32, **weights_of(self.folder, "vae"))
        encoder = None
        if text:
            encoder = CLIPTextModel.from_pretrained(self.folder, dtype=torch.float32, **weights_of(self.folder, "text_encoder"))
            encoder.eval().requires_grad_(False)
        check_finite(self.name, vae, *filter(None, [encoder]))
        return vae.eval().requires_grad_(False), encoder, CLIPTokenizer.from_pretrained(self.folder, subfolder="tokenizer")

    def denoiser(self) -> Denoiser:
        """3D-UNet and fusion as the training starts; ValueError where the weights do not fit."""
        denoiser = Denoiser(build_unet(self.model), build_fusion(self.model))
        try:
            if self.is_trip:
                take_trip(denoiser, self.folder)
            else:
                self._take_unet(denoiser)
        except RuntimeError as error:
            raise ValueError(f"{self.name}: wanted weights of this preset's sizes, got others; choose its preset") from error
        check_finite(self.name, denoiser)
        return denoiser

    def _take_unet(self, denoiser: Denoiser) -> None:
        given = UNet3DConditionModel.from_pretrained(self.folder, torch_dtype=torch.float32, **weights_of(self.folder, "unet"))
        if take_unet(denoiser.unet, given.state_dict()):
            raise RuntimeError("other layers")


def take_unet(unet: TripUNet, state: dict[str, Tensor]) -> list[str]:
    """Gives a 3D-UNet the weights of one that knows no photo; the names of those that it lacks or has besides, but for what ours adds.

    Where the photo comes in the channels, what the other did not know counts nothing at first.
    """
    wanted, entry = unet.conv_in.weight, state["conv_in.weight"]
    if wanted.shape[1] > entry.shape[1]:
        more = wanted.new_zeros(wanted.shape[0], wanted.shape[1] - entry.shape[1], *wanted.shape[2:])
        state = state | {"conv_in.weight": torch.cat([entry, more], dim=1)}
    missing, unexpected = unet.load_state_dict(state, strict=False)
    return unexpected + [name for name in missing if not name.startswith(ADDED)]


def open_base(name: str | Path, model: ModelSettings, *, schedule: Literal["preset", "plain", "base"] | None = None) -> Base:
    """Finds weights in a folder or on the hub, and says what they are; ValueError, in one line, where there are none that fit.

    schedule  of a text-to-video pipeline: the preset's with time steps matched by SNR (also where none is given) or with plain
              ones, or the pipeline's own
    """
    folder = _folder(str(name))
    index = folder / "model_index.json"
    if not index.is_file():
        raise ValueError(f"{name}: wanted a pipeline folder with a model_index.json, found none; give what save_pretrained wrote")
    kind = json.loads(index.read_text())["_class_name"]
    kind = kind[-1] if isinstance(kind, list) else kind  # a class that comes with its file
    if kind not in ("TripPipeline", "TextToVideoSDPipeline"):
        raise ValueError(f"{name}: wanted a TripPipeline or a TextToVideoSDPipeline, got a {kind}; choose other weights")
    if not list(folder.glob("unet/*.safetensors")):
        raise ValueError(f"{name}: wanted safetensors, found none in its unet folder; convert the weights first")
    is_trip = kind == "TripPipeline"
    label = str(name) if not Path(name).exists() else folder.resolve().name
    if is_trip and schedule is not None:
        raise ValueError("--schedule: wanted a text-to-video pipeline, got a TRIP checkpoint, which keeps its own; leave it out")
    fitted = continued(folder, model) if is_trip else _fitted(folder, model, schedule or "preset")
    return Base(label, folder, licence_of(folder), is_trip, fitted)


def licence_of(folder: Path) -> str:
    """The licence that a folder's card states."""
    card = folder / "README.md"
    head = re.match(r"---\n(.*?)\n---", card.read_text(errors="replace"), re.DOTALL) if card.exists() else None
    licence = re.search(r"^license(?:_name)?:\s*(\S.*)$", head.group(1), re.MULTILINE) if head else None
    return licence.group(1).strip("'\" ") if licence else "not stated"


def _folder(name: str) -> Path:
    if Path(name).is_dir() or name.startswith((".", "/")) or name.count("/") != 1:
        if not Path(name).is_dir():
            raise ValueError(f"{name}: wanted a folder of weights or a hub id, found nothing there; check the path")
        return Path(name)
    try:
        return Path(snapshot_download(name, allow_patterns=list(NEEDED), ignore_patterns=["*.fp16.*"]))
    except (HfHubHTTPError, HFValidationError, LocalEntryNotFoundError, OSError) as error:
        reason = " ".join(str(error).split())[:200]
        raise ValueError(f"{name}: wanted weights on the hub that can be downloaded ({reason}); check name and network") from error


def take_trip(denoiser: Denoiser, folder: Path) -> None:
    """Gives a denoiser the 3D-UNet and the fusion of a TRIP checkpoint; RuntimeError where they are of other sizes.

    A checkpoint that leaves nothing of the scene to chance begins to: its waves are none at first.
    """
    given = TripPipeline.from_pretrained(folder, use_safetensors=True, dtype=torch.float32)
    missing, unexpected = denoiser.unet.load_state_dict(given.unet.state_dict(), strict=False)
    if unexpected or [name for name in missing if not name.startswith("warp.waves.")]:
        raise RuntimeError("other layers")
    denoiser.fusion.load_state_dict(given.fusion.state_dict())


def check_kept(names: Iterable[str], wanted: ModelSettings, model: ModelSettings, source: str) -> None:
    """ValueError, in one line, where weights decide otherwise than a setting that somebody chose, such as `schedule.kind`."""
    for name in names:
        asked, has = (reduce(getattr, name.split("."), one) for one in (wanted, model))
        if asked != has:
            raise ValueError(f"model.{name}: wanted {asked}, but the weights of {source} go with {has}; leave it out")


def continued(folder: Path, model: ModelSettings) -> ModelSettings:
    """A model with the noise schedule of a TRIP checkpoint, which is the only one that its networks know."""
    scheduler, unet = _config(folder, "scheduler"), _config(folder, "unet")
    learnt_on = unet.get("base_schedule")
    schedule = ScheduleSettings(
        **dict(zip(("kind", "beta_start", "beta_end", "num_train_steps"), (scheduler[name] for name in BETAS), strict=True)),
        spacing=scheduler["timestep_spacing"],
        unet_predicts=unet["predicts"],
    )
    unet = model.unet.model_copy(update={"base_schedule": learnt_on and tuple(learnt_on)})
    return model.model_copy(update={"schedule": schedule, "unet": unet})


def _fitted(folder: Path, model: ModelSettings, schedule: str) -> ModelSettings:
    """The preset with the sizes of a text-to-video pipeline, and the schedule that was chosen."""
    unet, vae, text = (_config(folder, part) for part in ("unet", "vae", "text_encoder"))
    given = _config(folder, "scheduler")
    if given.get("rescale_betas_zero_snr"):
        raise ValueError(f"{folder.name}: wanted a noise schedule that leaves some signal, got one rescaled to none; choose other weights")
    betas = tuple(given[name] for name in BETAS)
    predicts = given.get("prediction_type", "epsilon")
    if schedule == "base":
        noise = ScheduleSettings(
            **dict(zip(("kind", "beta_start", "beta_end", "num_train_steps"), betas, strict=True)),
            spacing=given.get("timestep_spacing", "leading"),
            unet_predicts=predicts,
        )
    else:
        noise = model.schedule.model_copy(update={"unet_predicts": predicts})
    return model.model_copy(
        update={
            "schedule": noise,
            "unet": model.unet.model_copy(
                update={
                    "block_channels": tuple(unet["block_out_channels"]),
                    "layers_per_block": unet["layers_per_block"],
                    "head_width": unet["attention_head_dim"],
                    "norm_groups": unet["norm_num_groups"],
                    "entry_heads": 8,  # what the base class has
                    "base_schedule": betas if schedule == "preset" else None,
                }
            ),
            "vae": model.vae.model_copy(
                update={
                    "block_channels": tuple(vae["block_out_channels"]),
                    "layers_per_block": vae["layers_per_block"],
                    "latent_channels": vae["latent_channels"],
                    "middle_attention": vae.get("mid_block_add_attention", True),
                    "norm_groups": vae["norm_num_groups"],
                }
            ),
            "text": model.text.model_copy(
                update={
                    "width": text["hidden_size"],
                    "layers": text["num_hidden_layers"],
                    "heads": text["num_attention_heads"],
                    "hidden_width": text["intermediate_size"],
                    "max_tokens": text["max_position_embeddings"],
                    "vocabulary": text["vocab_size"],
                }
            ),
        }
    )


def _config(folder: Path, part: str) -> dict[str, Any]:
    name = "scheduler_config.json" if part == "scheduler" else "config.json"
    try:
        return json.loads((folder / part / name).read_text())
    except (OSError, ValueError) as error:
        raise ValueError(f"{folder.name}: wanted {part}/{name}, found none that reads; copy or download it again") from error
