"""What all tabs end in: how far the job is, what came of it, what still waits, and what was made before."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import gradio as gr

from trip.jobs.store import Job, State
from trip.ui import visit
from trip.ui.panels import history, progress, queue, result
from trip.ui.panels.result import told
from trip.ui.studio import Studio


@dataclass(frozen=True)
class Ending:
    """What jobs of one kind, or of some, end in, in whichever tab it lies.

    outputs  components that are filled
    shown    values for them, of a job of that kind or of none
    is_live  whether they follow a job that is still running
    """

    kind: str | tuple[str, ...]
    outputs: list[gr.blocks.Block]
    shown: Callable[[Studio, Job | None], list[Any]]
    is_live: bool = False

    def takes(self, job: Job | None) -> bool:
        """Whether a job is of its kind."""
        return job is not None and job.kind in ((self.kind,) if isinstance(self.kind, str) else self.kind)


@dataclass(frozen=True)
class Panels:
    """The panels beside and below the forms, and the columns that the tabs' forms and their own endings go into."""

    forms: gr.Column
    endings: gr.Column
    progress: gr.HTML
    stop: gr.Button
    result: result.ResultPanel
    queue: queue.QueuePanel
    history: history.History


def build(studio: Studio, state: visit.Visit) -> Panels:
    """Lay out the panels around an empty column for the tabs' forms; `follow_jobs` fills them."""
    with gr.Row():
        forms = gr.Column(min_width=320)
        with gr.Column(min_width=320):
            bar = gr.HTML(progress.of_job(studio, None), elem_id="progress", min_height=40)
            stop = gr.Button("Stop", size="sm", elem_id="stop", visible=False)
            endings = gr.Column()
            ending = result.build(studio, state)
            waiting = queue.build(studio, state)
    panels = Panels(forms, endings, bar, stop, ending, waiting, history.build(studio, state))
    _wire_buttons(studio, state, panels)
    return panels


def _wire_buttons(studio: Studio, state: visit.Visit, panels: Panels) -> None:
    """The buttons under a clip ask for the next one; Stop ends the job that is shown."""

    def halt(visitor: str, job_id: str) -> None:
        if visit.look(studio, visitor, job_id):
            told(studio.stop, job_id, visitor)

    for name, button in panels.result.actions.items():

        def next_one(visitor: str, job_id: str, prompt: str, name: str = name) -> str:
            return result.next_job(studio, name, visitor, job_id, prompt).id

        clicked = button.click(next_one, [state.visitor, state.job, panels.result.next_prompt], state.job, **visit.QUICK)
        visit.follow(studio, state, clicked)
    panels.stop.click(halt, [state.visitor, state.job], None, **visit.QUICK)


def follow_jobs(studio: Studio, state: visit.Visit, panels: Panels, endings: list[Ending]) -> None:
    """Looks when the page opens, when another job is chosen, and each second while one may change; one look fills everything."""
    endings = [Ending("animate", panels.result.outputs, result.shown), *endings]
    filled = [panels.progress, panels.stop, *panels.queue.outputs, *panels.history.outputs]
    filled += [component for ending in endings for component in ending.outputs]

    def look(visitor: str, job_id: str, seen: tuple) -> list[Any]:
        job, now = looked(studio, visitor, job_id)
        if now == seen:
            return [gr.skip()] * (len(filled) + 2)
        values = _shared(studio, visitor, job, now, seen)
        values += [value for ending in endings for value in _ended(studio, ending, job, seen)]
        return [*values, now, gr.Timer(active=may_change(now))]

    outputs, inputs = [*filled, state.seen, state.timer], [state.visitor, state.job, state.seen]
    state.timer.tick(look, inputs, outputs, **visit.QUICK)
    state.job.change(look, inputs, outputs, **visit.QUICK)
    state.job.change(None, state.job, None, js=visit.PUT_IN_ADDRESS)


def looked(studio: Studio, visitor: str, job_id: str) -> tuple[Job | None, tuple]:
    """The job that is shown, and what changes whenever the page should: that job, what waits, and how much is done.

    What waits is looked up before the job: a job that ends between the two still counts as waiting, so that the page looks once more.
    """
    unfinished = studio.store.jobs(visitor, State.QUEUED, State.PAUSED, State.RUNNING) if visitor else []
    waiting = tuple((other.id, other.state, other.place) for other in unfinished)
    job = visit.look(studio, visitor, job_id)
    shown = job and (job.id, job.state, job.fraction, job.words, studio.store.jobs_before(job))
    return job, (shown, waiting, studio.store.count(visitor, State.DONE))


def may_change(now: tuple) -> bool:
    """Whether anything that was `looked` up may still change by itself."""
    return any(state != State.PAUSED for _, state, _ in now[1])


def _shared(studio: Studio, visitor: str, job: Job | None, now: tuple, seen: tuple) -> list[Any]:
    """Progress, Stop, queue and history; what the visitor already sees is left as it is."""
    past = [gr.skip()] * 3 if seen and seen[2] == now[2] else history.shown(studio, visitor)
    stop = gr.update(visible=job is not None and job.state in (State.QUEUED, State.RUNNING))
    return [progress.of_job(studio, job), stop, *queue.shown(studio, visitor, job.id if job else ""), *past]


def _ended(studio: Studio, ending: Ending, job: Job | None, seen: tuple) -> list[Any]:
    """Values for an ending's outputs; what the visitor already sees is left as it is."""
    was = seen[0] if seen else None
    is_same = was is not None and job is not None and was[:2] == (job.id, job.state)
    if is_same and not (ending.is_live and ending.takes(job)):
        return [gr.skip()] * len(ending.outputs)
    return ending.shown(studio, job if ending.takes(job) else None)
