"""A visitor's own clips: found again, sorted, marked, compared, downloaded together, deleted."""

import html
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import gradio as gr

from trip.jobs import batch
from trip.jobs.handlers.animate import VIDEO_MODEL
from trip.jobs.handlers.figure import label_of
from trip.jobs.store import Job, State
from trip.ui import elements
from trip.ui.page_state import QUICK, PageState, shown_jobs
from trip.ui.panels.result import or_toast
from trip.ui.studio import Studio

ORDERS: dict[str, Callable[[Job], Any]] = {
    "newest first": lambda job: -(job.ended or 0),
    "favourites first": lambda job: (not job.is_favourite, -(job.ended or 0)),
    "keeps the photo best": lambda job: -_number(job, "photo_kept_db"),
    "moves most": lambda job: -_number(job, "motion_pixels"),
}
MOST_SHOWN = 60
MOST_COMPARED = 4
UNDO = "“Undo delete” in the history brings back what was deleted, for 10 minutes"
PICK_ANOTHER = "<p>Pick another clip to compare this one with.</p>"


@dataclass(frozen=True)
class History:
    """The components of the panel; `filters` say what of the clips is listed, and which are picked to be compared."""

    cards: gr.HTML
    delete: gr.Button
    undo: gr.Button
    filters: list[gr.components.Component]

    @property
    def outputs(self) -> list[gr.blocks.Block]:
        """What `shown` gives values to, in that order."""
        return [self.cards, self.delete, self.undo]


def build(studio: Studio, state: PageState) -> History:
    """Lay out the panel."""
    with gr.Accordion("History", open=False, elem_id="history"):
        with gr.Row(equal_height=True):
            text = gr.Textbox(label="Search prompts", elem_id="history-text", scale=2, min_width=160)
            order = gr.Dropdown(list(ORDERS), value="newest first", label="Order", elem_id="history-order", scale=1, min_width=140)
        cards = gr.HTML(elem_id="cards", js_on_load=elements.ACTS_ON_LOAD)
        comparison = gr.HTML(elem_id="comparison", visible=False)
        picked = gr.State([])
        with gr.Row():
            delete = gr.Button("Delete what is shown", size="sm", elem_id="delete")
            undo = gr.Button("Undo delete", size="sm", elem_id="undo", visible=False)
            everything = gr.Button("Zip of all", size="sm", elem_id="zip")
        archive = gr.File(label="All clips", visible=False, interactive=False)
    panel = History(cards, delete, undo, [text, order, picked])
    known = [state.visitor, state.job, *panel.filters]

    def listing(visitor: str, job_id: str, *filters: Any) -> list:
        return shown(studio, visitor, shown_jobs(studio, visitor, job_id), *filters)

    def act(visitor: str, job_id: str, text: str, order: str, picked: list[str], event: gr.EventData) -> list:
        asked, key = elements.told(event, "act", "key")
        job = or_toast(studio.store.get, key, visitor)
        if asked == "show":
            return [job.id, picked, gr.skip(), *[gr.skip()] * len(panel.outputs)]
        if asked == "favour":
            or_toast(studio.store.favour, job.id, visitor, not job.is_favourite)
        elif asked == "compare":
            picked = [one for one in picked if one != job.id] if job.id in picked else [*picked, job.id][-MOST_COMPARED:]
        return [gr.skip(), picked, _compared(studio, visitor, picked), *listing(visitor, job_id, text, order, picked)]

    def drop(visitor: str, job_id: str, text: str, order: str, picked: list[str]) -> list:
        jobs = shown_jobs(studio, visitor, job_id)
        if not jobs:
            raise gr.Error("nothing is shown: choose a clip first", print_exception=False)
        neighbour = _neighbour(_listed(studio, visitor, text, order), jobs)
        can_undo = or_toast(studio.delete, visitor, *(job.id for job in jobs))
        gr.Info(f"Deleted. {UNDO}" if can_undo else "Deleted, also from the disk")
        return [neighbour, _compared(studio, visitor, picked), *listing(visitor, neighbour, text, order, picked)]

    def bring_back(visitor: str, *filters: Any) -> list:
        jobs = or_toast(studio.undo_delete, visitor)
        found = jobs[0].id if len(jobs) == 1 else batch.name_of(jobs[0]) or jobs[0].id
        return [found, *listing(visitor, found, *filters)]

    def pack(visitor: str) -> Any:
        return gr.File(str(or_toast(studio.download_all, visitor)), visible=True)

    # `input` of a text box does not tell of letters that are deleted or pasted
    gr.on([text.change, order.input], listing, known, panel.outputs, **QUICK, trigger_mode="always_last")
    cards.click(act, known, [state.job, picked, comparison, *panel.outputs], **QUICK)
    delete.click(drop, known, [state.job, comparison, *panel.outputs], **QUICK)
    undo.click(bring_back, [state.visitor, *panel.filters], [state.job, *panel.outputs], **QUICK)
    everything.click(pack, state.visitor, archive, **QUICK)
    return panel


