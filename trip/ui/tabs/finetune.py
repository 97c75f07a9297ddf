"""The Fine-tune tab: a few clips of one motion become a model that moves their way."""

import base64
import html
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import gradio as gr
from gradio.components import Component

from trip.jobs.handlers.draft import Row
from trip.jobs.handlers.finetune import MOST_MINUTES
from trip.settings import FINETUNE_PRESETS, FinetuneSettings
from trip.ui import page_state
from trip.ui.finetune_studio import FinetuneStudio
from trip.ui.form import control
from trip.ui.panels import progress
from trip.ui.panels.result import or_toast

COLUMNS = ["clip", "what happens in it", "test"]
WORDS = (
    "Bring three clips or more of **one** motion (or a .zip of them), a few seconds each. What is learnt is a small file that is added to "
    "the model; the model itself stays as it is."
)
PRESET_WORDS = "Light needs least memory, everything most and gives a whole model instead of a small file; Plan says what fits here"
KINDS = [".mp4", ".mov", ".m4v", ".webm", ".mkv", ".avi", ".gif", ".zip"]


def build(finetunes: FinetuneStudio, state: page_state.PageState) -> None:
    """Lay out the form inside the current `gr.Tab` and wire it; `training` shows what comes of it."""
    gr.Markdown(WORDS)
    rows, table = _clips(finetunes, state)
    _asking(finetunes, state, rows, table)


# clips


