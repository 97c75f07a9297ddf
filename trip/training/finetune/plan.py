"""What a fine-tune would take on this machine: measured on some steps, of which nothing is kept."""

import shutil
import time
from collections.abc import Callable
from dataclasses import dataclass
from math import ceil
from pathlib import Path

import torch

from trip.settings import FinetuneSettings
from trip.system.memory import available_memory, peak_memory, reset_peak_memory
from trip.training.finetune.stage import ClipsStage
from trip.training.loop import step_generator

ProgressCallback = Callable[[float, str], None]
PROBES = 2  # timed steps, after one that warms up
KEPT_CHECKPOINTS = 2
MEGABYTE = 2**20
SPARE_SHARE = 0.1  # of what is needed, that should be free besides
NUMBERS_EACH = 3  # kept of a weight that learns, beside itself: two moments of AdamW and the average


@dataclass(frozen=True)
class Plan:
    """Figures for people.

    num_trained         weights that learn
    seconds_per_step    measured
    seconds_per_sample  measured: held-out figures and samples, once every `sample_every` steps
    minutes             of encoding the clips, all steps and samples, or as many steps as fit into the minutes that were asked for
    num_steps           that fit into those minutes
    memory_mb           measured in some steps, with what the optimizer will keep
    free_memory_mb      that this machine, or its accelerator, has for it
    disk_mb             of checkpoints and result
    free_disk_mb        where the run folder lies
    fits                whether there is so much memory
    advice              name of a preset that takes less and fits, where this does not
    """

    num_trained: int
    seconds_per_step: float
    seconds_per_sample: float
    minutes: float
    num_steps: int
    memory_mb: int
    free_memory_mb: int
    disk_mb: int
    free_disk_mb: int
    fits: bool
    advice: str | None = None


@dataclass(frozen=True)
class Memory:
    """Megabytes that a training needs, and those that it can have."""

    needed_mb: int
    free_mb: int

    @property
    def fits(self) -> bool:
        """Whether there is room, and some to spare."""
        return self.free_mb > (1 + SPARE_SHARE) * self.needed_mb


def measure_plan(
    stage: ClipsStage, settings: FinetuneSettings, folder: Path, encoding: float, num_held_out: int, on_progress: ProgressCallback
) -> Plan:
    """Runs a few steps forwards and backwards, and one measurement; the weights stay as they are.

    stage         with some clips
    encoding      seconds that all of them will take to encode
    num_held_out  of them that are measured each time
    on_progress   told the share done of a plan, whose clips are encoded, and what comes next
    """
    device = stage.pipe.device
    on_progress(0.2, "Trying a step")
    memory, moments = measure_memory(stage), [time.monotonic()]
    for step in range(PROBES):
        on_progress(0.4 + 0.2 * step / PROBES, "Timing steps")
        _step(stage, step)
        moments.append(time.monotonic())
    per_step = (moments[-1] - moments[0]) / PROBES
    on_progress(0.6, "Timing a measurement")
    with torch.autocast(device.type, torch.bfloat16):
        stage.evaluate()
    evaluated = time.monotonic()
    on_progress(0.8, "Timing a clip")
    stage.animated(1)
    per_sample = num_held_out / len(stage.held_out) * (evaluated - moments[-1]) + len(stage.photos) * (time.monotonic() - evaluated)

    per_step_in_all = per_step + per_sample / settings.sample_every
    seconds = settings.max_steps * per_step + ceil(settings.max_steps / settings.sample_every) * per_sample
    limit = 60 * settings.max_minutes if settings.max_minutes else seconds
    trained, whole = _num_trained(stage), sum(p.nbytes for p in stage.model.parameters())
    return Plan(
        num_trained=trained,
        seconds_per_step=round(per_step, 3),
        seconds_per_sample=round(per_sample, 2),
        minutes=round((encoding + per_sample + min(seconds, limit)) / 60, 2),  # the base is measured too
        num_steps=settings.max_steps if seconds <= limit else int(limit / per_step_in_all),
        memory_mb=memory.needed_mb,
        free_memory_mb=memory.free_mb,
        disk_mb=(KEPT_CHECKPOINTS + 1) * (whole + 4 * NUMBERS_EACH * trained) // MEGABYTE,
        free_disk_mb=shutil.disk_usage(folder).free // MEGABYTE,
        fits=memory.fits,
    )


def measure_memory(stage: ClipsStage) -> Memory:
    """What a step takes, measured, where the memory suffices for one, and what the optimizer will keep, counted."""
    device = stage.pipe.device
    free = available_memory(device)
    reset_peak_memory(device)
    try:
        _step(stage, 0)
        peak = peak_memory(device)
    except torch.OutOfMemoryError:
        stage.model.zero_grad(set_to_none=True)
        peak = free
    return Memory((peak + 4 * NUMBERS_EACH * _num_trained(stage)) // MEGABYTE, free // MEGABYTE)


def _step(stage: ClipsStage, step: int) -> None:
    with torch.autocast(stage.pipe.device.type, torch.bfloat16):
        loss, _ = stage.loss(stage.model, stage.batch(step, 0, 1), step_generator(0, step, 0))
    loss.backward()
    stage.model.zero_grad(set_to_none=True)


def _num_trained(stage: ClipsStage) -> int:
    return sum(p.numel() for p in stage.model.parameters() if p.requires_grad)
