"""What all tabs end in: how far the job is, what came of it, what still waits, and what was made before."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import gradio as gr

from trip.jobs.store import Job, State
from trip.ui import page_state
from trip.ui.panels import examples, history, progress, queue, result
from trip.ui.panels.result import or_toast
from trip.ui.studio import Studio


@dataclass(frozen=True)
class JobView:
    """The components that show jobs of one kind, or of some, in whichever tab they lie.

    outputs  components that are filled
    values   for them, of a job of that kind or of none
    is_live  whether they follow a job that is still running
    """

    kind: str | tuple[str, ...]
    outputs: list[gr.blocks.Block]
    values: Callable[[Studio, Job | None], list[Any]]
    is_live: bool = False

    def accepts(self, job: Job | None) -> bool:
        """Whether a job is of its kind."""
        return job is not None and job.kind in ((self.kind,) if isinstance(self.kind, str) else self.kind)


@dataclass(frozen=True)
class Panels:
    """The panels beside and below the forms, and the columns that the tabs' forms and their own views go into."""

    forms: gr.Column
    views: gr.Column
    example: gr.HTML
    progress: gr.HTML
    stop: gr.Button
    result: result.ResultPanel
    queue: queue.QueuePanel
    history: history.History


def build(studio: Studio, state: page_state.PageState) -> Panels:
    """Lay out the panels around an empty column for the tabs' forms; `follow_jobs` fills them."""
    with gr.Row(elem_id="bench"):
        forms = gr.Column(min_width=320)
        with gr.Column(min_width=320, elem_id="made"):
            with gr.Column(elem_id="result"):
                example = examples.first()
                clip = gr.HTML(elem_id="clip", visible=False)
                with gr.Row(elem_id="job"):
                    bar = gr.HTML(progress.of_job(studio, None), elem_id="progress")
                    stop = gr.Button("Stop", size="sm", elem_id="stop", visible=False, scale=0, min_width=80)
            with gr.Column(elem_id="below"):
                views = gr.Column()
                result_panel = result.build(studio, state, clip)
                waiting = queue.build(studio, state)
    panels = Panels(forms, views, example, bar, stop, result_panel, waiting, history.build(studio, state))
    _wire_buttons(studio, state, panels)
    return panels


def _wire_buttons(studio: Studio, state: page_state.PageState, panels: Panels) -> None:
    """The buttons under a clip ask for the next one; Stop ends the job that is shown."""

    def halt(visitor: str, job_id: str) -> None:
        if page_state.find_job(studio, visitor, job_id):
            or_toast(studio.stop, job_id, visitor)

    for name, button in panels.result.actions.items():

        def next_clip(visitor: str, job_id: str, prompt: str, name: str = name) -> str:
            return result.next_job(studio, name, visitor, job_id, prompt).id

        clicked = button.click(next_clip, [state.visitor, state.job, panels.result.next_prompt], state.job, **page_state.QUICK)
        page_state.follow_job(studio, state, clicked)
    panels.stop.click(halt, [state.visitor, state.job], None, **page_state.QUICK)


def follow_jobs(studio: Studio, state: page_state.PageState, panels: Panels, views: list[JobView]) -> None:
    """Looks when the page opens, when another job is chosen, and each second while one may change; one look fills everything."""
    views = [JobView("animate", panels.result.outputs, result.shown), *views]
    filled = [panels.example, panels.progress, panels.stop, *panels.queue.outputs, *panels.history.outputs]
    filled += [component for view in views for component in view.outputs]

    def refresh(visitor: str, job_id: str, seen: tuple) -> list[Any]:
        job, now = snapshot(studio, visitor, job_id)
        if now == seen:
            return [gr.skip()] * (len(filled) + 2)
        values = _common_values(studio, visitor, job, now, seen)
        values += [value for view in views for value in _view_values(studio, view, job, seen)]
        return [*values, now, gr.Timer(active=may_change(now))]

    outputs, inputs = [*filled, state.seen, state.timer], [state.visitor, state.job, state.seen]
    state.timer.tick(refresh, inputs, outputs, **page_state.QUICK)
    state.job.change(refresh, inputs, outputs, **page_state.QUICK)
    state.job.change(None, state.job, None, js=page_state.PUT_IN_ADDRESS)


def snapshot(studio: Studio, visitor: str, job_id: str) -> tuple[Job | None, tuple]:
    """The job that is shown, and what changes whenever the page should: that job, what waits, and how much is done.

    What waits is looked up before the job: a job that ends between the two still counts as waiting, so that the page looks once more.
    """
    unfinished = studio.store.jobs(visitor, State.QUEUED, State.PAUSED, State.RUNNING) if visitor else []
    waiting = tuple((other.id, other.state, other.place) for other in unfinished)
    job = page_state.find_job(studio, visitor, job_id)
    shown = job and (job.id, job.state, job.fraction, job.words, studio.store.jobs_before(job))
    return job, (shown, waiting, studio.store.count(visitor, State.DONE))


def may_change(now: tuple) -> bool:
    """Whether anything of a `snapshot` may still change by itself."""
    return any(state != State.PAUSED for _, state, _ in now[1])


def _common_values(studio: Studio, visitor: str, job: Job | None, now: tuple, seen: tuple) -> list[Any]:
    """The example where there is no job, progress, Stop, queue and history; what the visitor already sees is left as it is."""
    past = [gr.skip()] * 3 if seen and seen[2] == now[2] else history.shown(studio, visitor)
    stop = gr.update(visible=job is not None and job.state in (State.QUEUED, State.RUNNING))
    return [gr.update(visible=job is None), progress.of_job(studio, job), stop, *queue.shown(studio, visitor, job.id if job else ""), *past]


def _view_values(studio: Studio, view: JobView, job: Job | None, seen: tuple) -> list[Any]:
    """Values for a view's outputs; what the visitor already sees is left as it is."""
    was = seen[0] if seen else None
    is_same = was is not None and job is not None and was[:2] == (job.id, job.state)
    if is_same and not (view.is_live and view.accepts(job)):
        return [gr.skip()] * len(view.outputs)
    return view.values(studio, job if view.accepts(job) else None)
