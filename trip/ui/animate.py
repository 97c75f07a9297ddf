"""The Animate tab: a photo and a sentence become a clip."""

import csv
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import gradio as gr
from gradio.components import Component

from trip.settings import checked
from trip.ui import result
from trip.ui.form import control
from trip.ui.progress import panel
from trip.ui.studio import Studio

EXAMPLES = Path(__file__).parents[2] / "examples"
EMPTY = panel("Choose a photo, say what moves, and press Run.")
ON_ACCELERATOR = {"concurrency_id": "accelerator", "concurrency_limit": 1, "preprocess": False}  # AnimateSettings judges the raw values
AT_ONCE = {"queue": False, "show_progress": "hidden", "api_visibility": "private"}


@dataclass(frozen=True)
class Form:
    """The controls of the tab; `settings` has those of `AnimateSettings` by name."""

    photo: gr.Image
    settings: dict[str, Component]
    randomize: gr.Checkbox
    run: gr.Button
    stop: gr.Button


def build(studio: Studio) -> None:
    """Lay out the tab inside the current `gr.Blocks` and wire it."""
    with gr.Row():
        with gr.Column(min_width=320):
            form = _form()
        with gr.Column(min_width=320):
            progress = gr.HTML(EMPTY, elem_id="progress", min_height=40)
            ending = result.build(studio)
    examples = gr.Examples(
        _examples(),
        [form.photo, form.settings["prompt"], form.settings["motion"]],
        label="Examples: a click fills in the form and runs",
        cache_examples=False,
        api_visibility="private",
        elem_id="examples",
        visible_columns=[0, 1],
    )
    _wire(studio, form, progress, ending, examples)
    _show_defaults(studio, form)
    _publish(studio, form, ending)


def _form() -> Form:
    photo = gr.Image(label="Photo", type="filepath", sources=["upload", "clipboard"], height=300, elem_id="photo", buttons=[])
    settings = {"prompt": control("prompt", lines=2, max_lines=6), "motion": control("motion"), "num_frames": control("num_frames")}
    with gr.Row():
        run = gr.Button("Run", variant="primary", elem_id="run", scale=3, min_width=120)
        stop = gr.Button("Stop", elem_id="stop", interactive=False, scale=1, min_width=90)
    with gr.Accordion("Advanced", open=False, elem_id="advanced"):
        settings["negative_prompt"] = control("negative_prompt")
        with gr.Row():
            settings |= {name: control(name, min_width=120) for name in ("num_steps", "guidance_scale")}
        settings["scheduler"] = control("scheduler")
        with gr.Row():
            settings |= {name: control(name, min_width=120) for name in ("seed", "fps")}
        randomize = gr.Checkbox(True, label="A new seed for every clip", elem_id="randomize")
    return Form(photo, settings, randomize, run, stop)


def _examples() -> list[list[Any]]:
    """Photo, prompt and motion of each row of examples.csv."""
    with open(EXAMPLES / "examples.csv", newline="", encoding="utf-8") as file:
        return [[str(EXAMPLES / row["file"]), row["prompt"], float(row["motion"])] for row in csv.DictReader(file)]


def _wire(studio: Studio, form: Form, progress: gr.HTML, ending: result.ResultPanel, examples: gr.Examples) -> None:
    """Run, Stop, a click on an example, and the seed of a finished clip."""

    def make(values: dict[Component, Any], request: gr.Request) -> Iterator[list[Any]]:
        asked = {name: values[box] for name, box in form.settings.items()}
        if values[form.randomize]:
            asked["seed"] = None
        unchanged = [gr.skip()] * len(ending.outputs)
        try:
            for step in studio.animate(request.session_hash, _path(values[form.photo]), checked(**asked)):
                clip = result.shown(step.result) if step.result else unchanged
                yield [panel(step.text, step.fraction, step.preview), *clip]
        except ValueError as error:
            yield [panel("Nothing was made."), *unchanged]
            raise gr.Error(str(error), print_exception=False) from error

    def halt(request: gr.Request) -> tuple[str, Any, Any]:
        studio.stop(request.session_hash)
        return panel("Stopped."), *idle()

    buttons = [form.run, form.stop]
    waiting = [progress, *buttons]
    inputs = {form.photo, form.randomize, *form.settings.values()}
    runs = []
    for trigger in (gr.on([form.run.click, form.settings["prompt"].submit], busy, None, waiting, **AT_ONCE),
                    examples.load_input_event.then(busy, None, waiting, **AT_ONCE)):  # fmt: skip
        runs.append(
            trigger.then(
                make, inputs, [progress, *ending.outputs], show_progress="minimal", show_progress_on=progress,
                api_visibility="private", **ON_ACCELERATOR,
            )
        )  # fmt: skip
        runs[-1].then(idle, None, buttons, **AT_ONCE)  # in Gradio 6.31 `then` does not follow a failure
        runs[-1].failure(idle, None, buttons, **AT_ONCE)
    form.stop.click(halt, None, waiting, cancels=runs, **AT_ONCE)
    ending.again.click(lambda made: (made.seed, False), ending.made, [form.settings["seed"], form.randomize], **AT_ONCE)


