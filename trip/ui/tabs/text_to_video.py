"""The Text to video tab: words become pictures, one of them becomes a clip."""

from dataclasses import dataclass
from typing import Any

import gradio as gr
from gradio.components import Component

from trip.settings import AnimateSettings, PaintSettings
from trip.ui import visit
from trip.ui.form import control, uploaded
from trip.ui.panels import pictures
from trip.ui.panels.layout import Ending
from trip.ui.panels.result import told
from trip.ui.studio import Studio
from trip.ui.visit import RAW

HINT = "**One more** paints one picture with a new seed. Nothing is animated before you press Animate, unless the box is ticked."
ADVANCED = ("num_steps", "guidance_scale", "size", "seed", "lora", "lora_weight", "embedding", "refine")


@dataclass(frozen=True)
class Tab:
    """What other parts of the page need of the tab: the button that sends the first frame on, that frame, and what jobs end in."""

    send: gr.Button
    picture: gr.Image
    endings: list[Ending]


def build(studio: Studio, state: visit.Visit) -> Tab:
    """Lay out the tab inside the current `gr.Blocks` and wire it."""
    boxes: dict[str, Component] = {"prompt": control("prompt", PaintSettings, lines=2, max_lines=6, elem_id="paint-prompt")}
    motion = gr.Textbox(label="Motion", info="What moves, and how; empty: as the picture", elem_id="paint-motion")
    boxes["picture_model"], lacks = pictures.model_control(studio, PaintSettings, "paint")
    with gr.Row():
        boxes["num_pictures"] = control("num_pictures", PaintSettings, value=2, elem_id="paint-num_pictures", min_width=140)
        boxes["aspect"] = control("aspect", PaintSettings, elem_id="paint-aspect", min_width=140)
    with gr.Accordion("Advanced", open=False, elem_id="paint-advanced"):
        boxes["negative_prompt"] = control("negative_prompt", PaintSettings, elem_id="paint-negative_prompt")
        boxes |= pictures.settings_controls(studio, PaintSettings, "paint", ADVANCED)
    fetched = pictures.follow_models(studio, PaintSettings, boxes, lacks)
    at_once = gr.Checkbox(False, label="Animate the first picture at once", elem_id="paint-at-once")
    with gr.Row():
        paint = gr.Button("Paint", variant="primary", elem_id="paint", min_width=120)
        again = gr.Button("One more", elem_id="paint-again", min_width=110)
    made, ending = pictures.candidates(studio, state, "paint", "paint", label="First frame: a picture, or a photo of your own")
    animate = gr.Button("Animate", variant="primary", elem_id="paint-animate")
    with gr.Row():
        keep = gr.Button("Keep its seed", size="sm", elem_id="paint-keep", min_width=110)
        send = gr.Button("Send to Edit", size="sm", elem_id="paint-send", min_width=110)
    gr.Markdown(HINT, elem_classes="trip-hint")

    def clip(values: dict[Component, Any]) -> AnimateSettings:
        words = values[motion] or values[boxes["prompt"]] or ""
        return told(AnimateSettings.checked, prompt=words, aspect=values[boxes["aspect"]])

    def ask(values: dict[Component, Any]) -> str:
        settings = told(pictures.checked, PaintSettings, boxes, values)
        then = clip(values) if values[at_once] else None
        return told(pictures.ask, studio, values[state.visitor], settings, then=then).id

    def ask_again(values: dict[Component, Any]) -> str:
        """One picture with a new seed, in place of one that does not please."""
        settings = told(pictures.checked, PaintSettings, boxes, values).model_copy(update={"seed": None, "num_pictures": 1})
        return told(pictures.ask, studio, values[state.visitor], settings).id

    def move(values: dict[Component, Any]) -> str:
        return told(studio.animate, values[state.visitor], told(uploaded, values[made.picture]), clip(values)).id

    def follow_clip(visitor: str, job_id: str, shown: str) -> Any:
        """From pictures that were asked for with a clip to that clip."""
        job = visit.look(studio, visitor, job_id)
        return job.result["next"] if job and job.id == shown and "next" in job.result else gr.skip()

    inputs = {*boxes.values(), motion, at_once, made.picture, state.visitor}
    visit.follow(studio, state, paint.click(ask, inputs, state.job, **RAW))
    visit.follow(studio, state, again.click(ask_again, inputs, state.job, **RAW))
    visit.follow(studio, state, animate.click(move, inputs, state.job, **RAW))
    keep.click(lambda seed: seed, made.seed, boxes["seed"], **visit.QUICK)
    made.job.change(follow_clip, [state.visitor, made.job, state.job], state.job, **visit.QUICK)
    return Tab(send, made.picture, [ending, fetched])
