"""Figure 9 of the paper on the page: a photo, its newest edit and its newest drawing, animated alike and shown on one clock."""

import html
from typing import Any

import gradio as gr
import numpy as np
from PIL import Image

from trip.jobs.handlers import figure
from trip.jobs.store import Job, State
from trip.settings import AnimateSettings, ControlSettings
from trip.ui import elements
from trip.ui.panels import pictures
from trip.ui.panels.layout import JobView
from trip.ui.studio import Studio

MEASURED = ("First frame", "Photo kept", "Flicker", "Motion")  # figures that are shown beside each other
TO_COME = {  # kind of job -> what is left out where there is none of it
    "edit": "no edit of this photo yet: say what to change and press Edit",
    "control": "no drawing over this photo's map yet: say what to draw and press Draw",
}


def ask(studio: Studio, visitor: str, photo: str | None, chosen: tuple[str, int | None], settings: AnimateSettings) -> Job:
    """Asks for the clips; ValueError, in one line, where there is nothing to put beside the photo.

    photo   the form's; none: that of the pictures which are shown
    chosen  id of the job whose pictures are shown, and the seed of the one that was chosen
    """
    pictured = studio.store.get(chosen[0], visitor) if chosen[0] else None
    photo = photo or (studio.photo_of(pictured) if pictured else None)
    if photo is None:
        raise ValueError("there is no photo yet: choose one first")
    found = {kind: _newest(studio, visitor, kind, photo) for kind in TO_COME}
    clips: dict[str, Any] = {"original": photo}
    for job in filter(None, found.values()):
        seeds = [picture["seed"] for picture in job.result["pictures"]]
        index = seeds.index(chosen[1]) if job.id == chosen[0] and chosen[1] in seeds else 0
        clips[_label(job)] = pictures.paths_of(studio, job)[index]
    if len(clips) == 1:
        raise ValueError("there is nothing to put beside the photo yet: edit it, or draw over its map, first")
    missing = [_missing(studio, kind) for kind, job in found.items() if job is None]
    return figure.ask(clips, missing, lambda picture, **more: studio.animate(visitor, picture, settings, **more))


def _newest(studio: Studio, visitor: str, kind: str, photo: str) -> Job | None:
    """The newest job of that kind that worked on the same photo."""
    wanted = np.asarray(pictures.read_photo_small(photo))
    for job in studio.store.jobs(visitor, State.DONE):
        path = studio.store.folder_of(job) / "photo.png"
        if job.kind == kind and path.exists():
            with Image.open(path) as used:
                if used.size == wanted.shape[1::-1] and np.array_equal(np.asarray(used), wanted):
                    return job
    return None


def _label(job: Job) -> str:
    settings = job.settings
    return f"edit: {settings['instruction']}" if job.kind == "edit" else f"{settings['annotator']}: {settings['prompt']}"


def _missing(studio: Studio, kind: str) -> str:
    return (pictures.missing_model(studio, ControlSettings()) if kind == "control" else "") or TO_COME[kind]


def build() -> JobView:
    """Lay out the comparison, hidden; gives what the last clip of a figure ends in."""
    with gr.Column(visible=False, elem_id="figure") as box:
        clips, missing = gr.HTML(elem_id="figure-clips"), gr.HTML(elem_id="figure-missing")
        download = gr.DownloadButton("Download side by side", size="sm", elem_id="figure-download")
    return JobView("animate", [box, clips, missing, download], _shown, is_live=True)


def _shown(studio: Studio, job: Job | None) -> list[Any]:
    """The clips of a job's figure that are done, on one clock; hidden where there are not two."""
    parts = figure.parts_of(studio.store, job) if job and job.state == State.DONE else []
    done = [part for part in parts if part.state == State.DONE]
    if len(done) < 2:
        return [gr.update(visible=False), "", gr.skip(), gr.skip()]
    shown = [
        elements.ComparedClip(studio.clip_of(part), figure.label_of(part), part.result["fps"], part.result["num_frames"]) for part in done
    ]
    left_out = [f"Left out: {line}" for line in job.settings[figure.FIGURE]["missing"]]
    left_out += [f"Left out: {figure.label_of(part)}: {part.error}" for part in parts if part.state == State.FAILED]
    clips = elements.compare(shown, "Side by side, with one seed and one sentence") + _figures(done)
    return [gr.update(visible=True), clips, pictures.notes_list(left_out), gr.update(value=str(figure.written(studio.store, done)))]


def _figures(done: list[Job]) -> str:
    """HTML of what was measured of each clip, and how long it took."""
    names = [label for label, _, _ in done[0].result["figures"] if label in MEASURED]
    head = "".join(f'<th scope="col">{html.escape(name)}</th>' for name in ("Clip", "Seconds", *names))
    rows = []
    for part in done:
        values = {label: value.rpartition(", ")[2] for label, value, _ in part.result["figures"]}  # of a motion the share of the width
        cells = [f"{part.result['seconds']:.1f}", *(values.get(name, "–") for name in names)]
        row = "".join(f"<td>{html.escape(cell)}</td>" for cell in cells)
        rows.append(f'<tr><th scope="row">{html.escape(figure.label_of(part))}</th>{row}</tr>')
    return f'<table class="trip-figures" id="figure-table"><thead><tr>{head}</tr></thead><tbody>{"".join(rows)}</tbody></table>'
