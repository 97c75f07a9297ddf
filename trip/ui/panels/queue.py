"""What of a visitor's still waits: cards with the photo, and what can be done with each."""

import html
from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path

import gradio as gr

from trip.jobs.store import Job, State
from trip.ui.page_state import QUICK, PageState, look_again
from trip.ui.panels.result import or_toast
from trip.ui.panels.thumbnail import thumbnail
from trip.ui.studio import Studio

THUMBNAIL = 56  # pixels


@dataclass(frozen=True)
class QueuePanel:
    """The components of the panel."""

    below: gr.Accordion
    cards: gr.HTML
    chosen: gr.Dropdown

    @property
    def outputs(self) -> list[gr.blocks.Block]:
        """What `shown` gives values to, in that order."""
        return [self.below, self.cards, self.chosen]


def build(studio: Studio, state: PageState) -> QueuePanel:
    """Lay out the panel; it shows itself while something besides the job that is shown waits or runs."""
    with gr.Accordion("Waiting", open=True, visible=False, elem_id="queue") as below:
        cards = gr.HTML()
        chosen = gr.Dropdown([], label="Job", elem_id="queue-job")
        with gr.Row():
            buttons = {
                "put_first": gr.Button("First", size="sm", min_width=60),
                "pause": gr.Button("Pause", size="sm", min_width=60),
                "resume": gr.Button("Go on", size="sm", min_width=60),
                "cancel": gr.Button("Remove", size="sm", min_width=60),
            }
    panel = QueuePanel(below, cards, chosen)
    for name, button in buttons.items():

        def change(visitor: str, job_id: str | None, name: str = name) -> list:
            if not job_id:
                raise gr.Error("choose a job first", print_exception=False)
            job = or_toast(getattr(studio.store, name), job_id, visitor)
            if name == "pause" and job.state != State.PAUSED:
                gr.Info(f"this job is {job.state}; only one that waits can be held back")
            studio.worker.wake()
            return shown(studio, visitor)

        look_again(state, button.click(change, [state.visitor, chosen], panel.outputs, **QUICK))
    return panel


def shown(studio: Studio, visitor: str, besides: Collection[str] = ()) -> list:
    """Values for `QueuePanel.outputs`; hidden where nothing is left besides the jobs that the page shows anyway."""
    jobs = studio.store.jobs(visitor, State.RUNNING, State.QUEUED, State.PAUSED)
    cards = "".join(_card(studio, job) for job in jobs)
    choices = [(_title(job), job.id) for job in jobs]
    is_more = any(job.id not in besides for job in jobs)
    return [gr.update(visible=is_more), f'<ul class="trip-queue">{cards}</ul>', gr.update(choices=choices)]


def _title(job: Job) -> str:
    words = next((job.settings[name] for name in ("prompt", "instruction", "name") if job.settings.get(name)), "no prompt")
    return f"{job.state}: {words}"


def _card(studio: Studio, job: Job) -> str:
    photo = Path(studio.photo_of(job))
    picture = f'<img alt="" src="{thumbnail(photo, THUMBNAIL)}">' if photo.exists() else ""
    return f"<li>{picture}<span>{html.escape(_title(job))}<small>{html.escape(job.words)}</small></span></li>"
