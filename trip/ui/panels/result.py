"""The panel that a tab ends in: the clip, what was measured of it, downloads, and what to do with it next."""

import html
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import gradio as gr

from trip.jobs import batch
from trip.jobs.handlers.figure import label_of
from trip.jobs.store import Job, State
from trip.settings import AnimateSettings
from trip.ui import elements
from trip.ui.clip_files import FORMATS
from trip.ui.page_state import QUICK, PageState, find_job
from trip.ui.studio import BEST_OF, FINAL_STEPS, Studio

KEPT = ((30.0, "keeps the photo well"), (22.0, "keeps the photo in part"), (float("-inf"), "keeps little of the photo"))  # from so many dB
PREDICTED_DB = 22.0  # a draft that comes so close to its final looks like it


@dataclass(frozen=True)
class ResultPanel:
    """The components of the panel, and the buttons that ask for a new job: name -> button."""

    clip: gr.HTML
    below: gr.Column
    drawn: gr.Checkbox
    facts: gr.HTML
    formats: gr.Radio
    download: gr.DownloadButton
    next_prompt: gr.Textbox
    add_sound: gr.UploadButton
    remove_sound: gr.Button
    last_frame: gr.Button
    actions: dict[str, gr.Button]

    @property
    def outputs(self) -> list[gr.blocks.Block]:
        """What `shown` gives values to, in that order."""
        return [self.clip, self.below, self.drawn, self.facts, self.formats, self.download, self.add_sound, self.remove_sound]


def build(studio: Studio, state: PageState, clip: gr.HTML) -> ResultPanel:
    """Lay out what comes below the clip; it stays folded until there is one."""
    with gr.Column(visible=False) as below:
        drawn = gr.Checkbox(False, label="As the network drew it", elem_id="drawn", container=False)
        with gr.Row():
            actions = {
                "again": gr.Button("Again", size="sm", min_width=60, elem_id="again"),
                "finish": gr.Button("Finish", size="sm", min_width=60, elem_id="finish"),
                "loop": gr.Button("Loop", size="sm", min_width=60, elem_id="loop"),
                "best": gr.Button(f"Best of {BEST_OF}", size="sm", min_width=60, elem_id="best"),
            }
        gr.Markdown(
            f"**Again** takes a new seed, **Finish** the same seed with {FINAL_STEPS} times the steps, **Loop** comes back to the photo, "
            f"**Best of {BEST_OF}** makes {BEST_OF} to choose from.",
            elem_classes="trip-hint",
        )
        with gr.Row(elem_classes="trip-line"):
            next_prompt = gr.Textbox(
                label="Go on from the last frame: what moves then",
                placeholder="the same again",
                elem_id="next-prompt",
                scale=3,
                min_width=160,
            )
            actions["continue"] = gr.Button("Continue", size="sm", elem_id="continue", scale=1, min_width=110)
        with gr.Row(elem_classes="trip-line"):
            formats = gr.Radio(list(FORMATS), value="MP4", label="Download as", elem_id="formats", scale=3, min_width=220)
            download = gr.DownloadButton("Download", elem_id="download", size="sm", scale=1, min_width=110)
        with gr.Row():
            last_frame = gr.Button("Last frame as photo", size="sm", min_width=120, elem_id="last-frame")
            add_sound = gr.UploadButton("Add sound", file_types=["audio", "video"], size="sm", min_width=90, elem_id="add-sound")
            remove_sound = gr.Button("No sound", size="sm", min_width=90, elem_id="remove-sound", visible=False)
            actions["compare"] = gr.Button("Compare models", size="sm", min_width=120, elem_id="compare-models", visible=False)
            link = gr.Button("Copy link", size="sm", min_width=90, elem_id="copy-link")
        facts = gr.HTML(elem_id="facts")

    def converted(visitor: str, job_id: str, name: str) -> gr.DownloadButton:
        return _offered(or_toast(studio.download, job_id, visitor, name), name)

    def view(visitor: str, job_id: str, as_drawn: bool) -> str:
        job = find_job(studio, visitor, job_id)
        return gr.skip() if job is None or "clip" not in job.result else player_of(studio, job, as_drawn=as_drawn)

    def put_sound(visitor: str, job_id: str, file: str | None) -> list[Any]:
        return shown(studio, or_toast(studio.put_sound, job_id, visitor, file))

    def drop_sound(visitor: str, job_id: str) -> list[Any]:
        return put_sound(visitor, job_id, None)

    def tell_copied() -> None:
        gr.Info("Copied. The link opens for you alone, in this browser")

    link.click(tell_copied, None, None, js="() => { tripCopy(); return []; }", **QUICK)
    formats.input(converted, [state.visitor, state.job, formats], download, **QUICK)
    drawn.input(view, [state.visitor, state.job, drawn], clip, **QUICK)
    panel = ResultPanel(clip, below, drawn, facts, formats, download, next_prompt, add_sound, remove_sound, last_frame, actions)
    add_sound.upload(put_sound, [state.visitor, state.job, add_sound], panel.outputs, **QUICK)
    remove_sound.click(drop_sound, [state.visitor, state.job], panel.outputs, **QUICK)
    return panel


