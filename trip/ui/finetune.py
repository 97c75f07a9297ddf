"""The Fine-tune tab: a few clips of one motion become a model that moves their way."""

import base64
import html
from dataclasses import replace
from typing import Any

import gradio as gr
from gradio.components import Component

from trip.jobs.draft import Row
from trip.settings import FinetuneSettings
from trip.ui import visit
from trip.ui.form import control
from trip.ui.result import told
from trip.ui.studio import Studio
from trip.ui.workshop import Workshop

COLUMNS = ["clip", "what happens in it", "only measured"]
WORDS = (
    "Bring three clips or more of **one** motion (or a .zip of them), a few seconds each. What is learnt is a small file that is added to "
    "the model; the model itself stays as it is."
)
KINDS = [".mp4", ".mov", ".m4v", ".webm", ".mkv", ".avi", ".gif", ".zip"]


def build(studio: Studio, state: visit.Visit) -> Workshop:
    """Lay out the form inside the current `gr.Tab` and wire it; `training` shows what comes of it."""
    workshop = Workshop(studio)
    gr.Markdown(WORDS)
    rows, table = _clips(workshop, state)
    _asking(studio, workshop, state, rows, table)
    return workshop


# clips


def _clips(workshop: Workshop, state: visit.Visit) -> tuple[gr.State, gr.Dataframe]:
    """Upload, what was seen of each clip, mends and captions."""
    uploads = gr.File(label="Clips, or a .zip of them", file_count="multiple", file_types=KINDS, height=110, elem_id="clips")
    rows, seen = gr.State([]), gr.HTML(elem_id="clips-seen")
    with gr.Row(equal_height=True):
        mend = gr.Button("Mend all", size="sm", elem_id="mend", min_width=90)
        describe = gr.Button("Describe", size="sm", elem_id="describe", min_width=90)
    table = gr.Dataframe(
        headers=COLUMNS,
        datatype=["str", "str", "bool"],
        static_columns=[0],
        type="array",
        column_count=3,
        label="Captions; clips that are only measured are never learnt from",
        elem_id="captions",
        wrap=True,
        buttons=[],
    )
    with gr.Accordion("One clip: drop or trim", open=False):
        with gr.Row(equal_height=True):
            chosen = gr.Dropdown([], label="Clip", elem_id="clip-chosen", min_width=140, scale=2)
            start = gr.Number(0, label="From, s", minimum=0, min_width=70)
            end = gr.Number(2, label="To, s", minimum=0, min_width=70)
        with gr.Row():
            drop, trim = gr.Button("Drop", size="sm", elem_id="drop"), gr.Button("Trim", size="sm", elem_id="trim")

    def filled(now: list[Row]) -> list[Any]:
        return [now, clips_table(now), table_of(now), gr.update(choices=[row.look.name for row in now], value=None)]

    def take_in(visitor: str, paths: list[str] | None) -> list[Any]:
        return filled(told(workshop.draft(visitor).take_in, paths or []))

    def mended(visitor: str, now: list[Row], said: list[list[Any]]) -> list[Any]:
        return filled(told(workshop.draft(visitor).mend_all, edited(now, said)))

    def dropped(visitor: str, now: list[Row], said: list[list[Any]], name: str | None) -> list[Any]:
        return filled(told(workshop.draft(visitor).drop, edited(now, said), name or ""))

    def trimmed(visitor: str, now: list[Row], said: list[list[Any]], name: str | None, start: float, end: float) -> list[Any]:
        return filled(told(workshop.draft(visitor).trim, edited(now, said), name or "", start, end))

    def described(visitor: str, now: list[Row], said: list[list[Any]]) -> list[Any]:
        captions = told(workshop.described, visitor, now)
        return filled([replace(row, caption=caption) for row, caption in zip(edited(now, said), captions, strict=True)])

    outputs, known = [rows, seen, table, chosen], [state.visitor, rows, table]
    slow = {"concurrency_limit": 1, "api_visibility": "private"}
    uploads.upload(take_in, [state.visitor, uploads], outputs, **slow)
    mend.click(mended, known, outputs, **slow)
    describe.click(described, known, outputs, **slow)
    drop.click(dropped, [*known, chosen], outputs, **slow)
    trim.click(trimmed, [*known, chosen, start, end], outputs, **slow)
    return rows, table


