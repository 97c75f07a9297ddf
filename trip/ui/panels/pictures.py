"""What the tabs share that make a first frame: asking for pictures, and the pictures to choose from."""

import html
from dataclasses import dataclass
from typing import Any

import gradio as gr
from gradio.components import Component
from PIL import Image

from trip.first_frame.catalogue import cards, size_of
from trip.first_frame.local_models import (
    EXTRAS,
    MissingModel,
    default_model,
    extras,
    is_available,
    num_bytes_to_get,
    resolve_models,
    task_of,
)
from trip.jobs.store import Job, State
from trip.media import read_photo
from trip.settings import AnimateSettings, ControlSettings, EditSettings, PaintSettings, PictureSettings
from trip.ui.form import control, refuse_broken, uploaded
from trip.ui.page_state import QUICK, RAW, PageState, follow_job
from trip.ui.panels.layout import JobView
from trip.ui.panels.result import or_toast
from trip.ui.studio import LARGEST_PHOTO, Studio

KINDS = {PaintSettings: "paint", EditSettings: "edit", ControlSettings: "control"}
MAP = "map"
MODEL_INFO = "From the list, or another folder or hub id that is on this machine"


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
        resolve_models(settings, studio.models)  # what is missing is told at once, before anything waits in the queue
    pictures = [None if one is None else read_photo_small(one) for one in (photo, found)]
    asked = settings.model_dump() | ({"then": then.model_dump()} if then else {})
    job = studio.store.submit(visitor, kind, asked, *pictures)
    studio.worker.wake()
    return job


def ask_here(*arguments: Any, **more: Any) -> Job:
    """As `ask`, for people at the page, who have a button that gets a model: the toast says nothing of the command."""
    try:
        return ask(*arguments, **more)
    except MissingModel as error:
        raise gr.Error(error.words, print_exception=False) from error


def missing_model(studio: Studio, settings: PictureSettings) -> str:
    """Which model is missing for that, and how to get it, in one line; empty where nothing is."""
    try:
        resolve_models(settings, studio.models)
    except ValueError as error:
        return str(error)
    return ""


def read_photo_small(source: Any) -> Image.Image:
    """A photo as jobs keep it; ValueError, in one line, where it is none."""
    return read_photo(source, LARGEST_PHOTO)


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


def notes_list(lines: list[str]) -> Any:
    """What a person should know, as a list; hidden where that is nothing."""
    listed = "".join(f"<li>{html.escape(line)}</li>" for line in lines)
    return gr.update(value=f'<ul class="trip-notes" role="status">{listed}</ul>', visible=bool(lines))


@dataclass(frozen=True)
class Lack:
    """What the chosen model lacks, in words, and the button that gets it."""

    words: gr.HTML
    get: gr.Button


def model_control(studio: Studio, schema: type[PictureSettings], prefix: str) -> tuple[gr.Dropdown, Lack]:
    """The choice of a model, and what the chosen one lacks; `follow_models` keeps both true."""
    choices, default = _choices(studio, schema), default_model(schema, studio.models)
    with gr.Row(elem_classes="trip-line"):
        box = gr.Dropdown(
            choices, value=default if is_available(default, studio.models) else choices[0][1], label="Model", info=MODEL_INFO,
            allow_custom_value=True, elem_id=f"{prefix}-model", scale=3, min_width=200,
        )  # fmt: skip
        get = gr.Button("Get it", size="sm", elem_id=f"{prefix}-get", visible=False, scale=1, min_width=90)
    return box, Lack(gr.HTML(elem_id=f"{prefix}-lacks", elem_classes="trip-hint", padding=False, visible=False), get)


def _choices(studio: Studio, schema: type[PictureSettings]) -> list[tuple[str, str]]:
    """Title and name of every model of the list, with how much of it is to get: what is here first, then the smallest."""
    known = cards(task_of(schema))
    sizes = {name: 0 if is_available(name, studio.models) else num_bytes_to_get(name, studio.models) for name in known}
    places = {name: f"{size_of(sizes[name])} to get" if sizes[name] else "here" for name in sorted(known, key=sizes.__getitem__)}
    return [(f"{known[name].title} · {place}", name) for name, place in places.items()]


