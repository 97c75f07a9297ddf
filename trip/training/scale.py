"""`python -m trip train --cache CACHE --init BASE`: 3D-UNet and fusion on a filmed data set, on one process or many (Sec. 4.1).

RUN/settings.json   what the run belongs to: model, seed, base with its licence, data
RUN/metrics.jsonl   a line per step
RUN/denoiser        samples and checkpoints
RUN/model           the pipeline folder that `trip animate --model RUN/model` opens
"""

import json
import logging
import math
import time
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import torch
from accelerate import Accelerator
from accelerate.utils import DistributedType
from safetensors.torch import load_file
from torch.distributed.fsdp import MixedPrecisionPolicy

from trip.data.cache import digest
from trip.data.shards import EncodedDataSet
from trip.model.build import build_scheduler
from trip.model.denoiser import Denoiser
from trip.settings import Preset
from trip.training import checkpoint
from trip.training.encode import WindowSettings, latent_encoder, window_reader
from trip.training.folder import remember_settings, write_model
from trip.training.loop import train
from trip.training.stages.denoiser import DenoiserStage
from trip.training.uncached import FilmedClips
from trip.training.warm_start import Base

logger = logging.getLogger(__name__)

TRACKERS = {"tensorboard": "tensorboard", "trackio": "trackio"}  # name -> package


