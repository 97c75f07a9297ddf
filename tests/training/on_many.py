"""Trains the tiny denoiser from a prepared cache, as one of the processes that `accelerate launch` started.

on_many.py CACHE FOLDER: first with a copy of the model in each process, in FOLDER/copied; then one that only the second process is to end,
in FOLDER/late; then split over them (FSDP2), in FOLDER/split.
Accelerate itself splits on accelerators alone, so that its state is told here what it would have found there.
"""

import math
import os
import signal
import sys
from pathlib import Path

import torch
from accelerate import Accelerator
from accelerate.state import AcceleratorState, PartialState
from accelerate.utils import DistributedType, FullyShardedDataParallelPlugin
from torch.distributed.fsdp import MixedPrecisionPolicy

from trip.data.cache import LatentCache
from trip.model.build import build_fusion, build_scheduler, build_text_encoder, build_unet, build_vae
from trip.model.denoiser import Denoiser
from trip.model.text import train_tokenizer
from trip.settings import PRESETS, StageSettings
from trip.training.loop import train
from trip.training.stages.denoiser import DenoiserStage


def stage_in(cache: LatentCache, settings: StageSettings) -> DenoiserStage:
    """The tiny model without dropout, whose masks would depend on the processes."""
    tiny = PRESETS["tiny"].model
    tiny = tiny.model_copy(update={"unet": tiny.unet.model_copy(update={"temporal_dropout": 0.0})})
    torch.manual_seed(0)
    tokenizer = train_tokenizer(["the camera pans"], vocabulary=600, max_tokens=tiny.text.max_tokens)
    return DenoiserStage(
        "denoiser",
        Denoiser(build_unet(tiny), build_fusion(tiny)),
        cache,
        cache,
        settings,
        vae=build_vae(tiny),
        text_encoder=build_text_encoder(tiny, len(tokenizer)).eval().requires_grad_(False),
        tokenizer=tokenizer,
        scheduler=build_scheduler(tiny),
        recipe=PRESETS["tiny"].recipe,
        seed=0,
    )


def accelerator_for(sharded: bool) -> Accelerator:
    accelerator = Accelerator(cpu=True)
    if sharded:
        plugin = FullyShardedDataParallelPlugin(
            fsdp_version=2,
            auto_wrap_policy="transformer_based_wrap",
            transformer_cls_names_to_wrap=["CrossAttnDownBlock3D", "UNetMidBlock3DCrossAttn", "CrossAttnUpBlock3D", "NoiseFusion"],
            cpu_ram_efficient_loading=False,
            state_dict_type="SHARDED_STATE_DICT",
        )
        plugin.mixed_precision_policy = MixedPrecisionPolicy()
        AcceleratorState._shared_state["fsdp_plugin"] = plugin
        for state in (PartialState._shared_state, AcceleratorState._shared_state):
            state["distributed_type"] = DistributedType.FSDP
    return accelerator


def train_to(
    max_steps: int,
    cache: Path,
    run: Path,
    *,
    batch_size: int,
    accumulation: int = 1,
    sharded: bool = False,
    die_at: int | None = None,
    deadline: float = math.inf,
) -> None:
    """Trains up to a step, from the newest checkpoint on, and writes the weights; kills its own process at a step where one is given."""
    settings = StageSettings(
        max_steps=max_steps,
        batch_size=batch_size,
        accumulation=accumulation,
        learning_rate=1e-3,
        ema_decay=0.9,
        save_every=2,
        sample_every=4,
        keep=3,
    )
    stage, accelerator = stage_in(LatentCache(cache), settings), accelerator_for(sharded)
    told = {"seed": 0, "accelerator": accelerator, "evaluate": stage.evaluate, "deadline": deadline}
    for record in train(stage, settings, run, run / "metrics.jsonl", **told):
        if record["step"] == die_at:
            os.kill(os.getpid(), signal.SIGKILL)
    whole = {name: getattr(p, "full_tensor", lambda p=p: p)().detach() for name, p in stage.model.named_parameters()}
    if accelerator.is_main_process:
        torch.save(whole, run / "weights.pt")


def main() -> None:
    cache, folder = map(Path, sys.argv[1:])
    for kind in ("copied", "late", "split"):
        deadline = 0.0 if kind == "late" and PartialState().process_index == 1 else math.inf
        for max_steps in (2, 4):
            train_to(max_steps, cache, folder / kind, batch_size=2, sharded=kind == "split", deadline=deadline)
    PartialState().destroy_process_group()


if __name__ == "__main__":
    main()
