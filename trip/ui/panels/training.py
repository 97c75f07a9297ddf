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
from trip.ui import elements, visit
from trip.ui.panels.history import comparison_of
from trip.ui.panels.layout import Ending
from trip.ui.panels.result import told
from trip.ui.tabs.animate import NO_LORA, Form
from trip.ui.workshop import Workshop

WHILE_RUNNING, WHILE_PAUSED = ("sample", "save", "pause"), ("go on",)  # buttons


@dataclass(frozen=True)
class Bench:
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


def build(workshop: Workshop, state: visit.Visit, animate: Form, tabs: gr.Tabs) -> Ending:
    """Lay out the panel inside the current column and wire it."""
    bench = _bench()
    _wire_asking(workshop, state, bench)
    _wire_using(workshop, state, bench, animate, tabs)
    return Ending("finetune", bench.outputs, lambda studio, job: _shown(workshop, job), is_live=True)


def _bench() -> Bench:
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
    return Bench(box, plot, samples, facts, buttons, after, download, comparison, repository, token)


def _wire_asking(workshop: Workshop, state: visit.Visit, bench: Bench) -> None:
    """What can be asked of a training: now and then, and to rest."""

    def sample(visitor: str, job_id: str) -> None:
        told(workshop.ask, job_id, visitor, "sample")
        gr.Info("It saves, measures and draws with the next step")

    def save(visitor: str, job_id: str) -> None:
        told(workshop.ask, job_id, visitor, "save")
        gr.Info("It saves with the next step")

    calls: dict[str, Callable[[str, str], None]] = {
        "sample": sample,
        "save": save,
        "pause": lambda visitor, job_id: told(workshop.pause, job_id, visitor),
        "go on": lambda visitor, job_id: told(workshop.go_on, job_id, visitor),
    }
    for name, call in calls.items():
        bench.buttons[name].click(call, [state.visitor, state.job], None, **visit.QUICK).then(
            lambda: gr.Timer(active=True), None, state.timer, **visit.QUICK
        )


def _wire_using(workshop: Workshop, state: visit.Visit, bench: Bench, animate: Form, tabs: gr.Tabs) -> None:
    """What can be done with a finished one."""

    def use(visitor: str, job_id: str) -> list[Any]:
        job, _ = told(workshop.result, job_id, visitor)
        return [lora_choices(workshop, visitor, job.id), workshop.caption_of(job), gr.Tabs(selected="animate")]

    def beside_base(visitor: str, job_id: str) -> Any:
        told(workshop.compared, job_id, visitor)
        gr.Info("Two clips are on their way, of one photo and seed: by the base, and by the fine-tune")
        return gr.Timer(active=True)

    def push(visitor: str, job_id: str, repository: str, token: str) -> None:
        told(workshop.push, job_id, visitor, repository.strip(), token.strip())
        gr.Info(f"Uploaded to {html.escape(repository.strip())}")

    def choices(visitor: str) -> Any:
        return lora_choices(workshop, visitor)

    known = [state.visitor, state.job]
    bench.buttons["use"].click(use, known, [animate.lora, animate.settings["prompt"], tabs], **visit.QUICK)
    bench.buttons["compare"].click(beside_base, known, state.timer, **visit.QUICK)
    bench.buttons["push"].click(push, [*known, bench.repository, bench.token], None, **visit.QUICK | {"show_progress": "minimal"})
    gr.on([state.visitor.change, state.seen.change], choices, state.visitor, animate.lora, **visit.QUICK)


def lora_choices(workshop: Workshop, visitor: str, chosen: str | None = None) -> Any:
    """The picker of the Animate tab: the model as it is, or with one of the visitor's fine-tunes."""
    done = [(f"{workshop.caption_of(job) or 'no caption'} · {job.result['num_steps']} steps", job.id) for job in workshop.done(visitor)]
    value = {} if chosen is None else {"value": chosen}
    return gr.update(choices=[NO_LORA, *done], visible=bool(done), **value)


def _shown(workshop: Workshop, job: Job | None) -> list[Any]:
    """Values for `Bench.outputs`."""
    if job is None:
        return [gr.update(visible=False), None, "", "", *[gr.update()] * 4, gr.update(visible=False), gr.update(), ""]
    run = workshop.run_of(job)
    points = curve(run)
    plot = pd.DataFrame(points) if points else None
    buttons = [gr.update(visible=job.state == State.RUNNING) for _ in WHILE_RUNNING]
    buttons += [gr.update(visible=job.state == State.PAUSED) for _ in WHILE_PAUSED]
    box = gr.update(visible=True)
    if job.state != State.DONE:
        facts = f"<p>{html.escape(workshop.holder())}</p>"
        return [box, plot, _samples(workshop, job), facts, *buttons, gr.update(visible=False), gr.update(), ""]
    made = workshop.store.folder_of(job) / job.result["file"]
    file = gr.update(value=str(made) if made.is_file() else None, visible=made.is_file())
    return [box, plot, _samples(workshop, job), _facts(job), *buttons, gr.update(visible=True), file, _comparison(workshop, job)]


def _samples(workshop: Workshop, job: Job) -> str:
    """HTML of the newest samples: the base on the left, the model on the right."""
    newest = samples_of(workshop.run_of(job))[-1:]
    for path in newest:
        try:
            with open_video(path) as video:
                label = f"base | after {int(path.stem.split('-')[0])} steps"
                return f"<p>{label}, the same photo and seed</p>{elements.player(path, video.fps, video.num_frames, label)}"
        except MediaError:  # it is just being written
            return ""
    return ""


def _facts(job: Job) -> str:
    made = job.result
    size = f"{made['num_bytes'] / 1e6:.1f} MB"
    loss = f"{made['held_out_loss']:.3f}, {change(made['held_out_loss'], made['base_loss'])}" if made["held_out_loss"] else "not measured"
    return f"<p>{made['num_steps']} steps, {size}; loss from fixed noise {loss}</p>"


def _comparison(workshop: Workshop, job: Job) -> str:
    """HTML of the two clips that were asked for, once both are done."""
    jobs = workshop.pair_of(job)
    return comparison_of(workshop.studio, jobs) if jobs and all(one.state == State.DONE for one in jobs) else ""
