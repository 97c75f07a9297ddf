"""Sampling as a job does it: a step reported at a time, ended within a step or suspended between two, and once more with less memory.

A ticket, which is a file in the job's folder, says what is wanted. A file, since on some hosts sampling runs in another process than
the page.
"""

import logging
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from PIL import Image

from trip.jobs.checkpoint import SamplingCheckpoint
from trip.jobs.handlers.estimate import Timing
from trip.jobs.handlers.stream import streamed
from trip.settings import AnimateSettings

if TYPE_CHECKING:
    from trip.backbones.backbone import Backbone
    from trip.backbones.local import VideoModel
    from trip.inside import Inside
    from trip.output import AnimatedClip
    from trip.pipeline import TripPipeline

logger = logging.getLogger(__name__)

SUSPEND = "suspend"  # in the ticket: keep what there is, and end


@dataclass(frozen=True)
class Step:
    """Where sampling stands after a denoising step.

    preview  frames as they look by now, blurred, where that can be told   f h w 3, uint8
    inside   what both paths said so far, at the steps that clean clips are kept of
    """

    number: int
    num_steps: int
    seconds: float
    preview: np.ndarray | None
    inside: "Inside | None" = None


@dataclass(frozen=True)
class SamplingResult:
    """What sampling gives: the clip, what its steps said, where TRIP's own model made it, what it took, and of that the seconds of earlier
    turns.
    """

    output: "AnimatedClip"
    inside: "Inside | None"
    timing: Timing
    earlier: float = 0.0


def sample(
    model: "str | VideoModel | None",
    photo: Image.Image,
    settings: AnimateSettings,
    ticket: str,
    lora: str | None = None,
    last_photo: Image.Image | None = None,
) -> Iterator[Step | SamplingResult]:
    """Where the clip stands after each denoising step, and the finished clip last.

    model   a TRIP checkpoint, or a video model by others; none: the embedded checkpoint

    ticket  path of the ticket: once it is gone, sampling ends within one step and raises `trip.pipeline.Interrupted`;
            so it does once it reads SUSPEND, and what it takes to go on lies in that folder then
    lora    file of a fine-tune, whose changes are added to the model
    last_photo  where the clip arrives
    """

    def work(on_step: Callable[[Step], None]) -> SamplingResult:
        from trip.backbones.backbone import Backbone
        from trip.backbones.opening import acquire

        with acquire(model, lora) as pipe:
            if isinstance(pipe, Backbone):
                return _sample_by_others(pipe, photo, settings, ticket, on_step, last_photo)
            checkpoint = SamplingCheckpoint.load(Path(ticket).parent, pipe)
            used = checkpoint.settings if checkpoint else pipe.resolve(settings)
            return _sample_with_retry(pipe, photo, used, ticket, on_step, checkpoint, last_photo)

    yield from streamed(work, ticket)


def _sample_with_retry(
    pipe: "TripPipeline",
    photo: Image.Image,
    settings: AnimateSettings,
    ticket: str,
    on_step: Callable[[Step], None],
    checkpoint: SamplingCheckpoint | None,
    last_photo: Image.Image | None = None,
) -> SamplingResult:
    """Samples, and once more with less memory where there was not enough."""
    from trip.model_cache import save_memory
    from trip.system.memory import free_memory, is_out_of_memory

    for attempt in range(2):
        try:
            return sample_once(pipe, photo, settings, ticket, on_step, checkpoint, last_photo)
        except (RuntimeError, MemoryError) as error:
            if not is_out_of_memory(error):
                raise
        free_memory()  # here: inside the except block the traceback would still hold it
        if attempt == 0:
            save_memory(pipe)
            logger.warning("out of memory; once more, decoding frame by frame")
    raise ValueError(f"there is not enough memory for {settings.num_frames} frames; choose fewer frames or a smaller model")


