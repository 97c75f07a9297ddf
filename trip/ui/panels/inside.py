"""Inside TRIP: what the prior, the residual and their fusion said at each step of the clip that is shown."""

from typing import Any

import gradio as gr

from trip.inside import heat_map, sheet
from trip.ui.page_state import QUICK, PageState
from trip.ui.panels.result import or_toast
from trip.ui.studio import Studio

WORDS = (
    "At every step the *image noise prior* says what the noise would be if a frame still showed the photo, the *residual* is what the "
    "3D-UNet says, and their fusion is what counts. The map shows how much of the prior the fusion took: where it is bright the photo "
    "holds, where it is dark the network moves. Below it is the clean clip that each of them alone would mean at a step."
)


def build(studio: Studio, state: PageState) -> None:
    """Lay out the panel, folded; nothing is computed before it is opened, and then it follows the job."""
    with gr.Accordion("Inside TRIP", open=False, elem_id="inside") as folded:
        gr.Markdown(WORDS)
        hint = gr.Markdown(visible=False, elem_id="inside-hint")
        share = gr.Image(label="Share of the prior, by step and frame", interactive=False, buttons=[], elem_id="share")
        step = gr.Radio([], label="Step", elem_id="inside-step")
        clips = gr.Image(label="What each path means", interactive=False, buttons=[], elem_id="paths")
    is_open, panel = gr.State(False), [hint, share, step, clips]

    def shown(visitor: str, job_id: str) -> list[Any]:
        try:
            seen = studio.inside(job_id, visitor)
        except ValueError as error:
            return [gr.update(value=str(error).capitalize(), visible=True), None, gr.Radio([], value=None), None]
        steps = [(str(number + 1), int(number)) for number in seen.picture_steps]
        last = steps[-1][1]
        return [gr.update(visible=False), heat_map(seen), gr.Radio(steps, value=last), sheet(seen, last, studio.pipeline().decode)]

    def followed(visitor: str, job_id: str, is_open: bool) -> list[Any]:
        return shown(visitor, job_id) if is_open else [gr.skip()] * len(panel)

    def at_step(visitor: str, job_id: str, number: int) -> object:
        return or_toast(sheet, or_toast(studio.inside, job_id, visitor), number, studio.pipeline().decode)

    private = {"api_visibility": "private", "concurrency_limit": 1, "concurrency_id": "inside"}
    folded.expand(lambda: True, None, is_open, **QUICK).then(shown, [state.visitor, state.job], panel, **private)
    folded.collapse(lambda: False, None, is_open, **QUICK)
    state.seen.change(followed, [state.visitor, state.job, is_open], panel, **private | {"show_progress": "hidden"})
    step.input(at_step, [state.visitor, state.job, step], clips, **private)
