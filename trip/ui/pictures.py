"""What the tabs share that make a first frame: asking for pictures, and the pictures to choose from."""

import html
from dataclasses import dataclass
from typing import Any

import gradio as gr
from gradio.components import Component

from trip.first_frame.catalogue import cards, size_of
from trip.first_frame.whereabouts import extras, find, find_controlnet, where
from trip.jobs.store import Job, State
from trip.media import read_photo
from trip.settings import AnimateSettings, ControlSettings, EditSettings, PaintSettings, PictureSettings, Request
from trip.ui.form import control
from trip.ui.panels import Ending
from trip.ui.studio import LARGEST_PHOTO, Studio
from trip.ui.visit import QUICK, Visit

KINDS = {PaintSettings: "paint", EditSettings: "edit", ControlSettings: "control"}
MAP = "map"


def ask(
    studio: Studio,
    visitor: str,
    settings: PictureSettings,
    photo: Any = None,
    found: Any = None,
    *,
    kind: str | None = None,
    then: AnimateSettings | None = None,
) -> Job:
    """Asks for pictures. ValueError, in one line, where there is no photo or no model, or no room for the job.

    found  a control map to draw over
    kind   MAP for the control map alone
    then   asks for a clip of the first picture as well
    """
    kind = kind or KINDS[type(settings)]
    if kind != "paint" and photo is None and found is None:
        raise ValueError("there is no photo yet: choose one first")
    if kind != MAP:
        _check_models(studio, settings)
    pictures = [None if one is None else _small(one) for one in (photo, found)]
    asked = settings.model_dump() | ({"then": then.model_dump()} if then else {})
    job = studio.store.submit(visitor, kind, asked, *pictures)
    studio.worker.wake()
    return job


def _check_models(studio: Studio, settings: PictureSettings) -> None:
    """Says at once what is missing, before anything waits in the queue."""
    model = find(settings.picture_model, studio.models, "edit" if isinstance(settings, EditSettings) else "paint")
    if isinstance(settings, ControlSettings):
        find_controlnet(settings.controlnet, model, settings.annotator, studio.models)


def _small(source: Any) -> Any:
    picture = read_photo(source).copy()
    picture.thumbnail((LARGEST_PHOTO, LARGEST_PHOTO))
    return picture


def latest(studio: Studio, visitor: str, *kinds: str) -> Job | None:
    """A visitor's newest done job of these kinds."""
    done = studio.store.jobs(visitor, State.DONE) if visitor else []
    return next((job for job in done if job.kind in kinds), None)


def paths_of(studio: Studio, job: Job) -> list[str]:
    """Where the pictures of a done job lie."""
    return [str(studio.store.folder_of(job) / picture["file"]) for picture in job.result["pictures"]]


def map_of(studio: Studio, job: Job) -> str | None:
    """Where the control map of a done job lies."""
    return job.result["map"] and str(studio.store.folder_of(job) / job.result["map"])


def notes_of(job: Job | None) -> str:
    """HTML of what a person should know of a done job."""
    lines = "".join(f"<li>{html.escape(note)}</li>" for note in job.result["notes"]) if job else ""
    return f'<ul class="trip-notes" role="status">{lines}</ul>' if lines else ""


def model_control(studio: Studio, schema: type[Request], **more: Any) -> Component:
    """The choice of a model, which says of each whether it is here."""
    task = "edit" if schema is EditSettings else "paint"
    known = cards(task)
    choices = [(f"{card.title} · {_place(studio, name)}", name) for name, card in known.items()]
    field = schema.model_fields["picture_model"]
    here = [name for name, card in known.items() if where(card, studio.models)]
    value = field.default if field.default in here or not here else here[0]
    common = {"label": field.title, "info": field.description, "allow_custom_value": True}
    return gr.Dropdown(choices, value=value, **common | more)


def _place(studio: Studio, name: str) -> str:
    card = cards()[name]
    return "here" if where(card, studio.models) else f"{size_of(card.about_bytes)} to get"


