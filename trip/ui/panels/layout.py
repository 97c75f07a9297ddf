"""What all tabs end in: how far the job is, what came of it, what still waits, and what was made before."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import gradio as gr

from trip.jobs import batch
from trip.jobs.handlers import figure
from trip.jobs.store import Job, State
from trip.ui import page_state
from trip.ui.panels import examples, grid, history, progress, queue, result
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
    grid: gr.HTML
    progress: gr.HTML
    together: gr.Button
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
                clips = grid.build(studio, state)
                with gr.Row(elem_id="job"):
                    bar = gr.HTML(progress.of_job(studio, None), elem_id="progress")
                    together = gr.Button("All", size="sm", elem_id="together", visible=False, scale=0, min_width=80)
                    stop = gr.Button("Stop", size="sm", elem_id="stop", visible=False, scale=0, min_width=80)
            with gr.Column(elem_id="below"):
                views = gr.Column()
                result_panel = result.build(studio, state, clip)
                waiting = queue.build(studio, state)
    past = history.build(studio, state)
    panels = Panels(forms, views, example, clips, bar, together, stop, result_panel, waiting, past)
    _wire_buttons(studio, state, panels)
    return panels


def _wire_buttons(studio: Studio, state: page_state.PageState, panels: Panels) -> None:
    """The buttons under a clip ask for the next one; Stop ends all that is shown, and a clip of a batch leads to the others."""

    def halt(visitor: str, job_id: str) -> None:
        or_toast(studio.stop, visitor, *unfinished(studio, visitor, job_id))

    def show_batch(visitor: str, job_id: str) -> Any:
        job = page_state.find_job(studio, visitor, job_id)
        return batch.name_of(job) if job else gr.skip()

    for name, button in panels.result.actions.items():

        def next_clip(visitor: str, job_id: str, prompt: str, name: str = name) -> str:
            return result.next_job(studio, name, visitor, job_id, prompt)

        clicked = button.click(next_clip, [state.visitor, state.job, panels.result.next_prompt], state.job, **page_state.QUICK)
        page_state.follow_job(studio, state, clicked)
    panels.together.click(show_batch, [state.visitor, state.job], state.job, **page_state.QUICK)
    panels.stop.click(halt, [state.visitor, state.job], None, **page_state.QUICK)


def follow_jobs(studio: Studio, state: page_state.PageState, panels: Panels, views: list[JobView]) -> None:
    """Looks when the page opens, when another job is chosen, and each second while one may change; one look fills everything."""
    views = [JobView("animate", panels.result.outputs, result.shown), *views]
    filled = [panels.example, panels.grid, panels.progress, panels.together, panels.stop, *panels.queue.outputs, *panels.history.outputs]
    filled += [component for view in views for component in view.outputs]

    def refresh(visitor: str, job_id: str, seen: tuple, *filters: Any) -> list[Any]:
        jobs, now = snapshot(studio, visitor, job_id)
        if (found := jobs[0].id if len(jobs) == 1 else job_id if jobs else latest(studio, visitor)) != job_id and visitor:
            return [gr.skip()] * (len(filled) + 2) + [found]
        if now == seen:
            return [gr.skip()] * (len(filled) + 3)
        values = _common_values(studio, visitor, jobs, now, seen, filters)
        values += [value for view in views for value in _view_values(studio, view, jobs, seen)]
        return [*values, now, gr.Timer(active=may_change(now)), gr.skip()]

    outputs, inputs = [*filled, state.seen, state.timer, state.job], [state.visitor, state.job, state.seen, *panels.history.filters]
    panels.progress.change(None, panels.progress, None, js="(html) => { tripTell(html); return []; }")
    state.timer.tick(refresh, inputs, outputs, **page_state.QUICK)
    state.job.change(refresh, inputs, outputs, **page_state.QUICK)
    state.job.change(None, state.job, None, js=page_state.PUT_IN_ADDRESS)


def snapshot(studio: Studio, visitor: str, shown: str) -> tuple[list[Job], tuple]:
    """The jobs that are shown, and what changes whenever the page should: those jobs, what waits, and how much is done.

    What waits is looked up before the jobs: one that ends between the two still counts as waiting, so that the page looks once more.
    """
    unfinished = studio.store.jobs(visitor, State.QUEUED, State.PAUSED, State.RUNNING) if visitor else []
    waiting = tuple((other.id, other.state, other.place) for other in unfinished)
    jobs = page_state.shown_jobs(studio, visitor, shown)
    looks = tuple((job.id, job.state, job.fraction, job.words, studio.store.jobs_before(job)) for job in jobs)
    return jobs, (looks, waiting, studio.store.count(visitor, State.DONE))


def unfinished(studio: Studio, visitor: str, shown: str) -> list[str]:
    """Ids of the jobs that are shown and have not ended, and of the others of their figure."""
    jobs = page_state.shown_jobs(studio, visitor, shown)
    parts = [part for job in jobs for part in figure.parts_of(studio.store, job) or [job]]
    return [part.id for part in parts if not part.state.is_final]


def latest(studio: Studio, visitor: str) -> str:
    """Id of the visitor's newest job, those that wait first; empty where there is none."""
    return next((job.id for job in studio.store.jobs(visitor)), "") if visitor else ""


def may_change(now: tuple) -> bool:
    """Whether anything of a `snapshot` may still change by itself."""
    return any(state != State.PAUSED for _, state, _ in now[1])


def _common_values(studio: Studio, visitor: str, jobs: list[Job], now: tuple, seen: tuple, filters: tuple) -> list[Any]:
    """The example where there is no job, grid, progress, the way to the rest of the batch, Stop, queue and history; what the visitor
    already sees is left as it is."""
    is_listed = seen and seen[2] == now[2] and [look[0] for look in seen[0]] == [look[0] for look in now[0]]
    past = [gr.skip()] * 3 if is_listed else history.shown(studio, visitor, jobs, *filters)
    job, waiting = jobs[0] if len(jobs) == 1 else None, queue.shown(studio, visitor, [job.id for job in jobs])
    bar = progress.of_batch(studio, jobs) if len(jobs) > 1 else progress.of_job(studio, job)
    others = len(batch.parts_of(studio.store, visitor, batch.name_of(job))) if job else 0
    together = gr.update(visible=others > 1, value=f"All {others}")
    is_stoppable = any(job.state in (State.QUEUED, State.RUNNING) for job in jobs)
    stop = gr.update(visible=is_stoppable, value="Stop all" if len(jobs) > 1 else "Stop")
    clips = gr.skip() if _is_seen(jobs, seen) else grid.shown(studio, jobs)
    return [gr.update(visible=not jobs), clips, bar, together, stop, *waiting, *past]


def _is_seen(jobs: list[Job], seen: tuple) -> bool:
    """Whether the visitor sees these jobs as they stand, but for how far they are."""
    return bool(seen and jobs) and [look[:2] for look in seen[0]] == [(job.id, job.state) for job in jobs]


def _view_values(studio: Studio, view: JobView, jobs: list[Job], seen: tuple) -> list[Any]:
    """Values for a view's outputs; what the visitor already sees is left as it is."""
    job, is_same = jobs[0] if len(jobs) == 1 else None, _is_seen(jobs, seen)
    if is_same and not (view.is_live and view.accepts(job)):
        return [gr.skip()] * len(view.outputs)
    return view.values(studio, job if view.accepts(job) else None)
