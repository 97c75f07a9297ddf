"""The endpoints for programs that make a first frame."""

import asyncio
from typing import Any

import gradio as gr
from gradio.data_classes import FileData

from trip.jobs.store import Job
from trip.settings import AnimateSettings, ControlSettings, EditSettings, PaintSettings
from trip.ui.api.clips import clip_of, ended
from trip.ui.form import uploaded
from trip.ui.panels import pictures
from trip.ui.panels.result import told
from trip.ui.security.gate import visitor_of
from trip.ui.studio import Studio


def publish(studio: Studio) -> None:
    """Adds the endpoints to the current `gr.Blocks`."""
    first_frames = PictureEndpoints(studio)
    for endpoint in (first_frames.text_to_video, first_frames.edit_and_animate, first_frames.control_map):
        gr.api(endpoint, api_name=endpoint.__name__, concurrency_limit=None)


class PictureEndpoints:
    """The endpoints about first frames, a method each; what programs read of them is their docstrings."""

    def __init__(self, studio: Studio):
        self.studio = studio

    async def _pictured(self, job: Job) -> tuple[FileData, FileData, dict[str, Any]]:
        """The clip, the picture that it was made of, and how both were made."""
        drawn = await ended(self.studio, job)
        clip, _, made = clip_of(self.studio, await ended(self.studio, self.studio.store.get(drawn.result["next"])))
        picture = FileData(path=pictures.paths_of(self.studio, drawn)[0])
        return clip, picture, {"picture": drawn.result["settings"], "clip": made, "notes": drawn.result["notes"], "job": drawn.id}

    async def text_to_video(
        self,
        prompt: str,
        motion_prompt: str = "",
        picture_model: str = "",
        negative_prompt: str = "",
        num_steps: int | None = None,
        guidance_scale: float | None = None,
        size: int | None = None,
        aspect: str = "1:1",
        refine: bool = False,
        seed: int | None = None,
        request: gr.Request = None,
    ) -> tuple[FileData, FileData, dict[str, Any]]:
        """Turn words into a picture and the picture into a short clip, and wait for it.

        Args:
            prompt: what the picture shows
            motion_prompt: what moves, and how; empty: as the picture
            picture_model: a name of the list of models, such as sdxl, sdxl-turbo or sd15; empty: the first that is here
            negative_prompt: what the picture should keep away from
            num_steps: denoising steps of the picture; none: as the model was made
            guidance_scale: how strictly the words are followed; none: as the model was made
            size: pixels of a side; none: as the model was made
            aspect: 1:1, 4:3, 3:4, 16:9 or 9:16
            refine: whether the SDXL refiner finishes the picture
            seed: the same seed and settings give the same picture; none draws one

        Returns:
            the clip as MP4, the picture as PNG, and how both were made
        """
        settings = told(
            PaintSettings.checked, prompt=prompt, picture_model=picture_model, negative_prompt=negative_prompt, num_steps=num_steps,
            guidance_scale=guidance_scale, size=size, aspect=aspect, refine=refine, seed=seed,
        )  # fmt: skip
        then = told(AnimateSettings.checked, prompt=motion_prompt or prompt, aspect=aspect)
        return await self._pictured(told(pictures.ask, self.studio, visitor_of(request), settings, then=then))

    async def edit_and_animate(
        self,
        image: FileData,
        instruction: str,
        motion_prompt: str = "",
        picture_model: str = "",
        num_steps: int | None = None,
        guidance_scale: float | None = None,
        image_guidance: float | None = None,
        size: int | None = None,
        seed: int | None = None,
        request: gr.Request = None,
    ) -> tuple[FileData, FileData, dict[str, Any]]:
        """Change a photo by an instruction (InstructPix2Pix), turn it into a short clip, and wait for it.

        Args:
            image: the photo
            instruction: what to change, such as: make it winter
            motion_prompt: what moves, and how; may be empty
            picture_model: a name of the list of models: ip2p, ip2p-xl, editor; empty: the first that is here
            num_steps: denoising steps of the edit; none: as the model was made
            guidance_scale: how strictly the instruction is followed; none: as the model was made
            image_guidance: how closely the edit keeps to the photo; none: as the model was made
            size: pixels of a side; none: as the model was made
            seed: the same seed and settings give the same edit; none draws one

        Returns:
            the clip as MP4, the edited picture as PNG, and how both were made
        """
        settings = told(
            EditSettings.checked, instruction=instruction, picture_model=picture_model, num_steps=num_steps,
            guidance_scale=guidance_scale, image_guidance=image_guidance, size=size, seed=seed,
        )  # fmt: skip
        then = told(AnimateSettings.checked, prompt=motion_prompt)
        job = await asyncio.to_thread(told, pictures.ask, self.studio, visitor_of(request), settings, told(uploaded, image), then=then)
        return await self._pictured(job)

    async def control_map(
        self,
        image: FileData,
        annotator: str = "canny",
        low: int = 100,
        high: int = 200,
        size: int | None = None,
        request: gr.Request = None,
    ) -> tuple[FileData, list[str]]:
        """What an annotator sees in a photo, for ControlNet.

        Args:
            image: the photo
            annotator: canny, which needs no model, or hed, lineart, depth, normal, pose, mlsd, scribble, segment
            low: canny drops edges weaker than this
            high: canny keeps edges stronger than this
            size: pixels of the map's shorter side; none: 512

        Returns:
            the map as PNG, and what there is to know of it
        """
        settings = told(ControlSettings.checked, annotator=annotator, low=low, high=high, size=size)
        visitor, photo = visitor_of(request), told(uploaded, image)
        asked = await asyncio.to_thread(told, pictures.ask, self.studio, visitor, settings, photo, kind=pictures.MAP)
        job = await ended(self.studio, asked)
        return FileData(path=pictures.map_of(self.studio, job)), job.result["notes"]
