"""A fine-tune as it runs and when it is done: its losses, what it makes beside the base, and what can be done with it."""

import html
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import gradio as gr
import pandas as pd

from trip.jobs.handlers.finetune import change, curve, samples_of
from trip.jobs.store import Job, State
from trip.media import MediaError, open_video
from trip.ui import elements, page_state
from trip.ui.finetune_studio import FREE, FinetuneStudio
from trip.ui.panels.history import comparison_of
from trip.ui.panels.layout import JobView
from trip.ui.panels.result import or_toast
from trip.ui.tabs.animate import NO_LORA, Form

WHILE_RUNNING, WHILE_PAUSED = ("sample", "save", "pause"), ("go on",)  # buttons


@dataclass(frozen=True)
class TrainingPanel:
    """The components: the box around them, plot, samples, facts, buttons by name, and what comes when it is done."""

    box: gr.Column
    plot: gr.LinePlot
    samples: gr.HTML
    facts: gr.HTML
    buttons: dict[str, gr.Button]
    after: gr.Column
    download: gr.DownloadButton
    comparison: gr.HTML
    repository: gr.Textbox
    token: gr.Textbox

    @property
    def outputs(self) -> list[gr.blocks.Block]:
        """What `_shown` gives values to, in that order."""
        buttons = [self.buttons[name] for name in (*WHILE_RUNNING, *WHILE_PAUSED)]
        return [self.box, self.plot, self.samples, self.facts, *buttons, self.after, self.download, self.comparison]


def build(finetunes: FinetuneStudio, state: page_state.PageState, animate: Form, tabs: gr.Tabs) -> JobView:
    """Lay out the panel inside the current column and wire it."""
    panel = _components()
    _wire_asking(finetunes, state, panel)
    _wire_using(finetunes, state, panel, animate, tabs)
    return JobView("finetune", panel.outputs, lambda studio, job: _shown(finetunes, job), is_live=True)


def _components() -> TrainingPanel:
    with gr.Column(visible=False, elem_id="training") as box:
        with gr.Row():
            buttons = {
                "sample": gr.Button("Sample now", size="sm", min_width=80, elem_id="sample-now"),
                "save": gr.Button("Save now", size="sm", min_width=80, elem_id="save-now"),
                "pause": gr.Button("Pause", size="sm", min_width=80, elem_id="pause"),
                "go on": gr.Button("Go on", size="sm", min_width=80, elem_id="go-on"),
            }
        with gr.Column(visible=False) as after:
            with gr.Row():
                buttons["use"] = gr.Button("Use in Animate", variant="primary", size="sm", min_width=110, elem_id="use")
                buttons["compare"] = gr.Button("Compare with base", size="sm", min_width=110, elem_id="compare-base")
                download = gr.DownloadButton("Download", size="sm", min_width=90, elem_id="download-lora")
            comparison = gr.HTML(elem_id="base-comparison")
            with gr.Accordion("Push to the hub", open=False):
                repository = gr.Textbox(label="Repository, owner/name", elem_id="push-to")
                token = gr.Textbox(label="Your token, with the right to write", type="password", elem_id="push-token")
                buttons["push"] = gr.Button("Push, as a private repository", size="sm", elem_id="push")
        plot = gr.LinePlot(x="step", y="loss", color="line", title="Loss", height=220, elem_id="loss", buttons=[])
        samples, facts = gr.HTML(elem_id="samples"), gr.HTML(elem_id="finetune-facts")
    return TrainingPanel(box, plot, samples, facts, buttons, after, download, comparison, repository, token)


def _wire_asking(finetunes: FinetuneStudio, state: page_state.PageState, panel: TrainingPanel) -> None:
    """What can be asked of a training: now and then, and to rest."""

    def sample(visitor: str, job_id: str) -> None:
        or_toast(finetunes.ask, job_id, visitor, "sample")
        gr.Info("It saves, measures and draws with the next step")

    def save(visitor: str, job_id: str) -> None:
        or_toast(finetunes.ask, job_id, visitor, "save")
        gr.Info("It saves with the next step")

    calls: dict[str, Callable[[str, str], None]] = {
        "sample": sample,
        "save": save,
        "pause": lambda visitor, job_id: or_toast(finetunes.pause, job_id, visitor),
        "go on": lambda visitor, job_id: or_toast(finetunes.resume, job_id, visitor),
    }
    for name, call in calls.items():
        page_state.look_again(state, panel.buttons[name].click(call, [state.visitor, state.job], None, **page_state.QUICK))


