"""The endpoints that make a clip, and those that tell of jobs.

A program sees its own jobs: those asked for with the cookie that its client was given, as gradio_client keeps it.
"""

import asyncio
from contextlib import suppress
from typing import Any

import gradio as gr
from gradio.data_classes import FileData

from trip.jobs.handlers import figure
from trip.jobs.handlers.animate import VIDEO_MODEL
from trip.jobs.store import Job, State
from trip.settings import AnimateSettings, FinetuneSettings
from trip.ui.form import uploaded
from trip.ui.panels.result import or_toast
from trip.ui.security.page import visitor_of
from trip.ui.studio import Studio

SECONDS = 0.25  # between two looks at a job that is waited for


async def wait_for_job(studio: Studio, job: Job) -> Job:
    """The job once it is done; a toast of one line where it failed or was stopped."""
    studio.worker.wake()
    await asyncio.to_thread(studio.work_until, job.id)
    while not (job := or_toast(studio.store.get, job.id)).state.is_final:
        await asyncio.sleep(SECONDS)
    if job.state != State.DONE:
        raise gr.Error(job.error or "the job was stopped", print_exception=False)
    return job


def clip_response(studio: Studio, job: Job) -> tuple[FileData, int, dict[str, Any]]:
    """What a program gets of a clip: the file, its seed, and its settings with the id of the job."""
    return (
        FileData(path=str(studio.clip_of(job))),
        job.result["seed"],
        job.result["settings"] | {"job": job.id, "notes": job.result.get("notes", [])},
    )


def publish(studio: Studio) -> None:
    """Adds the endpoints to the current `gr.Blocks`."""
    clips = ClipEndpoints(studio)
    for endpoint in (clips.animate, clips.continue_clip, clips.compare_models, clips.sound):
        gr.api(endpoint, api_name=endpoint.__name__, concurrency_limit=None)
    for endpoint in (clips.jobs, clips.job, clips.cancel, clips.estimate, clips.compare):
        gr.api(endpoint, api_name=endpoint.__name__, queue=False)


