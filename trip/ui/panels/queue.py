"""What of a visitor's still waits: rows with the photo, and what can be done with each."""

import html
from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path

import gradio as gr

from trip.jobs.store import Job, State
from trip.ui import elements
from trip.ui.page_state import QUICK, PageState, look_again, shown_jobs
from trip.ui.panels.result import or_toast
from trip.ui.panels.thumbnail import thumbnail
from trip.ui.studio import Studio

THUMBNAIL = 56  # pixels
ACTS = {  # of a row: what the store is asked for, and where it makes sense
    "put_first": ("First", (State.QUEUED, State.PAUSED)),
    "pause": ("Pause", (State.QUEUED,)),
    "resume": ("Go on", (State.PAUSED,)),
    "cancel": ("Remove", (State.QUEUED, State.PAUSED, State.RUNNING)),
}


@dataclass(frozen=True)
class QueuePanel:
    """The components of the panel."""

    below: gr.Accordion
    rows: gr.HTML

    @property
    def outputs(self) -> list[gr.blocks.Block]:
        """What `shown` gives values to, in that order."""
        return [self.below, self.rows]


def build(studio: Studio, state: PageState) -> QueuePanel:
    """Lay out the panel; it shows itself while something besides what is shown waits or runs."""
    with gr.Accordion("Waiting", open=True, visible=False, elem_id="queue") as below:
        rows = gr.HTML(js_on_load=elements.ACTS_ON_LOAD)
    panel = QueuePanel(below, rows)

    def act(visitor: str, shown_id: str, event: gr.EventData) -> list:
        name, job_id = elements.told(event, "act", "key")
        if name in ACTS:
            or_toast(getattr(studio.store, name), job_id, visitor)
            studio.worker.wake()
        return shown(studio, visitor, [job.id for job in shown_jobs(studio, visitor, shown_id)])

    look_again(state, rows.click(act, [state.visitor, state.job], panel.outputs, **QUICK))
    return panel


def shown(studio: Studio, visitor: str, besides: Collection[str] = ()) -> list:
    """Values for `QueuePanel.outputs`; hidden where nothing is left besides the jobs that the page shows anyway; one that
    is paused goes on from here alone."""
    jobs = studio.store.jobs(visitor, State.RUNNING, State.QUEUED, State.PAUSED)
    rows = "".join(_row(studio, job) for job in jobs)
    is_more = any(job.id not in besides or job.state == State.PAUSED for job in jobs)
    return [gr.update(visible=is_more), f'<ul class="trip-queue">{rows}</ul>']


def _row(studio: Studio, job: Job) -> str:
    words = next((job.settings[name] for name in ("prompt", "instruction", "name") if job.settings.get(name)), "no prompt")
    words, photo = html.escape(f"{job.state}: {words}"), Path(studio.photo_of(job))
    picture = f'<img alt="" src="{thumbnail(photo, THUMBNAIL)}">' if photo.exists() else ""
    buttons = "".join(
        f'<button type="button" data-act="{act}" data-key="{job.id}" aria-label="{label}: {words}">{label}</button>'
        for act, (label, states) in ACTS.items()
        if job.state in states
    )
    return f"<li>{picture}<span>{words}<small>{html.escape(job.words)}</small></span><div>{buttons}</div></li>"