def shown(studio: Studio, visitor: str, jobs: list[Job], text: str, order: str, picked: list[str]) -> list[Any]:
    """Values for `History.outputs`, with these jobs on the page."""
    found = _listed(studio, visitor, text, order)
    cards = "".join(_card(studio, job, job in jobs, job.id in picked) for job in found[:MOST_SHOWN])
    if not found:
        words = f"No clip has “{text.strip()}” in its prompt." if (text or "").strip() else "Your clips will be here."
    else:
        words = f"The first {MOST_SHOWN} of {len(found)} clips; search to find others." if len(found) > MOST_SHOWN else ""
    listing = f'<ul class="trip-cards">{cards}</ul><p role="status">{html.escape(words)}</p>'
    return [listing, gr.update(interactive=bool(jobs)), gr.update(visible=bool(visitor and studio.can_undo_delete(visitor)))]


def _listed(studio: Studio, visitor: str, text: str, order: str) -> list[Job]:
    return sorted(studio.clips(visitor, (text or "").strip()), key=ORDERS[order]) if visitor else []


def _neighbour(listed: list[Job], going: list[Job]) -> str:
    """Id of the clip after those that go, or before them; empty where none is left."""
    ids, gone = [job.id for job in listed], [job.id for job in going]
    at = next((index for index, one in enumerate(ids) if one in gone), 0)
    return next((one for one in [*ids[at:], *ids[:at][::-1]] if one not in gone), "")


def _compared(studio: Studio, visitor: str, picked: list[str]) -> Any:
    jobs = [job for one in picked for job in shown_jobs(studio, visitor, one) if "clip" in job.result]
    clips = comparison_of(studio, jobs) if len(jobs) > 1 else PICK_ANOTHER
    return gr.update(value=clips if jobs else "", visible=bool(jobs))


def _card(studio: Studio, job: Job, is_shown: bool, is_picked: bool) -> str:
    """HTML of a clip's thumbnail, which moves where motion is not to be reduced, its words, and what can be done with it."""
    folder, words = studio.store.folder_of(job), html.escape(title(job))
    still, moving = (html.escape(elements.address(folder / name)) for name in ("last.png", job.result.get("thumbnail", "last.png")))
    source = f'<source srcset="{still}" media="(prefers-reduced-motion: reduce)">'

    def button(act: str, label: str, inside: str, state: str) -> str:
        return f'<button type="button" data-act="{act}" data-key="{job.id}" aria-label="{label}: {words}" {state}>{inside}</button>'

    picture = f'<picture>{source}<img src="{moving}" alt="" loading="lazy"></picture>'
    star = button("favour", "Favourite", "★" if job.is_favourite else "☆", f'aria-pressed="{str(job.is_favourite).lower()}"')
    pick = button("compare", "Compare", "Compare", f'aria-pressed="{str(is_picked).lower()}"')
    show = button("show", "Show", picture, 'aria-current="true"' if is_shown else "")
    return f"<li>{show}<div>{star}{pick}</div><p><span>{words}</span></p></li>"


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
    more += [job.result["settings"]["model"]] if VIDEO_MODEL in job.settings else []
    words = [settings["prompt"] or "no prompt", f"{settings['num_steps']} steps", f"seed {job.result['seed']}", *filter(None, more)]
    return " · ".join(words)


def _number(job: Job, name: str) -> float:
    value = job.result.get(name)
    return value if isinstance(value, int | float) and value == value else 0.0