def _wire_using(finetunes: FinetuneStudio, state: page_state.PageState, panel: TrainingPanel, animate: Form, tabs: gr.Tabs) -> None:
    """What can be done with a finished one."""

    def use(visitor: str, job_id: str) -> list[Any]:
        job, _ = or_toast(finetunes.result, job_id, visitor)
        return [lora_choices(finetunes, visitor, job.id), finetunes.caption_of(job), gr.Tabs(selected="animate")]

    def beside_base(visitor: str, job_id: str) -> Any:
        or_toast(finetunes.compare_with_base, job_id, visitor)
        gr.Info("Two clips are on their way, of one photo and seed: by the base, and by the fine-tune")
        return gr.Timer(active=True)

    def push(visitor: str, job_id: str, repository: str, token: str) -> None:
        or_toast(finetunes.push, job_id, visitor, repository.strip(), token.strip())
        gr.Info(f"Uploaded to {html.escape(repository.strip())}")

    def choices(visitor: str) -> Any:
        return lora_choices(finetunes, visitor)

    known = [state.visitor, state.job]
    panel.buttons["use"].click(use, known, [animate.lora, animate.settings["prompt"], tabs], **page_state.QUICK)
    panel.buttons["compare"].click(beside_base, known, state.timer, **page_state.QUICK)
    panel.buttons["push"].click(push, [*known, panel.repository, panel.token], None, **page_state.QUICK | {"show_progress": "minimal"})
    gr.on([state.visitor.change, state.seen.change], choices, state.visitor, animate.lora, **page_state.QUICK)


def lora_choices(finetunes: FinetuneStudio, visitor: str, chosen: str | None = None) -> Any:
    """The picker of the Animate tab: the model as it is, or with one of the visitor's fine-tunes."""
    done = [(f"{finetunes.caption_of(job) or 'no caption'} · {job.result['num_steps']} steps", job.id) for job in finetunes.done(visitor)]
    value = {} if chosen is None else {"value": chosen}
    return gr.update(choices=[NO_LORA, *done], visible=bool(done), **value)


def _shown(finetunes: FinetuneStudio, job: Job | None) -> list[Any]:
    """Values for `TrainingPanel.outputs`."""
    if job is None:
        return [gr.update(visible=False), None, "", "", *[gr.update()] * 4, gr.update(visible=False), gr.update(), ""]
    run = finetunes.run_of(job)
    points = curve(run)
    plot = pd.DataFrame(points) if points else None
    buttons = [gr.update(visible=job.state == State.RUNNING) for _ in WHILE_RUNNING]
    buttons += [gr.update(visible=job.state == State.PAUSED) for _ in WHILE_PAUSED]
    box = gr.update(visible=True)
    if job.state != State.DONE:
        status = finetunes.accelerator_status()
        facts = "" if job.state == State.QUEUED and status == FREE else f"<p>{html.escape(status)}</p>"  # it is taken up at once
        return [box, plot, _samples(finetunes, job), facts, *buttons, gr.update(visible=False), gr.update(), ""]
    path = finetunes.store.folder_of(job) / job.result["file"]
    file = gr.update(value=str(path) if path.is_file() else None, visible=path.is_file())
    return [box, plot, _samples(finetunes, job), _facts(job), *buttons, gr.update(visible=True), file, _comparison(finetunes, job)]


def _samples(finetunes: FinetuneStudio, job: Job) -> str:
    """HTML of the newest samples: the base on the left, the model on the right."""
    samples = samples_of(finetunes.run_of(job))
    if not samples:
        return ""
    try:
        with open_video(samples[-1]) as video:
            label = f"base | after {int(samples[-1].stem.split('-')[0])} steps"
            return f"<p>{label}, the same photo and seed</p>{elements.player(samples[-1], video.fps, video.num_frames, label)}"
    except MediaError:  # it is just being written
        return ""


def _facts(job: Job) -> str:
    result = job.result
    size = f"{result['num_bytes'] / 1e6:.1f} MB"
    held_out, base = result["held_out_loss"], result["base_loss"]
    loss = f"{held_out:.3f}, {change(held_out, base)}" if held_out else "not measured"
    return f"<p>{result['num_steps']} steps, {size}; loss from fixed noise {loss}</p>"


def _comparison(finetunes: FinetuneStudio, job: Job) -> str:
    """HTML of the two clips that were asked for, once both are done."""
    jobs = finetunes.comparison_jobs(job)
    return comparison_of(finetunes.studio, jobs) if jobs and all(one.state == State.DONE for one in jobs) else ""
