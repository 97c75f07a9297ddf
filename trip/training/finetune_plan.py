"""What a fine-tune would take on this machine: measured on its first steps, of which nothing is kept."""

import os
import resource
import shutil
import time
from dataclasses import dataclass
from pathlib import Path

import torch

from trip.settings import FinetuneSettings
from trip.training.clips_stage import ClipsStage
from trip.training.loop import step_generator

PROBES = 2  # timed steps, after one that warms up
KEPT_CHECKPOINTS = 2
MEGABYTE = 2**20
SPARE_SHARE = 0.1  # of the memory in use at most, that should be free besides
NUMBERS_EACH = 3  # kept of a weight that learns, beside itself: two moments of AdamW and the average


@dataclass(frozen=True)
class Plan:
    """Figures for people.

    num_trained         weights that learn
    seconds_per_step    measured
    seconds_per_sample  measured: held-out figures and samples, once every `sample_every` steps
    minutes             of all steps and samples, or as many as were asked for
    num_steps           that fit into those minutes
    memory_mb           most in use so far, by this process or on its accelerator
    disk_mb             of checkpoints and result
    free_disk_mb        where the run folder lies
    fits                whether so much memory was free besides
    """

    num_trained: int
    seconds_per_step: float
    seconds_per_sample: float
    minutes: float
    num_steps: int
    memory_mb: int
    disk_mb: int
    free_disk_mb: int
    fits: bool


def measured_plan(stage: ClipsStage, settings: FinetuneSettings, folder: Path) -> Plan:
    """Runs a few steps forwards and backwards, and one measurement; the weights stay as they are."""
    device = stage.pipe.device
    moments = []
    for step in range(1 + PROBES):
        with torch.autocast(device.type, torch.bfloat16):
            loss, _ = stage.loss(stage.model, stage.batch(step, 0, 1), step_generator(0, step, 0))
        loss.backward()
        stage.model.zero_grad(set_to_none=True)
        moments.append(time.monotonic())
    per_step = (moments[-1] - moments[0]) / PROBES
    with torch.autocast(device.type, torch.bfloat16):
        stage.evaluate()
    stage.animated()
    per_sample = time.monotonic() - moments[-1]

    per_step_in_all = per_step + per_sample / settings.sample_every
    seconds = settings.max_steps * per_step_in_all
    limit = 60 * settings.max_minutes if settings.max_minutes else seconds
    trained = sum(p.numel() for p in stage.model.parameters() if p.requires_grad)
    whole = sum(p.nbytes for p in stage.model.parameters())
    return Plan(
        num_trained=trained,
        seconds_per_step=round(per_step, 3),
        seconds_per_sample=round(per_sample, 2),
        minutes=round(min(seconds, limit) / 60, 2),
        num_steps=min(settings.max_steps, int(limit / per_step_in_all)),
        memory_mb=_peak_bytes(device) // MEGABYTE,
        disk_mb=(KEPT_CHECKPOINTS + 1) * (whole + 4 * NUMBERS_EACH * trained) // MEGABYTE,
        free_disk_mb=shutil.disk_usage(folder).free // MEGABYTE,
        fits=_free_bytes(device) > SPARE_SHARE * _peak_bytes(device),
    )


def _peak_bytes(device: torch.device) -> int:
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device)
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


def _free_bytes(device: torch.device) -> int:
    """Memory that is left while the training holds its own."""
    if device.type == "cuda":
        return torch.cuda.mem_get_info(device)[0]
    return os.sysconf("SC_AVPHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
