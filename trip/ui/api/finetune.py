"""The endpoint that teaches the model a motion, for programs: clips in, a job's id out, which `/animate` takes once it is done."""

import asyncio
from typing import Any

import gradio as gr
from gradio.data_classes import FileData

from trip.settings import FinetuneSettings
from trip.ui.api.clips import told_job
from trip.ui.form import uploaded
from trip.ui.panels.result import told
from trip.ui.security.gate import visitor_of
from trip.ui.workshop import Workshop


def publish(workshop: Workshop) -> None:
    """Adds the endpoint to the current `gr.Blocks`."""

    async def fine_tune(
        clips: FileData,
        what: str = "lora",
        layers: str = "all",
        rank: int = 16,
        batch_size: int = 2,
        learning_rate: float | None = None,
        max_steps: int = 200,
        max_minutes: float | None = None,
        sample_every: int = 50,
        seed: int = 0,
        request: gr.Request = None,
    ) -> dict[str, Any]:
        """Teach the model the motion of a few clips. It answers at once; /job tells how far it is.

        Args:
            clips: a .zip of clips of one motion, with captions in .txt files, in clips.csv, or else in the files' names
            what: lora, small changes beside the weights; or all of the weights
            layers: motion, attention or all: which layers a LoRA changes
            rank: size of a LoRA's changes
            batch_size: clips a step
            learning_rate: how far a step goes; none: 1e-3 for a LoRA, 2e-4 for every weight
            max_steps: optimizer steps in all
            max_minutes: stop after so many; none: 360
            sample_every: steps from one measurement to the next
            seed: the same seed, clips and settings give the same training

        Returns:
            the job, whose id /animate takes as `lora` once its state is done
        """
        settings = told(
            FinetuneSettings.checked,
            what=what,
            layers=layers,
            rank=rank,
            batch_size=batch_size,
            learning_rate=learning_rate,
            max_steps=max_steps,
            max_minutes=max_minutes,
            sample_every=sample_every,
            seed=seed,
        )
        visitor = visitor_of(request)

        brought = [told(uploaded, clips)]
        job = await asyncio.to_thread(told, workshop.begin_at_once, visitor, brought, settings)
        await asyncio.to_thread(workshop.studio.work_until, job.id)  # where a GPU is lent to calls alone, the whole training
        return told_job(workshop.store.get(job.id))

    gr.api(fine_tune, api_name="fine_tune", concurrency_limit=None)