def sample_once(
    pipe: "TripPipeline",
    photo: Image.Image,
    settings: AnimateSettings,
    ticket: str | None,
    on_step: Callable[[Step], None],
    checkpoint: SamplingCheckpoint | None = None,
    last_photo: Image.Image | None = None,
) -> SamplingResult:
    """What one attempt gives, with every step reported; see `sample`. The settings must be resolved.

       ticket  none: nobody will want it to end
    checkpoint  where it goes on from
    """
    from trip.inside import InsideRecorder
    from trip.pipeline import Interrupted
    from trip.system.accelerator import device
    from trip.system.memory import memory_in_use

    recorder, begun = InsideRecorder(settings.num_steps, checkpoint and checkpoint.inside), time.monotonic()
    earlier, stepped, peak = checkpoint.seconds if checkpoint else 0.0, begun, checkpoint.num_bytes if checkpoint else 0

    def after_step(pipe: "TripPipeline", step: int, timestep: int, tensors: dict) -> None:
        nonlocal stepped, peak
        pipe.interrupt = ticket is not None and _read_ticket(ticket) != ""
        recorder(pipe, step, timestep, tensors)
        peak = max(peak, memory_in_use())
        inside = recorder.result() if step in recorder.picture_steps else None
        on_step(Step(step + 1, settings.num_steps, time.monotonic() - stepped, pipe.preview(tensors["z_0"]), inside))
        stepped = time.monotonic()

    try:
        output = pipe.animate(photo, settings, last_photo, callback_on_step_end=after_step, so_far=checkpoint and checkpoint.so_far)
    except Interrupted as stop:
        if _read_ticket(ticket) == SUSPEND:
            took = earlier + time.monotonic() - begun
            SamplingCheckpoint(stop.so_far, recorder.result(), settings, took, peak).save(Path(ticket).parent, pipe)
        raise Interrupted(str(stop)) from None  # without its tensors: it may go to another process
    height, width = output.frames.shape[1:3]
    timing = Timing(
        model=pipe.model_name,
        device=str(device()),
        pixels=height * width * settings.num_frames,
        passes=settings.num_steps * (2 if settings.guidance_scale > 1 else 1),
        seconds=earlier + time.monotonic() - begun,
        num_bytes=max(peak, memory_in_use()),
    )
    return SamplingResult(output, recorder.result(), timing, earlier)


def _sample_by_others(
    pipe: "Backbone",
    photo: Image.Image,
    settings: AnimateSettings,
    ticket: str,
    on_step: Callable[[Step], None],
    last_photo: Image.Image | None,
) -> SamplingResult:
    """The same by a video model of others: it ends within a step, and cannot be suspended."""
    from trip.system.accelerator import device
    from trip.system.memory import is_out_of_memory, memory_in_use

    settings, begun, peak = pipe.resolve(settings), time.monotonic(), 0
    stepped = begun

    def after_step(pipe: "Backbone", step: int, timestep: int, tensors: dict) -> None:
        nonlocal stepped, peak
        pipe.interrupt = _read_ticket(ticket) is None
        peak = max(peak, memory_in_use())
        on_step(Step(step + 1, settings.num_steps, time.monotonic() - stepped, pipe.preview(tensors.get("z_0"))))
        stepped = time.monotonic()

    try:
        output = pipe.animate(photo, settings, last_photo, callback_on_step_end=after_step)
    except (RuntimeError, MemoryError) as error:
        if not is_out_of_memory(error):
            raise
        raise ValueError(f"there is not enough memory for {pipe.model_name}; choose a smaller model") from error
    num_frames, height, width = output.frames.shape[:3]
    passes = settings.num_steps * (2 if settings.guidance_scale > 1 else 1)
    seconds, num_bytes = time.monotonic() - begun, max(peak, memory_in_use())
    return SamplingResult(output, None, Timing(pipe.model_name, str(device()), height * width * num_frames, passes, seconds, num_bytes))


def _read_ticket(ticket: str) -> str | None:
    """What a ticket says: nothing, or SUSPEND; none once it is gone."""
    try:
        return Path(ticket).read_text()
    except OSError:
        return None
