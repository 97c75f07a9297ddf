"""Sampling as a job does it: a step told at a time, ended within a step or set aside between two, and once more with less memory.

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

from trip.jobs.aside import Aside
from trip.jobs.handlers.estimate import Timing
from trip.jobs.handlers.stream import streamed
from trip.settings import AnimateSettings

if TYPE_CHECKING:
    from trip.inside import Inside
    from trip.output import AnimatedClip
    from trip.pipeline import TripPipeline

logger = logging.getLogger(__name__)

SET_ASIDE = "set aside"  # in the ticket: keep what there is, and end


@dataclass(frozen=True)
class Step:
    """Where sampling stands after a denoising step.

    preview  frames as they look by now, blurred   f h w 3, uint8
    inside   what both paths said so far, at the steps that clean clips are kept of
    """

    number: int
    num_steps: int
    seconds: float
    preview: np.ndarray
    inside: "Inside | None" = None


@dataclass(frozen=True)
class Sampled:
    """What sampling gives: the clip, what its steps said, what it took, and of that the seconds of earlier turns."""

    output: "AnimatedClip"
    inside: "Inside"
    timing: Timing
    earlier: float = 0.0


def sample(
    model: str | None, photo: Image.Image, settings: AnimateSettings, ticket: str, lora: str | None = None
) -> Iterator[Step | Sampled]:
    """Where the clip stands after each denoising step, and the finished clip last.

    ticket  path of the ticket: once it is gone, sampling ends within one step and raises `trip.pipeline.Interrupted`;
            so it does once it reads SET_ASIDE, and what it takes to go on lies in that folder then
    lora    file of a fine-tune, whose changes are added to the model
    """

    def work(tell: Callable[[Step], None]) -> Sampled:
        from trip.model_cache import lent_pipeline

        with lent_pipeline(model, lora) as pipe:
            aside = Aside.of(Path(ticket).parent, pipe)
            return _sampled(pipe, photo, aside.settings if aside else pipe.resolve(settings), ticket, tell, aside)

    yield from streamed(work, ticket)


def _sampled(
    pipe: "TripPipeline",
    photo: Image.Image,
    settings: AnimateSettings,
    ticket: str,
    tell: Callable[[Step], None],
    aside: Aside | None,
) -> Sampled:
    """Samples, and once more with less memory where there was not enough."""
    from trip.model_cache import save_memory
    from trip.system.memory import free_memory, is_out_of_memory

    for attempt in range(2):
        try:
            return sampled_once(pipe, photo, settings, ticket, tell, aside)
        except (RuntimeError, MemoryError) as error:
            if not is_out_of_memory(error):
                raise
        free_memory()  # here: inside the except block the traceback would still hold it
        if attempt == 0:
            save_memory(pipe)
            logger.warning("out of memory; once more, decoding frame by frame")
    raise ValueError(f"there is not enough memory for {settings.num_frames} frames; choose fewer frames or a smaller model")


def sampled_once(
    pipe: "TripPipeline",
    photo: Image.Image,
    settings: AnimateSettings,
    ticket: str | None,
    tell: Callable[[Step], None],
    aside: Aside | None = None,
) -> Sampled:
    """What one attempt gives, with every step told; see `sample`. The settings must be resolved.

    ticket  none: nobody will want it to end
    aside   where it goes on from
    """
    from trip.inside import InsideRecorder
    from trip.pipeline import Interrupted
    from trip.system.accelerator import device
    from trip.system.memory import memory_in_use

    recorder, begun = InsideRecorder(settings.num_steps, aside and aside.inside), time.monotonic()
    earlier, stepped, peak = aside.seconds if aside else 0.0, begun, aside.num_bytes if aside else 0

    def after_step(pipe: "TripPipeline", step: int, timestep: int, tensors: dict) -> None:
        nonlocal stepped, peak
        pipe.interrupt = ticket is not None and _reads(ticket) != ""
        recorder(pipe, step, timestep, tensors)
        peak = max(peak, memory_in_use())
        inside = recorder.result() if step in recorder.picture_steps else None
        tell(Step(step + 1, settings.num_steps, time.monotonic() - stepped, pipe.preview(tensors["z_0"]), inside))
        stepped = time.monotonic()

    try:
        output = pipe.animate(photo, settings, callback_on_step_end=after_step, so_far=aside and aside.so_far)
    except Interrupted as stop:
        if _reads(ticket) == SET_ASIDE:
            took = earlier + time.monotonic() - begun
            Aside(stop.so_far, recorder.result(), settings, took, peak).keep(Path(ticket).parent, pipe)
        raise Interrupted(str(stop)) from None  # without its tensors: it may go to another process
    height, width = pipe.frame_shape(settings.aspect)
    timing = Timing(
        model=pipe.model_name,
        device=str(device()),
        pixels=height * width * settings.num_frames,
        passes=settings.num_steps * (2 if settings.guidance_scale > 1 else 1),
        seconds=earlier + time.monotonic() - begun,
        num_bytes=max(peak, memory_in_use()),
    )
    return Sampled(output, recorder.result(), timing, earlier)


def _reads(ticket: str) -> str | None:
    """What a ticket says: nothing, or SET_ASIDE; none once it is gone."""
    try:
        return Path(ticket).read_text()
    except OSError:
        return None