class ScaleRun:
    """One run folder, an encoded data set (or one to be encoded on the way), and the weights it starts from.

    cache, data  CACHE of `trip encode`, with train and validation in it; or the folder of a data set, and its layout
    log_with     tensorboard or trackio, beside RUN/metrics.jsonl
    Raises ValueError, in one line, for what cannot be.
    """

    def __init__(
        self,
        preset: Preset,
        folder: Path,
        base: Base,
        *,
        cache: Path | None = None,
        data: Path | None = None,
        layout: str = "auto",
        seed: int = 0,
        max_minutes: float = math.inf,
        log_with: str | None = None,
    ):
        if not 0 <= seed < 2**31:
            raise ValueError(f"wanted a seed from 0 to 2147483647, got {seed}")
        if log_with and not find_spec(TRACKERS[log_with]):
            raise ValueError(f"--log-with {log_with} needs a package that is not installed; run: pip install {TRACKERS[log_with]}")
        self.deadline = time.monotonic() + 60 * max_minutes
        self.preset, self.folder, self.base, self.seed = preset, folder, base, seed
        self.settings = preset.recipe.denoiser
        self.accelerator = accelerator_for(preset, folder, log_with)
        self.vae, self.text_encoder, self.tokenizer = base.frozen_parts()
        self.vae.to(self.accelerator.device)
        self.clips, self.held_out = self._cached(cache) if cache else self._uncached(data, layout)
        self._remember(cache or data)

    def _cached(self, cache: Path) -> tuple[EncodedDataSet, EncodedDataSet]:
        if not (cache / "train").is_dir() or not (cache / "validation").is_dir():
            raise ValueError(f"{cache}: wanted a cache with the folders train and validation; run python -m trip encode first")
        both = EncodedDataSet(cache / "train"), EncodedDataSet(cache / "validation")
        model = self.base.model
        wanted = {"vae": digest(self.vae.state_dict()), "num_frames": model.num_frames, "fps": model.fps, "size": model.frame_size}
        for clips in both:
            if clips.unsaid and "text" not in wanted:
                wanted["text"] = digest(self.text_encoder.state_dict())
            for name, value in wanted.items():
                if clips.key[name] != value:
                    raise ValueError(f"{clips.folder}: wanted clips encoded with {name} {value}, got {clips.key[name]}; encode them so")
        return both

    def _uncached(self, data: Path, layout: str) -> tuple[FilmedClips, FilmedClips]:
        model = self.base.model
        window = WindowSettings(model.num_frames, model.fps, model.frame_size, seed=self.seed)
        how = {"num_frames": model.num_frames, "read": window_reader(window), "encode": latent_encoder(self.vae)}
        return FilmedClips(data, "train", layout=layout, **how), FilmedClips(data, "validation", layout=layout, **how)

    def _remember(self, data: Path) -> None:
        global_batch = self.settings.batch_size * self.settings.accumulation * self.accelerator.num_processes
        settings = {
            "model": self.base.model.model_dump(mode="json"),
            "seed": self.seed,
            "base": {"name": self.base.name, "licence": self.base.licence},
            "data": {"name": data.name, "clips": len(self.clips), "digest": getattr(self.clips, "digest", None)},
            "recipe": self.preset.recipe.model_dump(mode="json"),
            "global_batch": global_batch,
        }
        fixed = ("model", "seed", "base", "data")
        known = remember_settings(self.folder, settings, fixed, writes=self.accelerator.is_main_process)
        if known["global_batch"] != global_batch:
            logger.warning(
                "%s: a step was %d clips and is %d now, so the run does not go on as if it had never stopped; "
                "change --batch-size or --accumulation with the number of processes",
                self.folder,
                known["global_batch"],
                global_batch,
            )

    def stages(self) -> Iterator[dict[str, Any]]:
        """Trains, one record a step, and writes the pipeline folder when the last step is done."""
        torch.manual_seed(self.seed)
        denoiser = self._denoiser()
        if self.preset.recipe.gradient_checkpointing:
            denoiser.unet.enable_gradient_checkpointing()
        has_text = bool(self.clips.unsaid and self.held_out.unsaid)
        if not has_text:
            self.text_encoder.to(self.accelerator.device)
        stage = DenoiserStage(
            "denoiser",
            denoiser,
            self.clips,
            self.held_out,
            self.settings,
            vae=self.vae,
            text_encoder=None if has_text else self.text_encoder,
            tokenizer=self.tokenizer,
            scheduler=build_scheduler(self.base.model),
            recipe=self.preset.recipe,
            seed=self.seed,
            fps=self.base.model.fps,
        )
        step = yield from train(
            stage,
            self.settings,
            self.folder / stage.name,
            self.folder / "metrics.jsonl",
            seed=self.seed,
            accelerator=self.accelerator,
            deadline=self.deadline,
            evaluate=stage.evaluate,
        )
        if step >= self.settings.max_steps and self.accelerator.is_main_process:
            self.write_model()
        self.accelerator.wait_for_everyone()  # a process that ends earlier looks for a model that is being written
        self.accelerator.end_training()

    def _denoiser(self) -> Denoiser:
        """As the training starts, with what it trains."""
        denoiser = self.base.denoiser()
        if self.base.model.unet.scene_frequencies:
            denoiser.unet.warp.waves.requires_grad_(False)  # films do not tell their true motion: what is known of waves stays
        return denoiser

    def write_model(self) -> None:
        """Writes RUN/model from the newest checkpoint's averaged weights, which are whole however many processes trained them."""
        denoiser = self._denoiser()
        trained = {name for name, weight in denoiser.named_parameters() if weight.requires_grad}
        fixed = {name: value for name, value in denoiser.state_dict().items() if name not in trained}
        denoiser.load_state_dict(fixed | load_file(checkpoint.completed(self.folder / "denoiser")[-1] / checkpoint.AVERAGE))
        origin = f"Started from weights of {self.base.name}, whose licence is: {self.base.licence}."
        write_model(
            self.folder / "model",
            self.base.model,
            self.vae.cpu(),
            self.text_encoder.cpu(),
            self.tokenizer,
            denoiser,
            build_scheduler(self.base.model),
            card=f"{self.preset.card} {origin}".strip(),
            max_shard_size="5GB",
        )
        recipe = json.dumps(self.preset.recipe.model_dump(mode="json"), indent=1)
        (self.folder / "model" / "README.md").write_text(
            f"---\nlicense: {self.base.licence}\nbase_model: {self.base.name}\npipeline_tag: image-to-video\n---\n\n{origin}\n\n"
            f"Trained by `python -m trip train`; settings:\n\n```json\n{recipe}\n```\n"
        )


def accelerator_for(preset: Preset, folder: Path, log_with: str | None = None) -> Accelerator:
    """Accelerate as the launcher set it up, with what our model needs of it."""
    accelerator = Accelerator(mixed_precision=preset.recipe.precision, log_with=log_with, project_dir=str(folder))
    if accelerator.is_fsdp2 and preset.recipe.precision == "bf16":
        # inputs stay float32: the prior is a difference on the scale of 1 / sqrt(SNR), which bfloat16 would drown
        policy = MixedPrecisionPolicy(param_dtype=torch.bfloat16, reduce_dtype=torch.float32, cast_forward_inputs=False)
        accelerator.state.fsdp_plugin.mixed_precision_policy = policy
    if accelerator.distributed_type == DistributedType.DEEPSPEED:
        stage = preset.recipe.denoiser  # DeepSpeed wants to know them before it sees the data
        accelerator.state.deepspeed_plugin.deepspeed_config |= {
            "train_micro_batch_size_per_gpu": stage.batch_size,
            "gradient_accumulation_steps": stage.accumulation,
        }
    if log_with:
        accelerator.init_trackers("trip", init_kwargs={})
    return accelerator
