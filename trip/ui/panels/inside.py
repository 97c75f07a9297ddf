"""Inside TRIP: what the prior, the residual and their fusion said at each step of the clip that is shown."""

import base64
import io
from collections.abc import Callable
from typing import Any

import gradio as gr
import numpy as np
from PIL import Image

from trip.inside import Inside, clean_clips, colours, share_map
from trip.ui.page_state import QUICK, PageState
from trip.ui.panels.result import or_toast
from trip.ui.studio import Studio

WORDS = (
    "At every step the *image noise prior* says what the noise would be if a frame still showed the photo, the *residual* is what the "
    "3D-UNet says, and their fusion is what counts."
)
PATHS = {"prior": "the photo, held still", "residual": "the 3D-UNet alone", "fused": "both, as TRIP fuses them"}
MOST_FRAMES, MOST_STEPS = 6, 8  # numbers along the map


def build(studio: Studio, state: PageState) -> None:
    """Lay out the panel, folded; nothing is computed before it is opened, and then it follows the job."""
    with gr.Accordion("Inside TRIP", open=False, elem_id="inside") as folded:
        gr.Markdown(WORDS)
        hint = gr.Markdown(visible=False, elem_id="inside-hint")
        share = gr.HTML(elem_id="share")
        step = gr.Radio([], label="Step", elem_id="inside-step")
        clips = gr.HTML(elem_id="paths")
    is_open, panel = gr.State(False), [hint, share, step, clips]

    def shown(visitor: str, job_id: str) -> list[Any]:
        try:
            seen = studio.inside(job_id, visitor)
        except ValueError as error:
            return [gr.update(value=str(error).capitalize(), visible=True), "", gr.Radio([], value=None), ""]
        steps = [(str(number + 1), int(number)) for number in seen.picture_steps]
        last = steps[-1][1]
        return [gr.update(visible=False), shares(seen), gr.Radio(steps, value=last), paths(seen, last, studio.pipeline().decode)]

    def followed(visitor: str, job_id: str, is_open: bool) -> list[Any]:
        return shown(visitor, job_id) if is_open else [gr.skip()] * len(panel)

    def at_step(visitor: str, job_id: str, number: int) -> object:
        return or_toast(paths, or_toast(studio.inside, job_id, visitor), number, studio.pipeline().decode)

    private = {"api_visibility": "private", "concurrency_limit": 1, "concurrency_id": "inside"}
    folded.expand(lambda: True, None, is_open, **QUICK).then(shown, [state.visitor, state.job], panel, **private)
    folded.collapse(lambda: False, None, is_open, **QUICK)
    state.seen.change(followed, [state.visitor, state.job, is_open], panel, **private | {"show_progress": "hidden"})
    step.input(at_step, [state.visitor, state.job, step], clips, **private)


def shares(inside: Inside) -> str:
    """HTML of how much of the prior the fusion took, by step and frame."""
    drawn, (num_steps, num_frames) = share_map(inside), inside.share.shape
    low, high = f"{'≤ ' * drawn.is_beyond[0]}{drawn.low:.2g}", f"{'≥ ' * drawn.is_beyond[1]}{drawn.high:.2g}"
    frames = "".join(f'<span style="top: {place:.1f}%">{frame}</span>' for frame, place in _numbers(num_frames, MOST_FRAMES))
    steps = "".join(f'<span style="left: {place:.1f}%">{step + 1}</span>' for step, place in _numbers(num_steps, MOST_STEPS))
    gaps = " Grey: both say the same." if drawn.has_gaps else ""
    words = f"<b>Who holds each frame.</b> Bright: the photo holds, by the prior. Dark: the network moves.{gaps}"
    scale = f"{low} {_picture(colours(np.linspace(0, 1, 64)[None]), '', 'PNG')} {high} of the prior"
    return (
        f'<figure class="trip-shares"><figcaption>{words}</figcaption><div class="frames" aria-hidden="true">{frames}</div>'
        f'{_picture(drawn.cells, _in_words(inside), "PNG")}<div class="steps" aria-hidden="true">{steps}</div>'
        f'<div class="scale"><span>Frame ↓ (0 is the photo), step →</span><span>{scale}</span></div></figure>'
    )


def _in_words(inside: Inside) -> str:
    """What the map shows, for those who do not see it."""
    means = [np.nanmean(step) if np.isfinite(step).any() else None for step in inside.share[[0, -1]]]
    first, last = ("no share" if mean is None else f"{mean:.2f}" for mean in means)
    return f"Share of the prior, mean over the frames: {first} at the first step, {last} at the last"


def paths(inside: Inside, step: int, decode: Callable[..., np.ndarray]) -> str:
    """HTML of the clean clip that each path alone would mean at one step."""
    frames = [str(frame) for frame in inside.picture_frames]
    numbers = "".join(f"<span>{frame}</span>" for frame in frames)
    words = f"at step {step + 1} of {len(inside.timesteps)} (t = {inside.timesteps[step]}): the clean clip, by frame"
    strips = ""
    for name, clip in clean_clips(inside, step, decode).items():
        strip = _picture(np.concatenate(list(clip), axis=1), f"{name}: frames {', '.join(frames)}", "JPEG")
        strips += f"<div><b>{name.capitalize()}</b>: {PATHS[name]}</div>{strip}"
    return (
        f'<figure class="trip-paths" style="--count: {len(frames)}"><figcaption><b>What each path means by itself</b> {words}</figcaption>'
        f'<div class="numbers" aria-hidden="true">{numbers}</div>{strips}</figure>'
    )


def _numbers(count: int, most: int) -> list[tuple[int, float]]:
    """Some of 0 .. count - 1, first and last among them, evenly; each with the place of its middle, in percent."""
    numbers = sorted({round(number) for number in np.linspace(0, count - 1, min(count, most))})
    return [(number, 100 * (number + 0.5) / count) for number in numbers]


def _picture(pixels: np.ndarray, words: str, kind: str) -> str:
    """HTML of pixels, h w 3, uint8."""
    data = io.BytesIO()
    Image.fromarray(pixels).save(data, kind, quality=90)
    return f'<img alt="{words}" src="data:image/{kind.lower()};base64,{base64.b64encode(data.getvalue()).decode()}">'
