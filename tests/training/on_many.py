"""Trains the tiny denoiser from a prepared cache, as one of the processes that `accelerate launch` started.

on_many.py CACHE RUN --batch-size N [--accumulation N] [--steps N …] [--sharded] [--die-at STEP …]

--steps     trains up to each of them, opened again in between

--sharded splits weights, gradients and optimizer over the processes (FSDP2). Accelerate itself offers that on accelerators alone,
so that its state is told here what it would have found there.
"""

import argparse
import os
import signal
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
from trip.training.denoiser import DenoiserStage
from trip.training.loop import train


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


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("cache", type=Path)
    parser.add_argument("run", type=Path)
    parser.add_argument("--batch-size", type=int, required=True)
    parser.add_argument("--accumulation", type=int, default=1)
    parser.add_argument("--steps", type=int, nargs="*", default=[6])
    parser.add_argument("--sharded", action="store_true")
    parser.add_argument("--die-at", type=int, nargs="*", default=[])
    options = parser.parse_args()
    settings = StageSettings(
        max_steps=max(options.steps),
        batch_size=options.batch_size,
        accumulation=options.accumulation,
        learning_rate=1e-3,
        ema_decay=0.9,
        save_every=2,
        sample_every=4,
        keep=3,
    )
    for max_steps in options.steps:
        settings = settings.model_copy(update={"max_steps": max_steps})
        stage, accelerator = stage_in(LatentCache(options.cache), settings), accelerator_for(options.sharded)
        metrics = options.run / "metrics.jsonl"
        for record in train(stage, settings, options.run, metrics, seed=0, accelerator=accelerator, evaluate=stage.evaluate):
            if record["step"] in options.die_at:
                os.kill(os.getpid(), signal.SIGKILL)
    whole = {name: getattr(p, "full_tensor", lambda p=p: p)().detach() for name, p in stage.model.named_parameters()}
    if accelerator.is_main_process:
        torch.save(whole, options.run / "weights.pt")
    accelerator.end_training()


if __name__ == "__main__":
    main()