def _clips(finetunes: FinetuneStudio, state: page_state.PageState) -> tuple[gr.State, gr.Dataframe]:
    """Upload, what was seen of each clip, fixes and captions."""
    uploads = gr.File(label="Clips, or a .zip of them", file_count="multiple", file_types=KINDS, height=140, elem_id="clips")
    rows, seen = gr.State([]), gr.HTML(elem_id="clips-seen")
    with gr.Row(equal_height=True):
        fix = gr.Button("Mend all", size="sm", elem_id="mend", min_width=90)
        describe = gr.Button("Describe", size="sm", elem_id="describe", min_width=90)
    table = gr.Dataframe(
        headers=COLUMNS,
        datatype=["str", "str", "bool"],
        static_columns=[0],
        type="array",
        column_count=3,
        column_widths=["36%", "38%", "26%"],
        label="Captions; clips ticked as test are measured, never learnt from",
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
        return [now, clips_table(now), table_of(now), gr.update(choices=[row.inspection.name for row in now], value=None)]

    def take_in(visitor: str, paths: list[str] | None) -> list[Any]:
        draft = finetunes.draft(visitor)
        now = or_toast(draft.take_in, paths or [])
        for note in draft.notes:
            gr.Warning(note)
        return filled(now)

    def fix_all(visitor: str, now: list[Row], edits: list[list[Any]]) -> list[Any]:
        return filled(or_toast(finetunes.draft(visitor).fix_all, edited(now, edits)))

    def drop_clip(visitor: str, now: list[Row], edits: list[list[Any]], name: str | None) -> list[Any]:
        return filled(or_toast(finetunes.draft(visitor).drop, edited(now, edits), name or ""))

    def trim_clip(visitor: str, now: list[Row], edits: list[list[Any]], name: str | None, start: float, end: float) -> list[Any]:
        return filled(or_toast(finetunes.draft(visitor).trim, edited(now, edits), name or "", start, end))

    def describe_all(visitor: str, now: list[Row], edits: list[list[Any]]) -> list[Any]:
        captions = or_toast(finetunes.describe, visitor, now)
        return filled([replace(row, caption=caption) for row, caption in zip(edited(now, edits), captions, strict=True)])

    outputs, known = [rows, seen, table, chosen], [state.visitor, rows, table]
    slow = {"concurrency_limit": 1, "api_visibility": "private"}
    uploads.upload(take_in, [state.visitor, uploads], outputs, **slow)
    fix.click(fix_all, known, outputs, **slow)
    describe.click(describe_all, known, outputs, **slow)
    drop.click(drop_clip, [*known, chosen], outputs, **slow)
    trim.click(trim_clip, [*known, chosen, start, end], outputs, **slow)
    return rows, table


def edited(rows: list[Row], edits: list[list[Any]]) -> list[Row]:
    """The clips with what a person wrote into the table."""
    by_name = {str(line[0]): line for line in edits}
    lines = [(row, by_name.get(row.inspection.name)) for row in rows]
    return [replace(row, caption=str(line[1] or ""), is_held_out=line[2] in (True, "true", "True")) if line else row for row, line in lines]


def table_of(rows: list[Row]) -> list[list[Any]]:
    """What a person may write into."""
    return [[row.inspection.name, row.caption, row.is_held_out] for row in rows]


def clips_table(rows: list[Row]) -> str:
    """HTML of the clips: a strip of frames, what the file is, and the verdict."""
    return f'<ul class="trip-clips">{"".join(map(_clip, rows))}</ul>' if rows else ""


def _clip(row: Row) -> str:
    clip = row.inspection
    strip = f'<img alt="" src="data:image/jpeg;base64,{base64.b64encode(clip.strip).decode()}">' if clip.strip else ""
    kind = f"{clip.codec}, {clip.width}×{clip.height}, {clip.num_frames} frames, {clip.seconds:.1f} s, {clip.fps:.3g} per second"
    head = f"<b>{html.escape(clip.name)}</b> <small>{html.escape(kind if clip.width else clip.codec)}</small>"
    return f'<li class="{"bad" if clip.faults else "good"}">{strip}<div>{head}</div><div>{html.escape(clip.verdict)}</div></li>'


# asking


def _asking(finetunes: FinetuneStudio, state: page_state.PageState, rows: gr.State, table: gr.Dataframe) -> None:
    """What to train, the plan, and the button that begins."""
    settings: dict[str, Component] = {"max_steps": _control("max_steps", maximum=2000)}
    with gr.Row():
        begin = gr.Button("Train", variant="primary", elem_id="train", scale=3, min_width=120)
        plan = gr.Button("Plan", elem_id="plan", scale=1, min_width=90)
        stop = gr.Button("Stop", elem_id="plan-stop", scale=1, min_width=90, visible=False)
    estimate = gr.HTML(elem_id="plan-words", min_height=40)
    lighter = gr.Button(visible=False, size="sm", elem_id="lighter")
    with gr.Accordion("What to train", open=False, elem_id="what-to-train"):
        chosen = gr.Radio(list(FINETUNE_PRESETS), value="usual", label="Preset", info=PRESET_WORDS, elem_id="finetune-preset")
        settings |= {name: _control(name) for name in ("what", "layers")}
        settings |= {"rank": _control("rank", maximum=64), "batch_size": _control("batch_size", maximum=8)}
        with gr.Row():
            settings["learning_rate"] = _control("learning_rate", min_width=120)
            settings["max_minutes"] = _control("max_minutes", min_width=120, info=f"Stop after so many; empty: {MOST_MINUTES:.0f}")
        settings |= {"sample_every": _control("sample_every", maximum=500), "seed": _control("seed", maximum=1000)}

    def read_settings(values: dict[Component, Any]) -> FinetuneSettings:
        return or_toast(FinetuneSettings.checked, **{name: values[box] for name, box in settings.items()})

    def show_plan(values: dict[Component, Any]) -> Iterator[list[Any]]:
        clips, asked = edited(values[rows], values[table]["data"]), read_settings(values)
        shown, advised = "", None
        try:
            for part in finetunes.plan(values[state.visitor], clips, asked):
                if isinstance(part, dict):
                    shown, advised = plan_words(part), part["advice"]
                else:
                    yield [progress.panel(part[1], part[0]), gr.skip(), gr.skip(), gr.update(visible=False), gr.update(visible=True)]
        except ValueError as error:
            shown = f'<p role="alert">{html.escape(str(error))}</p>'
        advice = gr.update(visible=bool(advised), value=f"Take the preset {advised}: it fits")
        yield [shown, advice, advised, gr.update(visible=True), gr.update(visible=False)]

    def apply_preset(name: str) -> list[Any]:
        return ["", gr.update(visible=False), *(FINETUNE_PRESETS[name][box] for box in preset_boxes)]

    def start_training(values: dict[Component, Any]) -> str:
        clips = edited(values[rows], values[table]["data"])
        return or_toast(finetunes.start, values[state.visitor], clips, read_settings(values)).id

    inputs = {state.visitor, rows, table, *settings.values()}
    advised = gr.State(None)
    shown = [estimate, lighter, advised, plan, stop]
    plan.click(show_plan, inputs, shown, preprocess=False, concurrency_limit=None, show_progress="hidden", api_visibility="private")
    stop.click(finetunes.stop_plan, state.visitor, None, **page_state.QUICK)
    preset_boxes = list(FINETUNE_PRESETS["usual"])
    filled = [estimate, lighter, *(settings[box] for box in preset_boxes)]
    chosen.input(apply_preset, chosen, filled, **page_state.QUICK)
    lighter.click(lambda name: name, advised, chosen, **page_state.QUICK).then(apply_preset, advised, filled, **page_state.QUICK)
    page_state.follow_job(finetunes.studio, state, begin.click(start_training, inputs, state.job, **page_state.RAW))


def _control(name: str, **more: Any) -> Component:
    return control(name, FinetuneSettings, elem_id=f"finetune-{name}", **more)


def plan_words(plan: dict[str, Any]) -> str:
    """What a training would take, in a sentence."""
    disk = f"disk {_size(plan['disk_mb'])} of {_size(plan['free_disk_mb'])} free"
    memory = f"memory {_size(plan['memory_mb'])} of {_size(plan['free_memory_mb'])} free"
    short = [name for name, fits in (("memory", plan["fits"]), ("disk", plan["disk_mb"] <= plan["free_disk_mb"])) if not fits]
    warning = f" <b>Too little {' and '.join(short)}.</b>" if short else ""
    return (
        f"<p>About {max(1, plan['minutes']):.0f} min for {plan['num_steps']} steps ({plan['seconds_per_step']:.2f} s each); "
        f"{plan['num_trained'] / 1e6:.1f} M weights learn; {memory}; {disk}; measured just now.{warning}</p>"
    )


def _size(megabytes: int) -> str:
    return f"{megabytes / 1024:.1f} GB" if megabytes >= 1000 else f"{megabytes} MB"