def follow_models(
    studio: Studio, state: PageState, schema: type[PictureSettings], boxes: dict[str, Component], lack: Lack, asking: list[gr.Button]
) -> JobView:
    """What is here, and what the choice lacks: as the page opens, when another is chosen, and after a download, which ends in this.

    asking  buttons that are off while something is missing
    """
    names = [name for name in ("picture_model", "annotator", "controlnet", "refine") if name in boxes]
    fetched, wanted = gr.State(""), gr.State("")  # id of the newest download; name of the card to get

    def show_missing(*values: Any) -> list[Any]:
        words = name = ""
        try:
            resolve_models(schema.checked(**dict(zip(names, values, strict=False))), studio.models)
        except MissingModel as error:
            name, words = error.name, error.words if studio.fetches else str(error)
        except ValueError as error:
            words = str(error)
        shown = gr.update(value=f"<p>{html.escape(words)}</p>", visible=bool(words))
        off = [gr.update(interactive=not words)] * len(asking)
        return [shown, gr.update(visible=bool(name) and studio.fetches), name, *off]

    def get(visitor: str, name: str) -> str:
        return or_toast(studio.fetch, visitor, name).id

    gr.on(None, lambda *_: gr.update(choices=_choices(studio, schema)), fetched, boxes["picture_model"], **QUICK)
    gr.on(None, show_missing, [*(boxes[name] for name in names), fetched], [lack.words, lack.get, wanted, *asking], **RAW)
    follow_job(studio, state, lack.get.click(get, [state.visitor, wanted], state.job, **QUICK))
    return JobView("fetch", [fetched], lambda studio, job: [job.id if job and job.state.is_final else gr.skip()])


def settings_controls(studio: Studio, schema: type[PictureSettings], prefix: str, wanted: tuple[str, ...]) -> dict[str, Component]:
    """Controls of the settings that are rarely changed, two in a row."""
    components: dict[str, Component] = {}
    absent = {kind for kind in EXTRAS if not extras(kind, studio.models)}  # a choice of nothing
    wanted = tuple(name for name in wanted if name.partition("_")[0] not in absent)
    for index in range(0, len(wanted), 2):
        with gr.Row():
            for name in wanted[index : index + 2]:
                more = {"elem_id": f"{prefix}-{name}", "min_width": 120}
                if name in ("lora", "embedding"):
                    choices = ["", *extras(name, studio.models)]
                    field = schema.model_fields[name]
                    components[name] = gr.Dropdown(choices, value="", label=field.title, info=field.description, **more)
                else:
                    components[name] = control(name, schema, **more)
    return components


def checked(schema: type[PictureSettings], boxes: dict[str, Component], values: dict[Component, Any]) -> Any:
    """The settings of a form; ValueError, in one line."""
    return schema.checked(**{name: values[box] for name, box in boxes.items()})


def composite_path(value: Any) -> str | None:
    """Where an editor's picture lies, with what was drawn on it; ValueError as `uploaded`."""
    return uploaded(value and (value.get("composite") or value.get("background")))


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


def candidates(studio: Studio, state: PageState, prefix: str, *kinds: str, label: str) -> tuple[Candidates, JobView]:
    """Lay out the pictures of a job of these kinds; the newest ones of the visitor when the page opens."""
    gallery = gr.Gallery(
        label="Pictures; choose one", columns=4, height=150, object_fit="contain", allow_preview=False, buttons=[],
        elem_id=f"{prefix}-pictures", visible=False,
    )  # fmt: skip
    picture = gr.Image(
        label=label, type="filepath", image_mode=None, sources=["upload", "clipboard"], height=220, elem_id=f"{prefix}-picture", buttons=[]
    )
    refuse_broken(picture)
    components = Candidates(gallery, picture, gr.HTML(elem_id=f"{prefix}-notes", visible=False), gr.State(""), gr.State([]), gr.State(None))

    def newest(visitor: str) -> list[Any]:
        return shown(studio, latest(studio, visitor, *kinds))

    def choose(listed: list[tuple[str, int]], event: gr.SelectData) -> tuple[str, int]:
        return listed[event.index]

    state.visitor.change(newest, state.visitor, components.outputs, **QUICK)
    gallery.select(choose, components.listed, [components.picture, components.seed], **QUICK)
    return components, JobView(kinds, components.outputs, shown)


def shown(studio: Studio, job: Job | None) -> list[Any]:
    """Values for `Candidates.outputs`; nothing changes while another kind of job is shown, or none that is done."""
    if job is None or job.state != State.DONE:
        return [gr.skip()] * 6
    listed = [(path, one["seed"]) for path, one in zip(paths_of(studio, job), job.result["pictures"], strict=True)]
    gallery = gr.update(value=[(path, f"seed {seed}") for path, seed in listed], visible=len(listed) > 1)
    return [gallery, listed[0][0], notes_list(job.result["notes"]), job.id, listed, listed[0][1]]