class ClipEndpoints:
    """The endpoints about clips, a method each; what programs read of them is their docstrings."""

    def __init__(self, studio: Studio):
        self.studio = studio
        self.reading = asyncio.Semaphore(1)  # photos one after the other, so that a crowd does not keep the page from answering

    async def animate(
        self,
        image: FileData,
        prompt: str = "",
        negative_prompt: str = "",
        motion: float = 1.0,
        num_frames: int | None = None,
        fps: float | None = None,
        num_steps: int | None = None,
        guidance_scale: float | None = None,
        scheduler: str = "ddim",
        seed: int | None = None,
        aspect: str = "1:1",
        crop: str | None = None,
        loop: bool = False,
        fusion: str = "trained",
        lora: str | None = None,
        only_shown: bool = False,
        size: str = "auto",
        frame_rate: float = 24.0,
        last_photo: FileData | None = None,
        video_model: str | None = None,
        request: gr.Request = None,
    ) -> tuple[FileData, int, dict[str, Any]]:
        """Turn a photo into a short clip that follows a sentence, and wait for it.

        Args:
            image: the photo
            prompt: what moves, and how; may be empty
            negative_prompt: what the clip should keep away from
            motion: 0 holds still, 1 is as told, 2 moves twice as far
            num_frames: length of the clip, the photo included; none: as the model was made
            fps: frames per second that the model makes; none: as it was made
            num_steps: denoising steps; none: as the model was made
            guidance_scale: how strictly the prompt is followed; none: as the model was made
            scheduler: ddim, dpm++ or unipc
            seed: the same seed and settings give the same clip; none draws one
            aspect: 1:1, 4:3, 3:4, 16:9, 9:16 or photo (as the part of the photo that is animated)
            crop: left, top, width and height of the part to animate, in shares of the photo
            loop: whether the clip comes back to the photo
            fusion: trained, linear (Eq. 9 alone) or none (the residual alone), where the checkpoint can
            lora: id of a done fine-tune of yours, to make the clip with; none: the model as it is
            only_shown: whether the MP4 holds only the part of the photo that was animated; otherwise the whole photo is inside
            size: short side of the clip: 512, 768, 1024, photo (as large as it is, up to 1080) or model (what the network drew,
                untouched); auto: as large as the photo is, up to 768
            frame_rate: frames per second of the clip, which plays no longer or shorter for it
            last_photo: a photo that the clip arrives at; none: it goes where the motion takes it
            video_model: a video model by others that is on this machine, by its name; none: TRIP

        Returns:
            the clip as MP4, its seed, and the settings that made it with the id of its job and notes, such as
                what of the prompt was not read
        """
        settings = or_toast(
            AnimateSettings.checked,
            prompt=prompt,
            negative_prompt=negative_prompt,
            motion=motion,
            num_frames=num_frames,
            fps=fps,
            num_steps=num_steps,
            guidance_scale=guidance_scale,
            scheduler=scheduler,
            seed=seed,
            aspect=aspect,
            crop=crop,
            loop=loop,
            fusion=fusion,
            size=size,
            frame_rate=frame_rate,
        )
        tuned = {"lora": or_toast(self.studio.finetune, lora, visitor_of(request)).id} if lora else {}
        last = None if last_photo is None else or_toast(uploaded, last_photo)
        other = {VIDEO_MODEL: video_model} if video_model else {}
        more = {**tuned, **other, "only_shown": only_shown is True, "last_photo": last}
        async with self.reading:
            job = await asyncio.to_thread(or_toast, self.studio.animate, visitor_of(request), or_toast(uploaded, image), settings, **more)
        return clip_response(self.studio, await wait_for_job(self.studio, job))

    async def continue_clip(self, job: str, prompt: str = "", request: gr.Request = None) -> tuple[FileData, int, dict[str, Any]]:
        """Go on from the last frame of a clip, and wait; the result shows both.

        Args:
            job: id of a job that is done
            prompt: what moves now; empty: as before
        """
        asked = await asyncio.to_thread(or_toast, self.studio.continue_clip, job, visitor_of(request), prompt or None)
        return clip_response(self.studio, await wait_for_job(self.studio, asked))

    async def compare_models(self, job: str, request: gr.Request = None) -> tuple[FileData, list[dict[str, Any]]]:
        """Make the clip of a job with every video model that is on this machine, TRIP first, and wait.

        Args:
            job: id of a job that is done

        Returns:
            the clips side by side on one clock as MP4, and for each model its title, the id of its job, its figures, seconds and, where it
                made no clip, why
        """
        visitor = visitor_of(request)
        last = await asyncio.to_thread(or_toast, self.studio.compare_models, job, visitor)
        parts = figure.parts_of(self.studio.store, last)
        for part in parts:
            with suppress(gr.Error):  # one that fails is told of below
                await wait_for_job(self.studio, part)
        parts = [self.studio.store.get(part.id) for part in parts]
        done, missing = [part for part in parts if part.state == State.DONE], last.settings[figure.FIGURE]["missing"]
        if len(done) < 2:
            why = [*missing, *(f"{figure.label_of(part)}: {part.error or part.state}" for part in parts if part not in done)]
            raise gr.Error(f"fewer than two models made a clip: {'; '.join(why)}", print_exception=False)
        path = await asyncio.to_thread(figure.written, self.studio.store, done)
        refused = [dict(zip(("model", "error"), line.split(": ", 1), strict=True)) for line in missing]
        return FileData(path=str(path)), [*({"model": figure.label_of(part), **job_summary(part)} for part in parts), *refused]

    async def sound(self, job: str, file: FileData | None = None, request: gr.Request = None) -> tuple[FileData, int, dict[str, Any]]:
        """Give a clip a sound, cut to its length, which clips that are made of it keep.

        Args:
            job: id of a job that is done
            file: a sound, or a video that has one; none: the clip is silent again
        """
        source = None if file is None else or_toast(uploaded, file)
        return clip_response(self.studio, await asyncio.to_thread(or_toast, self.studio.put_sound, job, visitor_of(request), source))

    def jobs(self, request: gr.Request = None) -> list[dict[str, Any]]:
        """All jobs of yours, those that wait first."""
        return [job_summary(job) for job in self.studio.store.jobs(visitor_of(request))]

    def job(self, job: str, request: gr.Request = None) -> dict[str, Any]:
        """Where a job stands, and once it is done its figures."""
        return job_summary(or_toast(self.studio.store.get, job, visitor_of(request)))

    def cancel(self, job: str, request: gr.Request = None) -> dict[str, Any]:
        """End a job: one that waits at once, a running one within a step; a fine-tune that runs saves and is done with what it has."""
        or_toast(self.studio.stop, visitor_of(request), job)
        return self.job(job, request)

    def estimate(
        self, num_frames: int | None = None, num_steps: int | None = None, guidance_scale: float | None = None, aspect: str = "1:1"
    ) -> dict[str, Any]:
        """Seconds and bytes that a clip should take on this machine, from the clips before it; null where there were none."""
        settings = or_toast(
            AnimateSettings.checked, num_frames=num_frames, num_steps=num_steps, guidance_scale=guidance_scale, aspect=aspect
        )
        return vars(or_toast(self.studio.estimate, settings))

    def compare(self, first: str, second: str, request: gr.Request = None) -> dict[str, Any]:
        """How alike two clips are, in dB of peak signal-to-noise ratio, with the figures of both."""
        visitor = visitor_of(request)
        return or_toast(self.studio.compare, first, second, visitor)


def job_summary(job: Job) -> dict[str, Any]:
    """A job as programs see it."""
    schema = FinetuneSettings if job.kind == "finetune" else AnimateSettings
    settings = {name: job.settings.get(name) for name in schema.model_fields}
    return {
        "id": job.id,
        "state": str(job.state),
        "fraction": job.fraction,
        "words": job.words,
        "error": job.error,
        "settings": settings,
        "video_model": job.settings.get(VIDEO_MODEL),
        "seconds": job.result.get("seconds"),
        "figures": {label: value for label, value, _ in job.result.get("figures", [])},
        "notes": job.result.get("notes", []),
    }