def _show_defaults(studio: Studio, form: Form) -> None:
    """An empty number means what the model was made for: say how much that is, once the model is loaded."""
    automatic = {name: box for name, box in form.settings.items() if isinstance(box, gr.Number)}

    def show() -> Iterator[list[Any]]:
        yield [None] * len(automatic)
        defaults = studio.defaults()
        yield [gr.update(placeholder=f"{defaults[name]:g}" if name in defaults else "automatic") for name in automatic]

    gr.on(None, show, None, list(automatic.values()), show_progress="hidden", concurrency_limit=None, api_visibility="private")


def busy() -> tuple[str, Any, Any]:
    """The panel, Run and Stop while a clip is waited for."""
    return panel("Waiting for the model …"), gr.update(interactive=False), gr.update(interactive=True)


def idle() -> tuple[Any, Any]:
    """Run and Stop while nothing is made."""
    return gr.update(interactive=True), gr.update(interactive=False)


def _publish(studio: Studio, form: Form, ending: result.ResultPanel) -> None:
    """The endpoint /animate, for programs; its labels and defaults are those of the form."""

    def animate(
        image: dict[str, Any],
        prompt: str | None = None,
        negative_prompt: str | None = None,
        motion: float | None = None,
        num_frames: int | None = None,
        fps: float | None = None,
        num_steps: int | None = None,
        guidance_scale: float | None = None,
        scheduler: str | None = None,
        seed: int | None = None,
        request: gr.Request = None,
        progress: gr.Progress = gr.Progress(),  # noqa: B008  this default asks Gradio for one
    ) -> tuple[str, int, dict[str, Any]]:
        """Turn a photo into a short clip that follows a sentence.

        Args:
            image: the photo; its middle square becomes the first frame
            prompt: what moves, and how; may be empty
            negative_prompt: what the clip should keep away from
            motion: 0 holds still, 1 is as told, 2 moves twice as far
            num_frames: length of the clip, the photo included; none: as the model was made
            fps: frames per second; none: as the model was made
            num_steps: denoising steps; none: as the model was made
            guidance_scale: how strictly the prompt is followed; none: as the model was made
            scheduler: ddim, dpm++ or unipc
            seed: the same seed and settings give the same clip; none draws one

        Returns:
            the clip as MP4, its seed, and the settings that made it
        """
        try:
            settings = checked(
                prompt=prompt,
                negative_prompt=negative_prompt,
                motion=motion,
                num_frames=num_frames,
                fps=fps,
                num_steps=num_steps,
                guidance_scale=guidance_scale,
                scheduler=scheduler,
                seed=seed,
            )
            for step in studio.animate(request.session_hash, _path(image), settings):
                progress(step.fraction, step.text)
        except ValueError as error:
            raise gr.Error(str(error), print_exception=False) from error
        if step.result is None:
            raise gr.Error("the run was stopped", print_exception=False)
        return str(step.result.path), step.result.seed, step.result.settings

    names = ("prompt", "negative_prompt", "motion", "num_frames", "fps", "num_steps", "guidance_scale", "scheduler", "seed")
    inputs = [form.photo, *(form.settings[name] for name in names)]
    outputs = [ending.video, gr.Number(label="Seed", precision=0, visible=False), gr.JSON(label="Settings", visible=False)]
    gr.Button("Animate", visible=False).click(animate, inputs, outputs, api_name="animate", **ON_ACCELERATOR)


def _path(photo: dict[str, Any] | None) -> str | None:
    """Where the upload lies."""
    return photo and photo["path"]
