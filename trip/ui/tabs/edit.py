"""The Edit tab: a photo is changed by an instruction or drawn anew over its control map, looked at, and animated (Figure 9)."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import gradio as gr
from gradio.components import Component

from trip.jobs.store import Job, State
from trip.settings import AnimateSettings, ControlSettings, EditSettings
from trip.ui import page_state
from trip.ui.form import PAGE_DEFAULTS, control, refuse_broken, uploaded
from trip.ui.page_state import QUICK, RAW
from trip.ui.panels import figure, pictures
from trip.ui.panels.layout import JobView
from trip.ui.panels.result import or_toast
from trip.ui.studio import Studio

HINT = (
    "**Side by side** animates the photo, its newest edit and its newest drawing with one seed and one sentence, as Figure 9 of the paper."
)
CHIPS = [  # of the edits that the embedded editor has learnt, those that one sees: what the chip says, and what it asks for
    ("Night", "make it night"), ("Dusk", "make it dusk"), ("Sunset", "make it sunset"), ("Golden hour", "make it the golden hour"),
    ("Winter", "make it winter"), ("Autumn", "make it autumn"), ("Fog", "make it foggy"), ("Underwater", "put it under water"),
    ("Mars", "move it to mars"), ("Neon", "light it with neon"), ("Vintage", "make it vintage"), ("Sepia", "make it sepia"),
    ("Black and white", "make it black and white"), ("Warmer", "make it warmer"), ("Cooler", "make it cooler"),
    ("Brighter", "make it brighter"), ("Darker", "make it darker"), ("More vivid", "make it more vivid"),
]  # fmt: skip
FIGURE_SEED = 0  # as the command line's
SHARED = ("num_steps", "guidance_scale", "size", "seed", "lora", "lora_weight", "embedding", "num_pictures")


@dataclass(frozen=True)
class Form:
    """The controls of the tab; `edit` and `control` have those of the two schemas by name."""

    photo: gr.Image
    edit: dict[str, Component]
    control: dict[str, Component]
    map: gr.ImageEditor
    map_notes: gr.HTML
    lacks: dict[str, pictures.Lack]
    buttons: dict[str, gr.Button]
    slider: gr.ImageSlider

    @property
    def inputs(self) -> set[Component]:
        """What a job is asked with."""
        return {self.photo, self.map, *self.edit.values(), *self.control.values()}


def build(studio: Studio, state: page_state.PageState) -> tuple[gr.Image, list[JobView]]:
    """Lay out the tab inside the current `gr.Blocks` and wire it; gives the photo, for other tabs, and what jobs end in."""
    form = _form(studio)
    candidates, view = pictures.candidates(studio, state, "edit", "edit", "control", label="First frame: the edit, or a photo of your own")
    motion = gr.Textbox(label="Motion", info="What moves, and how", elem_id="edit-motion")
    with gr.Row():
        animate = gr.Button("Animate", variant="primary", elem_id="edit-animate", min_width=120)
        beside = gr.Button("Side by side", elem_id="figure9", min_width=120)
    gr.Markdown(HINT, elem_classes="trip-hint")
    _wire_asking(studio, state, form)
    _wire_comparison(studio, state, form, candidates)

    def animate_picture(values: dict[Component, Any]) -> str:
        settings = or_toast(AnimateSettings.checked, prompt=values[motion], **PAGE_DEFAULTS)
        return or_toast(studio.animate, values[state.visitor], or_toast(uploaded, values[candidates.picture]), settings).id

    def animate_all(values: dict[Component, Any]) -> str:
        settings = or_toast(AnimateSettings.checked, prompt=values[motion], seed=FIGURE_SEED, **PAGE_DEFAULTS)
        chosen, photo = (values[candidates.job], values[candidates.seed]), or_toast(uploaded, values[form.photo])
        return or_toast(figure.ask, studio, values[state.visitor], photo, chosen, settings).id

    inputs = {form.photo, candidates.picture, candidates.job, candidates.seed, motion, state.visitor}
    page_state.follow_job(studio, state, animate.click(animate_picture, inputs, state.job, **RAW))
    page_state.follow_job(studio, state, beside.click(animate_all, inputs, state.job, **RAW))
    fetched = [
        pictures.follow_models(studio, state, schema, boxes, form.lacks[name], [form.buttons[name]])
        for name, schema, boxes in (("edit", EditSettings, form.edit), ("control", ControlSettings, form.control))
    ]
    return form.photo, [view, JobView(pictures.MAP, [form.map, form.map_notes], _map_shown), *fetched]


def _form(studio: Studio) -> Form:
    photo = gr.Image(
        label="Photo", type="filepath", image_mode=None, sources=["upload", "clipboard"], height=170, elem_id="edit-photo", buttons=[]
    )
    refuse_broken(photo)
    buttons: dict[str, gr.Button] = {}
    lacks: dict[str, pictures.Lack] = {}
    with gr.Tabs():
        with gr.Tab("By an instruction", id="by-instruction"):
            edit: dict[str, Component] = {"instruction": control("instruction", EditSettings, elem_id="edit-instruction", info=None)}
            chips = gr.Radio(CHIPS, label="Edits", show_label=False, container=False, elem_id="edit-chips", elem_classes="trip-chips")
            chips.input(lambda words: words, chips, edit["instruction"], **QUICK)
            edit["instruction"].change(_chip_of, edit["instruction"], chips, **RAW, trigger_mode="always_last")
            edit["picture_model"], lacks["edit"] = pictures.model_control(studio, EditSettings, "edit")
            with gr.Accordion("Advanced", open=False, elem_id="edit-advanced"):
                edit |= pictures.settings_controls(studio, EditSettings, "edit", ("image_guidance", *SHARED, "negative_prompt"))
            buttons["edit"] = gr.Button("Edit", variant="primary", elem_id="edit")
        with gr.Tab("Over a control map", id="over-a-map"):
            drawn: dict[str, Component] = {"prompt": control("prompt", ControlSettings, elem_id="control-prompt")}
            with gr.Row():
                drawn["annotator"] = control("annotator", ControlSettings, elem_id="control-annotator", min_width=140)
                drawn["is_map"] = control("is_map", ControlSettings, elem_id="control-is_map", min_width=140)
            buttons["map"] = gr.Button("Make the map", elem_id="control-map-make")
            found = gr.ImageEditor(
                label="Control map", type="filepath", height=260, elem_id="control-map", buttons=[],
                sources=["upload"], brush=gr.Brush(colors=["#ffffff", "#000000"], color_mode="fixed"), layers=False, transforms=[],
            )  # fmt: skip
            notes = gr.HTML(elem_id="control-notes", visible=False)
            drawn["picture_model"], lacks["control"] = pictures.model_control(studio, ControlSettings, "control")
            with gr.Accordion("Advanced", open=False, elem_id="control-advanced"):
                more = ("strength", "low", "start", "high", "end", "controlnet", *SHARED, "negative_prompt")
                drawn |= pictures.settings_controls(studio, ControlSettings, "control", more)
            buttons["control"] = gr.Button("Draw", variant="primary", elem_id="control")
    slider = gr.ImageSlider(label="Before and after", type="filepath", interactive=False, visible=False, elem_id="before-after", buttons=[])
    return Form(photo, edit, drawn, found, notes, lacks, buttons, slider)


def _chip_of(instruction: Any) -> Any:
    """The chip that asks for just that."""
    return instruction if instruction in dict(CHIPS).values() else None


def _wire_asking(studio: Studio, state: page_state.PageState, form: Form) -> None:
    """Edit, Make the map, Draw."""

    def ask_edit(values: dict[Component, Any]) -> str:
        settings = or_toast(pictures.checked, EditSettings, form.edit, values)
        return or_toast(pictures.ask_here, studio, values[state.visitor], settings, or_toast(uploaded, values[form.photo])).id

    def ask_map(values: dict[Component, Any]) -> str:
        settings = or_toast(pictures.checked, ControlSettings, form.control, values)
        photo = or_toast(uploaded, values[form.photo])
        return or_toast(pictures.ask_here, studio, values[state.visitor], settings, photo, kind=pictures.MAP).id

    def ask_drawing(values: dict[Component, Any]) -> str:
        settings = or_toast(pictures.checked, ControlSettings, form.control, values)
        photo, found = or_toast(uploaded, values[form.photo]), or_toast(pictures.composite_path, values[form.map])
        return or_toast(pictures.ask_here, studio, values[state.visitor], settings, photo, None if settings.is_map else found).id

    inputs = form.inputs | {state.visitor}
    for name, ask in (("edit", ask_edit), ("map", ask_map), ("control", ask_drawing)):
        page_state.follow_job(studio, state, form.buttons[name].click(ask, inputs, state.job, **RAW))


def _map_shown(studio: Studio, job: Job | None) -> list[Any]:
    """A finished map goes into the editor, with what there is to know of it."""
    if job is None or job.state != State.DONE:
        return [gr.skip()] * 2
    return [pictures.map_of(studio, job), pictures.notes_list(job.result["notes"])]


def _wire_comparison(studio: Studio, state: page_state.PageState, form: Form, candidates: pictures.Candidates) -> None:
    """The picture that is chosen, beside its photo; a page that has just been opened gets the photo back."""

    def before_and_after(visitor: str, job_id: str, picture: str | None, photo: str | None) -> list[Any]:
        job = page_state.find_job(studio, visitor, job_id)
        before = studio.photo_of(job) if job else ""
        if not picture or not Path(before).is_file():  # drawn over a map that came without a photo
            return [gr.update(visible=False), gr.skip()]
        return [gr.update(value=(before, picture), visible=True), gr.skip() if photo else before]

    inputs = [state.visitor, candidates.job, candidates.picture, form.photo]
    candidates.picture.change(before_and_after, inputs, [form.slider, form.photo], **QUICK)
