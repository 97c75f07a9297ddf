"""`python -m trip train --dry-run`: what a training takes, before anything is trained.

Operations and memory are computed (see `cost.py`); seconds come from a run that was measured, or from a stated assumption.
"""

import json
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Any

from trip.settings import ModelSettings, Preset
from trip.training.cost import cost_of_a_clip, encoding_flops, latent_side

ASSUMED_TFLOPS = 125.0  # a GPU of 312 TFLOP/s (A100, A800: bfloat16, dense) kept 40 % busy
WEBVID_CLIPS = 10_700_000  # Sec. 4.1
SKIPPED_STEPS = 10  # at the start of a run, while kernels are chosen and caches fill


@dataclass(frozen=True)
class Hardware:
    """What a plan assumes: processes with a GPU each, and what one of them computes in a second."""

    num_processes: int = 1
    tflops: float = ASSUMED_TFLOPS
    is_assumed: bool = True


def plan(preset: Preset, hardware: Hardware, *, num_clips: int = WEBVID_CLIPS, run: Path | None = None) -> dict[str, Any]:
    """Operations, clips, days, memory and storage of a training; numbers with their units in the names."""
    model, recipe, stage = preset.model, preset.recipe, preset.recipe.denoiser
    frames = stage.num_frames or model.num_frames
    costs = {
        checkpointing: cost_of_a_clip(model, precision=recipe.precision, checkpointing=checkpointing, num_frames=frames)
        for checkpointing in (False, True)
    }
    cost = costs[recipe.gradient_checkpointing]
    clips_a_step = stage.batch_size * stage.accumulation * hardware.num_processes
    assumed = cost.training_flops * stage.batch_size * stage.accumulation / (hardware.tflops * 1e12)
    measured = measured_seconds(run) if run else None
    seconds = measured or assumed
    days = stage.max_steps * seconds / 86_400
    encoding = encoding_flops(model) * num_clips / (hardware.tflops * 1e12) / 86_400
    return {
        "model": {
            "weights_million": round(cost.weights / 1e6, 1),
            "variant": model.variant,
            "frames": frames,
            "size_pixels": model.frame_size,
        },
        "clip": {"forward_tflop": _short(cost.forward_flops / 1e12), "training_tflop": _short(cost.training_flops / 1e12)},
        "training": {
            "steps": stage.max_steps,
            "clips_a_step": clips_a_step,
            "clips_seen": stage.max_steps * clips_a_step,
            "epochs": _short(stage.max_steps * clips_a_step / num_clips),
            "exaflop": _short(stage.max_steps * clips_a_step * cost.training_flops / 1e18),
            "seconds_a_step": _short(seconds),
            "seconds_are": _source(run, measured, hardware),
            "processes": hardware.num_processes,
            "days": _short(days),
            "gpu_days": _short(days * hardware.num_processes),
        },
        "memory_gib_a_process": {
            "is": "computed on meta tensors, one process holding everything; a real allocator takes more",
            **{
                f"{'with' if checkpointing else 'without'}_checkpointing": {
                    "of_one_clip": _gib(one.memory),
                    "of_a_batch": _gib(one.memory + (stage.batch_size - 1) * one.activations),
                }
                for checkpointing, one in costs.items()
            },
        },
        "cache": {
            "clips": num_clips,
            "latents_tb": _short(num_clips * latent_bytes(model) / 1e12),
            "text_tb": _short(num_clips * text_bytes(model) / 1e12),
            "encoding_gpu_days": _short(encoding),
            "encoding_is": "the autoencoder's operations at the same rate; decoding of the files comes on top",
        },
    }


def latent_bytes(model: ModelSettings) -> int:
    """Of one cached clip, half precision."""
    return 2 * model.vae.latent_channels * model.num_frames * latent_side(model) ** 2


def text_bytes(model: ModelSettings) -> int:
    """Of one cached caption, half precision: a vector a token, and one for the sentence."""
    return 2 * (model.text.max_tokens + 1) * model.text.width


def measured_seconds(run: Path) -> float | None:
    """Median seconds of a step of a run's denoiser; none where too few were measured."""
    path = run / "metrics.jsonl"
    if not path.exists():
        return None
    records = [json.loads(line) for line in path.read_text().splitlines() if line.endswith("}")]
    seconds = [record["seconds"] for record in records if record["stage"] == "denoiser" and "seconds" in record]
    return median(seconds[SKIPPED_STEPS:]) if len(seconds) > 2 * SKIPPED_STEPS else None


def _source(run: Path | None, measured: float | None, hardware: Hardware) -> str:
    if measured:
        return f"measured: median of the steps in {run.name}/metrics.jsonl"
    if hardware.is_assumed:
        return f"assumed: {hardware.tflops:g} TFLOP/s a GPU, 40 % of the 312 that an A100 or A800 can do in bfloat16"
    return f"given: {hardware.tflops:g} TFLOP/s a GPU"


def _short(value: float) -> float:
    return float(f"{value:.3g}")


def _gib(num_bytes: float) -> float:
    return round(num_bytes / 2**30, 1)
