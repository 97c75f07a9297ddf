"""Clips of a batch, beside each other on one clock while they come: one of several seeds to keep, or one of several photos to open."""

from pathlib import Path
from typing import Any

import gradio as gr

from trip.jobs.batch import label_of
from trip.jobs.store import Job, State
from trip.ui import elements
from trip.ui.page_state import QUICK, PageState
from trip.ui.panels.history import UNDO
from trip.ui.panels.result import or_toast
from trip.ui.panels.thumbnail import thumbnail
from trip.ui.studio import Studio

STILL = 192  # pixels
TO_COME = {State.CANCELLED: "Stopped", State.FAILED: "Not made"}  # what a clip is that is not there; else it is to come


def build(studio: Studio, state: PageState) -> gr.HTML:
    """Lay out the grid, hidden."""
    grid = gr.HTML(elem_id="grid", visible=False, js_on_load=elements.CHOSEN_ON_LOAD)

    def choose(visitor: str, event: gr.EventData) -> str:
        job = or_toast(studio.store.get, *elements.told(event, "key"), visitor)
        if not label_of(job) and (count := or_toast(studio.keep, job.id, visitor)):
            gr.Info(f"Kept; {count} {'other is' if count == 1 else 'others are'} deleted. {UNDO}")
        return job.id

    grid.click(choose, state.visitor, state.job, **QUICK)
    return grid


def shown(studio: Studio, jobs: list[Job]) -> Any:
    """Value for the grid; hidden where there are not several."""
    if len(jobs) < 2:
        return gr.update(value="", visible=False)
    words = "Open" if label_of(jobs[0]) else "Keep this one"
    return gr.update(value=elements.clip_grid([_tile(studio, job) for job in jobs], "Clips of one run", words), visible=True)


def _tile(studio: Studio, job: Job) -> elements.ComparedClip:
    label = label_of(job)
    if job.state == State.DONE:
        result = job.result
        return elements.ComparedClip(studio.clip_of(job), label or f"seed {result['seed']}", result["fps"], result["num_frames"], job.id)
    photo = Path(studio.photo_of(job))
    still = thumbnail(photo, STILL) if photo.exists() else ""
    return elements.ComparedClip("", TO_COME.get(job.state, "To come"), still=still)