def edited(rows: list[Row], said: list[list[Any]]) -> list[Row]:
    """The clips with what a person wrote into the table."""
    by_name = {str(line[0]): line for line in said}
    lines = [(row, by_name.get(row.look.name)) for row in rows]
    return [replace(row, caption=str(line[1] or ""), is_held_out=line[2] in (True, "true", "True")) if line else row for row, line in lines]


def table_of(rows: list[Row]) -> list[list[Any]]:
    """What a person may write into."""
    return [[row.look.name, row.caption, row.is_held_out] for row in rows]


def clips_table(rows: list[Row]) -> str:
    """HTML of the clips: a strip of frames, what the file is, and the verdict."""
    return f'<ul class="trip-clips">{"".join(map(_clip, rows))}</ul>' if rows else ""


def _clip(row: Row) -> str:
    look = row.look
    strip = f'<img alt="" src="data:image/jpeg;base64,{base64.b64encode(look.strip).decode()}">' if look.strip else ""
    kind = f"{look.codec}, {look.width}×{look.height}, {look.num_frames} frames, {look.seconds:.1f} s, {look.fps:.3g} per second"
    said = f"<b>{html.escape(look.name)}</b> <small>{html.escape(kind if look.width else look.codec)}</small>"
    return f'<li class="{"bad" if look.faults else "good"}">{strip}<div>{said}</div><div>{html.escape(look.verdict)}</div></li>'


# asking


def _asking(studio: Studio, workshop: Workshop, state: visit.Visit, rows: gr.State, table: gr.Dataframe) -> None:
    """What to train, the plan, and the button that begins."""
    settings: dict[str, Component] = {"max_steps": _control("max_steps", maximum=2000)}
    with gr.Row():
        begin = gr.Button("Train", variant="primary", elem_id="train", scale=3, min_width=120)
        plan = gr.Button("Plan", elem_id="plan", scale=1, min_width=90)
    foretold = gr.HTML(elem_id="plan-words")
    with gr.Accordion("What to train", open=False, elem_id="what-to-train"):
        settings |= {name: _control(name) for name in ("what", "layers")}
        settings |= {"rank": _control("rank", maximum=64), "batch_size": _control("batch_size", maximum=8)}
        with gr.Row():
            settings |= {name: _control(name, min_width=120) for name in ("learning_rate", "max_minutes")}
        settings |= {"sample_every": _control("sample_every", maximum=500), "seed": _control("seed", maximum=1000)}

    def asked(values: dict[Component, Any]) -> FinetuneSettings:
        return told(FinetuneSettings.checked, **{name: values[box] for name, box in settings.items()})

    def planned(values: dict[Component, Any]) -> str:
        clips = edited(values[rows], values[table]["data"])
        return plan_words(told(workshop.plan, values[state.visitor], clips, asked(values)))

    def make(values: dict[Component, Any]) -> str:
        clips = edited(values[rows], values[table]["data"])
        return told(workshop.begin, values[state.visitor], clips, asked(values)).id

    empty = [box for box in settings.values() if isinstance(box, gr.Number)]
    gr.on(None, lambda: [None] * len(empty), None, empty, **visit.QUICK)  # when the page opens: else Gradio says 0

    inputs = {state.visitor, rows, table, *settings.values()}
    plan.click(planned, inputs, foretold, preprocess=False, concurrency_limit=1, api_visibility="private")
    visit.follow(studio, state, begin.click(make, inputs, state.job, **visit.RAW))


def _control(name: str, **more: Any) -> Component:
    return control(name, FinetuneSettings, elem_id=f"finetune-{name}", **more)


def plan_words(plan: dict[str, Any]) -> str:
    """What a training would take, in a sentence."""
    short = plan["disk_mb"] > plan["free_disk_mb"]
    disk = f"{plan['disk_mb']} MB of disk" + (f", of which only {plan['free_disk_mb']} MB are free" if short else "")
    memory = "" if plan["fits"] else "; that is more than is free, take fewer clips a step"
    return (
        f"<p>About {plan['minutes']:.0f} min for {plan['num_steps']} steps ({plan['seconds_per_step']:.2f} s each), "
        f"{plan['num_trained'] / 1e6:.1f} M weights learn, {plan['memory_mb']} MB of memory{memory}, {disk}; measured just now.</p>"
    )
