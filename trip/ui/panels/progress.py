"""What a person sees of a job that has not ended: a bar, a line of words and a strip of frames that sharpens as it goes."""

import base64
import html

from trip.jobs.batch import name_of
from trip.jobs.store import Job, State
from trip.ui.panels import examples
from trip.ui.studio import Studio


def of_job(studio: Studio, job: Job | None) -> str:
    """HTML of the progress panel."""
    if job is None:
        return panel(examples.WORDS)
    if job.state == State.FAILED:
        return panel(f"Nothing was made: {job.error}", failed=True)
    if job.state == State.QUEUED:
        before = studio.store.jobs_before(job)
        waiting = f"{before} {'job is' if before == 1 else 'jobs are'} made before it" if before else "it is next"
        return panel(f"{job.words}: {waiting}", 0.0, key=job.id)
    if job.state == State.RUNNING:
        preview = studio.preview_of(job)
        return panel(job.words, job.fraction, preview.read_bytes() if preview else None, key=job.id)
    if job.state == State.DONE:
        return panel(f"Done in {job.result['seconds']:.0f} s", key=job.id)
    return panel(job.words)


def of_batch(studio: Studio, jobs: list[Job]) -> str:
    """HTML of the progress panel of several jobs that are shown together."""
    ended = [job for job in jobs if job.state.is_final]
    done = sum(job.state == State.DONE for job in ended)
    words = f"{done} of {len(jobs)} done" + (f", {len(ended) - done} not made" if len(ended) > done else "")
    if len(ended) == len(jobs):
        return panel(words, key=name_of(jobs[0]))
    running = next((job for job in jobs if job.state == State.RUNNING), None)
    fraction = sum(1.0 if job.state.is_final else job.fraction for job in jobs) / len(jobs)
    preview = studio.preview_of(running) if running else None
    return panel(
        f"{words}. {running.words if running else 'Waiting'}", fraction, preview.read_bytes() if preview else None, key=name_of(jobs[0])
    )


def panel(text: str, fraction: float | None = None, preview: bytes | None = None, *, key: str = "", failed: bool = False) -> str:
    """HTML of a bar, words and a picture; without a fraction there is no bar.

    fraction  share of the work that is done, 0 to 1
    preview   JPEG of frames side by side
    key       what is awaited or was made, for the browser to tell when it is done
    failed    the page shows it on the tab alone that it came up on
    """
    parts = []
    if fraction is not None:
        percent = round(100 * fraction)
        parts.append(
            f'<div class="trip-bar" role="progressbar" aria-label="Progress" aria-valuemin="0" aria-valuemax="100" '
            f'aria-valuenow="{percent}"><div style="width:{percent}%"></div></div>'
        )
    parts.append(f'<p class="trip-status" aria-live="polite">{html.escape(text)}</p>')
    if preview is not None:
        data = base64.b64encode(preview).decode()
        parts.append(f'<img class="trip-strip" alt="Frames of the clip as they look by now" src="data:image/jpeg;base64,{data}">')
    state, name = "done" if fraction is None else "running", "trip-progress trip-failed" if failed else "trip-progress"
    return f'<div class="{name}" data-job="{key}" data-state="{state}">{"".join(parts)}</div>'
