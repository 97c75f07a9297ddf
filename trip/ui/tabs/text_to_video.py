"""The Text to video tab: words become pictures, one of them becomes a clip."""

from dataclasses import dataclass
from typing import Any

import gradio as gr
from gradio.components import Component

from trip.settings import AnimateSettings, PaintSettings
from trip.ui import page_state
from trip.ui.form import control, uploaded
from trip.ui.page_state import RAW
from trip.ui.panels import pictures
from trip.ui.panels.layout import JobView
from trip.ui.panels.result import or_toast
from trip.ui.studio import Studio

HINT = "**One more** paints one picture with a new seed. Nothing is animated before you press Animate, unless the box is ticked."
ADVANCED = ("num_steps", "guidance_scale", "size", "seed", "lora", "lora_weight", "embedding", "refine")


@dataclass(frozen=True)
class TextToVideoTab:
    """What other parts of the page need of the tab: the button that sends the first frame on, that frame, and what jobs end in."""

    send: gr.Button
    picture: gr.Image
    views: list[JobView]


def build(studio: Studio, state: page_state.PageState) -> TextToVideoTab:
    """Lay out the tab inside the current `gr.Blocks` and wire it."""
    boxes: dict[str, Component] = {"prompt": control("prompt", PaintSettings, lines=2, max_lines=6, elem_id="paint-prompt")}
    motion = gr.Textbox(label="Motion", info="What moves, and how; empty: as the picture", elem_id="paint-motion")
    boxes["picture_model"], lack = pictures.model_control(studio, PaintSettings, "paint")
    with gr.Row():
        boxes["num_pictures"] = control("num_pictures", PaintSettings, value=2, elem_id="paint-num_pictures", min_width=140)
        boxes["aspect"] = control("aspect", PaintSettings, elem_id="paint-aspect", min_width=140)
    with gr.Accordion("Advanced", open=False, elem_id="paint-advanced"):
        boxes["negative_prompt"] = control("negative_prompt", PaintSettings, elem_id="paint-negative_prompt")
        boxes |= pictures.settings_controls(studio, PaintSettings, "paint", ADVANCED)
    at_once = gr.Checkbox(False, label="Animate the first picture at once", elem_id="paint-at-once")
    with gr.Row():
        paint = gr.Button("Paint", variant="primary", elem_id="paint", min_width=120)
        again = gr.Button("One more", elem_id="paint-again", min_width=110)
    fetched = pictures.follow_models(studio, state, PaintSettings, boxes, lack, [paint, again])
    candidates, view = pictures.candidates(studio, state, "paint", "paint", label="First frame: a picture, or a photo of your own")
    animate = gr.Button("Animate", variant="primary", elem_id="paint-animate")
    with gr.Row():
        keep = gr.Button("Keep its seed", size="sm", elem_id="paint-keep", min_width=110)
        send = gr.Button("Send to Edit", size="sm", elem_id="paint-send", min_width=110)
    gr.Markdown(HINT, elem_classes="trip-hint")

    def clip_settings(values: dict[Component, Any]) -> AnimateSettings:
        words = values[motion] or values[boxes["prompt"]] or ""
        return or_toast(AnimateSettings.checked, prompt=words, aspect=values[boxes["aspect"]])

    def ask(values: dict[Component, Any]) -> str:
        settings = or_toast(pictures.checked, PaintSettings, boxes, values)
        then = clip_settings(values) if values[at_once] else None
        return or_toast(pictures.ask_here, studio, values[state.visitor], settings, then=then).id

    def ask_again(values: dict[Component, Any]) -> str:
        """One picture with a new seed, in place of one that does not please."""
        settings = or_toast(pictures.checked, PaintSettings, boxes, values).model_copy(update={"seed": None, "num_pictures": 1})
        return or_toast(pictures.ask_here, studio, values[state.visitor], settings).id

    def animate_picture(values: dict[Component, Any]) -> str:
        return or_toast(studio.animate, values[state.visitor], or_toast(uploaded, values[candidates.picture]), clip_settings(values)).id

    def follow_clip(visitor: str, job_id: str, shown: str) -> Any:
        """From pictures that were asked for with a clip to that clip."""
        job = page_state.find_job(studio, visitor, job_id)
        return job.result["next"] if job and job.id == shown and "next" in job.result else gr.skip()

    inputs = {*boxes.values(), motion, at_once, candidates.picture, state.visitor}
    page_state.follow_job(studio, state, paint.click(ask, inputs, state.job, **RAW))
    page_state.follow_job(studio, state, again.click(ask_again, inputs, state.job, **RAW))
    page_state.follow_job(studio, state, animate.click(animate_picture, inputs, state.job, **RAW))
    keep.click(lambda seed: seed, candidates.seed, boxes["seed"], **page_state.QUICK)
    candidates.job.change(follow_clip, [state.visitor, candidates.job, state.job], state.job, **page_state.QUICK)
    return TextToVideoTab(send, candidates.picture, [view, fetched])