def or_toast(call: Callable[..., Any], *arguments: Any, **more: Any) -> Any:
    """The call's value; a ValueError becomes a toast of one line."""
    try:
        return call(*arguments, **more)
    except ValueError as error:
        raise gr.Error(str(error), print_exception=False) from error


def next_job(studio: Studio, action: str, visitor: str, job_id: str, prompt: str) -> str:
    """Id of the job, or name of the batch, that a button of the panel asks for."""
    if find_job(studio, visitor, job_id) is None:
        raise gr.Error("there is no clip yet: make one first", print_exception=False)
    if action == "continue":
        return or_toast(studio.continue_clip, job_id, visitor, prompt.strip() or None).id
    if action == "finish":
        return or_toast(studio.finish_draft, job_id, visitor).id
    if action == "compare":
        return or_toast(studio.compare_models, job_id, visitor).id
    if action == "best":
        jobs = or_toast(studio.best_of, job_id, visitor)
        if len(jobs) < BEST_OF:
            gr.Info(f"{len(jobs)} of {BEST_OF} clips are on their way, as no more may wait")
        return batch.name_of(jobs[0])
    return or_toast(studio.rerun, job_id, visitor, seed=None, **({"loop": True} if action == "loop" else {})).id


def shown(studio: Studio, job: Job | None) -> list[Any]:
    """Values for `ResultPanel.outputs`."""
    if job is None or job.state != State.DONE or "clip" not in job.result:
        return [gr.update(visible=False), gr.update(visible=False), False, "", *[gr.update()] * 4]
    player, has_sound = gr.update(value=player_of(studio, job), visible=True), studio.sound_of(job) is not None
    sounds = gr.UploadButton("Other sound" if has_sound else "Add sound", value=None), gr.update(visible=has_sound)
    return [player, gr.update(visible=True), False, facts_of(job), "MP4", _offered(studio.clip_of(job), "MP4"), *sounds]


def player_of(studio: Studio, job: Job, *, as_drawn: bool = False) -> str:
    """HTML of a done job's clip, or of what the network drew for it."""
    result = job.result
    label = f"{result['settings']['prompt'] or 'no prompt'}, seed {result['seed']}"
    label = " · ".join(filter(None, [label_of(job), label]))
    if as_drawn and "drawn" in result:
        return elements.player(studio.drawn_of(job), result["drawn_fps"], result["drawn_frames"], f"{label}, as the network drew it")
    has_sound = studio.sound_of(job) is not None
    return elements.player(studio.clip_of(job), result["fps"], result["num_frames"], label, sound=has_sound)


def _offered(path: Path, name: str) -> gr.DownloadButton:
    return gr.DownloadButton(f"Download {name}, {path.stat().st_size / 1e6:.1f} MB", str(path))


def facts_of(job: Job) -> str:
    """HTML of what was measured of a clip, and of the settings that made it."""
    result = job.result
    measured = [(label, value, title) for label, value, title in result["figures"]]
    if result["settings"].get("loop"):
        measured.append(
            ("Loop", f"{result['loop_gap']:.1f} steps", "how far the last frame is from the first; 1 is as smooth as any other step")
        )
    if result.get("draft_db") is not None:
        verdict = "the draft showed what this became" if result["draft_db"] >= PREDICTED_DB else "the draft did not predict this clip"
        measured.append(("Draft", f"{result['draft_db']:.1f} dB", f"how like the draft this clip is: {verdict}"))
    used = sorted(result["settings"].items(), key=lambda row: row[0] != "seed")
    settings = table("Made with", [(_words(name), value, "") for name, value in used])
    notes = "".join(f"<li>{html.escape(note)}</li>" for note in result.get("notes", []))
    notes = f'<ul class="trip-notes" role="status">{notes}</ul>' if notes else ""
    measured = f"<details><summary>{html.escape(in_words(job))}</summary>{table('Measured', measured)}</details>"
    return f"{notes}{measured}<details><summary>Seed {result['seed']} and settings</summary>{settings}</details>"


def in_words(job: Job) -> str:
    """What was measured of a clip, in a plain line."""
    kept = job.result.get("photo_kept_db", float("nan"))
    way = next((value for label, value, _ in job.result["figures"] if label == "Motion"), "")
    how = next(words for least, words in KEPT if kept >= least) if kept == kept else "loses the photo"
    return f"It moves by {way.split(', ')[-1]} and {how}" if way else f"It {how}"


def table(caption: str, rows: list[tuple[str, Any, str]]) -> str:
    """HTML of rows of (label, value, explanation)."""
    cells = "".join(
        f'<tr title="{html.escape(title)}"><th scope="row">{html.escape(label)}</th><td>{_text(value)}'
        f"{f'<small>{html.escape(title)}</small>' if title else ''}</td></tr>"
        for label, value, title in rows
    )
    return f'<table class="trip-settings"><caption>{html.escape(caption)}</caption><tbody>{cells}</tbody></table>'


def _words(name: str) -> str:
    field = AnimateSettings.model_fields.get(name)
    return field.title if field else name.replace("_", " ").capitalize()


def _text(value: Any) -> str:
    return "–" if value in (None, "") else html.escape(str(value))
