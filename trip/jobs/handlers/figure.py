"""Figure 9 of the paper as jobs: a photo and what was made of it, animated with one seed and one sentence, and shown on one clock."""

import secrets
from collections.abc import Callable
from pathlib import Path
from typing import Any

from trip.evaluation.sheets import on_one_clock, side_by_side
from trip.jobs.store import Job, JobStore
from trip.media import Clip, read_clip, write_clip

FIGURE = "figure"  # setting of an "animate" job: which figure it is part of, its label there, and what the figure lacks


def ask(pictures: dict[str, Any], missing: list[str], animate: Callable[..., Job]) -> Job:
    """Asks for a clip of each picture and gives the last of their jobs. What is refused is missing; ValueError where all are.

    pictures  label -> picture, or what else the clips differ in
    missing   what the figure lacks, a line each
    animate   asks for one clip: called with a picture and the setting that joins them
    """
    name, job, refusal, missing = secrets.token_urlsafe(9), None, None, list(missing)
    for label, picture in pictures.items():
        try:
            job = animate(picture, **{FIGURE: {"name": name, "label": label, "missing": missing}})
        except ValueError as error:
            refusal = error
            missing.append(f"{label}: {error}")
    if job is None:
        raise refusal
    return job


def parts_of(store: JobStore, job: Job) -> list[Job]:
    """The jobs of a clip's figure that are there, as they were asked for; none where it is part of no figure."""
    if FIGURE not in job.settings:
        return []
    name = job.settings[FIGURE]["name"]
    found = [other for other in store.jobs(job.visitor) if other.settings.get(FIGURE, {}).get("name") == name]
    return sorted(found, key=lambda other: other.created)


def label_of(job: Job) -> str:
    """What a clip is in its figure; empty where it is part of none."""
    return job.settings.get(FIGURE, {}).get("label", "")


def written(store: JobStore, done: list[Job]) -> Path:
    """One clip that shows those of done jobs side by side, each under its label; made once, in the folder of the last."""
    target = store.folder_of(done[-1]) / f"side-by-side-{len(done)}.mp4"
    if not target.exists():
        clips = [read_clip(store.folder_of(job) / job.result["clip"]) for job in done]
        rates = [clip.fps for clip in clips]
        frames = side_by_side(on_one_clock([clip.frames for clip in clips], rates, max(rates)), [label_of(job) for job in done])
        metadata = {key: value for key, value in clips[0].metadata.items() if key != "photo"}
        write_clip(Clip(frames, max(rates), metadata), target)
    return target
