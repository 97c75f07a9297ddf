"""A visitor's own results: found again, sorted, compared, downloaded together, deleted."""

from dataclasses import dataclass
from typing import Any

import gradio as gr

from trip.jobs.handlers.figure import label_of
from trip.jobs.store import Job, State
from trip.ui import elements
from trip.ui.page_state import QUICK, SHOW_RESULT, PageState
from trip.ui.panels.result import or_toast
from trip.ui.studio import Studio

ORDERS = {
    "newest first": lambda job: -(job.ended or 0),
    "keeps the photo best": lambda job: -_number(job, "photo_kept_db"),
    "moves most": lambda job: -_number(job, "motion_pixels"),
}
MOST_COMPARED = 4


@dataclass(frozen=True)
class History:
    """The components of the panel."""

    gallery: gr.Gallery
    listed: gr.State
    compared: gr.Dropdown

    @property
    def outputs(self) -> list[gr.blocks.Block]:
        """What `shown` gives values to, in that order."""
        return [self.gallery, self.listed, self.compared]


def build(studio: Studio, state: PageState) -> History:
    """Lay out the panel."""
    with gr.Accordion("History", open=False, elem_id="history"):
        with gr.Row(equal_height=True):
            text = gr.Textbox(label="Search prompts", elem_id="history-text", scale=2, min_width=160)
            order = gr.Dropdown(list(ORDERS), value="newest first", label="Order", elem_id="history-order", scale=1, min_width=140)
        gallery = gr.Gallery(
            label="Your clips; choose one to show it",
            columns=6,
            height=220,
            object_fit="contain",
            allow_preview=False,
            buttons=[],
            elem_id="gallery",
        )
        listed = gr.State([])
        with gr.Row():
            delete = gr.Button("Delete the one shown", size="sm", elem_id="delete")
            everything = gr.Button("Zip of all", size="sm", elem_id="zip")
        archive = gr.File(label="All clips", visible=False, interactive=False)
        compared = gr.Dropdown(
            [], multiselect=True, max_choices=MOST_COMPARED, label="Compare", info="two or more clips on one clock", elem_id="compared"
        )
        comparison = gr.HTML(elem_id="comparison", visible=False)
    panel = History(gallery, listed, compared)

    def listing(visitor: str, text: str, order: str) -> list:
        return shown(studio, visitor, text, order)

    def choose(listed: list[str], event: gr.SelectData) -> str:
        return listed[event.index]

    def drop(visitor: str, job_id: str, text: str, order: str) -> list:
        or_toast(studio.delete, job_id, visitor)
        gr.Info("Deleted, also from the disk")
        return ["", *shown(studio, visitor, text, order)]

    def pack(visitor: str) -> Any:
        return gr.File(str(or_toast(studio.download_all, visitor)), visible=True)

    def side_by_side(visitor: str, chosen: list[str]) -> Any:
        jobs = [or_toast(studio.store.get, job_id, visitor) for job_id in chosen or []]
        return gr.update(value=comparison_of(studio, jobs) if len(jobs) > 1 else "", visible=len(jobs) > 1)

    filters = [state.visitor, text, order]
    gr.on([text.input, order.input], listing, filters, panel.outputs, **QUICK)
    gallery.select(choose, listed, state.job, **QUICK).then(None, js=SHOW_RESULT)
    delete.click(drop, [state.visitor, state.job, text, order], [state.job, *panel.outputs], **QUICK)
    everything.click(pack, state.visitor, archive, **QUICK)
    compared.input(side_by_side, [state.visitor, compared], comparison, **QUICK)
    return panel


def shown(studio: Studio, visitor: str, text: str = "", order: str = "newest first") -> list[Any]:
    """Values for `History.outputs`."""
    jobs = sorted(studio.clips(visitor, text or ""), key=ORDERS[order]) if visitor else []
    pictures = [(str(studio.store.folder_of(job) / "last.png"), title(job)) for job in jobs]
    return [pictures, [job.id for job in jobs], gr.update(choices=[(title(job), job.id) for job in jobs])]


def comparison_of(studio: Studio, jobs: list[Job]) -> str:
    """HTML of done jobs' clips on one clock; ValueError where one is not done."""
    if waiting := [job for job in jobs if job.state != State.DONE]:
        raise ValueError(f"a clip to compare is {waiting[0].state}; wait until it is done")
    return elements.compare(
        [elements.ComparedClip(studio.clip_of(job), title(job), job.result["fps"], job.result["num_frames"]) for job in jobs]
    )


def title(job: Job) -> str:
    """A done job in a few words."""
    settings = job.result["settings"]
    more = [label_of(job), "fine-tuned" if "lora" in job.settings else ""]
    words = [settings["prompt"] or "no prompt", f"{settings['num_steps']} steps", f"seed {job.result['seed']}", *filter(None, more)]
    return " · ".join(words)


def _number(job: Job, name: str) -> float:
    value = job.result.get(name)
    return value if isinstance(value, int | float) and value == value else 0.0