def settings_controls(studio: Studio, schema: type[PictureSettings], prefix: str, wanted: tuple[str, ...]) -> dict[str, Component]:
    """Controls of the settings that are rarely changed, two in a row."""
    made: dict[str, Component] = {}
    for index in range(0, len(wanted), 2):
        with gr.Row():
            for name in wanted[index : index + 2]:
                more = {"elem_id": f"{prefix}-{name}", "min_width": 120}
                if name in ("lora", "embedding"):
                    choices = ["", *extras(name, studio.models)]
                    more |= {"choices": choices}
                    field = schema.model_fields[name]
                    made[name] = gr.Dropdown(choices, value="", label=field.title, info=field.description, elem_id=more["elem_id"])
                else:
                    made[name] = control(name, schema, **more)
    return made


def leave_open(boxes: dict[str, Component]) -> None:
    """Empties the numbers when the page opens: Gradio draws one that has no value as 0."""
    numbers = [box for box in boxes.values() if isinstance(box, gr.Number)]
    gr.on(None, lambda: [gr.update(value=None, placeholder="automatic") for _ in numbers], None, numbers, **QUICK)


def checked(schema: type[PictureSettings], boxes: dict[str, Component], values: dict[Component, Any]) -> Any:
    """The settings of a form; ValueError, in one line."""
    return schema.checked(**{name: values[box] for name, box in boxes.items()})


def uploaded(value: Any) -> str | None:
    """Where a photo of the form lies; an editor's with what was drawn on it."""
    if isinstance(value, dict) and "path" not in value:
        value = value.get("composite") or value.get("background")
    return value and value["path"]


@dataclass(frozen=True)
class Candidates:
    """Pictures to choose from, and the chosen one, which may be replaced by a photo of the person's own."""

    gallery: gr.Gallery
    picture: gr.Image
    notes: gr.HTML
    job: gr.State  # id of the job whose pictures these are
    listed: gr.State  # path and seed of each
    seed: gr.State  # of the chosen one

    @property
    def outputs(self) -> list[gr.blocks.Block]:
        """What `shown` gives values to, in that order."""
        return [self.gallery, self.picture, self.notes, self.job, self.listed, self.seed]


def candidates(studio: Studio, state: Visit, prefix: str, *kinds: str, label: str) -> tuple[Candidates, Ending]:
    """Lay out the pictures of a job of these kinds; the newest ones of the visitor when the page opens."""
    gallery = gr.Gallery(
        label="Pictures; choose one", columns=4, height=150, object_fit="contain", allow_preview=False, buttons=[],
        elem_id=f"{prefix}-pictures", visible=False,
    )  # fmt: skip
    picture = gr.Image(label=label, type="filepath", sources=["upload", "clipboard"], height=220, elem_id=f"{prefix}-picture", buttons=[])
    made = Candidates(gallery, picture, gr.HTML(elem_id=f"{prefix}-notes"), gr.State(""), gr.State([]), gr.State(None))

    def newest(visitor: str) -> list[Any]:
        return shown(studio, latest(studio, visitor, *kinds))

    def choose(listed: list[tuple[str, int]], event: gr.SelectData) -> tuple[str, int]:
        return listed[event.index]

    state.visitor.change(newest, state.visitor, made.outputs, **QUICK)
    gallery.select(choose, made.listed, [made.picture, made.seed], **QUICK)
    return made, Ending(kinds, made.outputs, shown)


def shown(studio: Studio, job: Job | None) -> list[Any]:
    """Values for `Candidates.outputs`; nothing changes while another kind of job is shown, or none that is done."""
    if job is None or job.state != State.DONE:
        return [gr.skip()] * 6
    listed = [(path, one["seed"]) for path, one in zip(paths_of(studio, job), job.result["pictures"], strict=True)]
    gallery = gr.update(value=[(path, f"seed {seed}") for path, seed in listed], visible=len(listed) > 1)
    return [gallery, listed[0][0], notes_of(job), job.id, listed, listed[0][1]]
