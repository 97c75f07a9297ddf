"""Who looks at the page and which job it shows: both survive a reload, a closed tab and a restart of the app."""

from collections.abc import Iterator
from dataclasses import dataclass

import gradio as gr
from gradio.events import Dependency

from trip.jobs.batch import parts_of
from trip.jobs.store import Job
from trip.ui.security.page import visitor_of
from trip.ui.studio import Studio

SECRET = "trip"  # of Gradio's scrambling, fixed so that stored values can be read after a restart; the values themselves are random
QUICK = {"concurrency_limit": None, "show_progress": "hidden", "api_visibility": "private"}  # of events that only look things up
EARLIER_LENGTH = 22  # characters of the words that this app gave to browsers; others were made up
SECONDS = 1.0  # between two looks at a job that has not ended
RAW = {"preprocess": False, **QUICK}  # of events that hand over what came: the schema judges it
ON_GPU = {"api_visibility": "private", "show_progress": "hidden", "concurrency_id": "accelerator", "concurrency_limit": 1}
AWAIT_RESULT = "(job) => { tripAwait(job); tripShow('#result'); return []; }"  # of assets/page.js
PUT_IN_ADDRESS = "(job) => { history.replaceState(null, '', job ? '?job=' + encodeURIComponent(job) : location.pathname); return job; }"


@dataclass(frozen=True)
class PageState:
    """State of one page.

    visitor  whose jobs these are: `Page` says it to handlers, whatever the browser sends
    earlier  secret word that browsers kept before there were cookies
    job      id of the job that is shown, or name of the batch, kept by the browser too
    seen     what the page shows of it, so that nothing is sent twice
    timer    looks again while something may change
    """

    visitor: gr.BrowserState
    earlier: gr.BrowserState
    job: gr.BrowserState
    seen: gr.State
    timer: gr.Timer


def build() -> PageState:
    """The state, inside the current `gr.Blocks`."""
    return PageState(
        visitor=gr.BrowserState("", storage_key="trip-known-as", secret=SECRET),
        earlier=gr.BrowserState("", storage_key="trip-visitor", secret=SECRET),
        job=gr.BrowserState("", storage_key="trip-job", secret=SECRET),
        seen=gr.State(()),
        timer=gr.Timer(SECONDS, active=True),
    )


def open_page(studio: Studio, earlier: str, job_id: str, request: gr.Request) -> tuple[str, str]:
    """Visitor and job of a page that has just been opened: the address names job or batch, else the browser remembers the last one."""
    visitor = visitor_of(request)
    if isinstance(earlier, str) and len(earlier) == EARLIER_LENGTH:
        studio.store.transfer(earlier, visitor)
    for candidate in (request.query_params.get("job"), job_id):
        if candidate and shown_jobs(studio, visitor, candidate):
            return str(visitor), candidate
    latest = studio.store.jobs(visitor)
    return str(visitor), latest[0].id if latest else ""


def follow_job(studio: Studio, state: PageState, asking: Dependency) -> None:
    """After an event that asked for a job: its box comes into view, and where a GPU is lent to events alone, one makes the job."""

    def work(job_id: str) -> Iterator[None]:
        studio.work_until(job_id)
        yield

    asking.success(None, state.job, None, js=AWAIT_RESULT)
    asking.success(work, state.job, None, **ON_GPU)


def look_again(state: PageState, change: Dependency) -> None:
    """After an event that changed a job which may have been at rest: the page follows it from then on."""
    change.then(lambda: gr.Timer(active=True), None, state.timer, **QUICK)


def find_job(studio: Studio, visitor: str, job_id: str) -> Job | None:
    """The visitor's job; none where there is none of that id."""
    try:
        return studio.store.get(job_id, visitor) if visitor and job_id else None
    except ValueError:
        return None


def shown_jobs(studio: Studio, visitor: str, shown: str) -> list[Job]:
    """The visitor's job of that id, or the jobs of the batch of that name; none where there is neither."""
    job = find_job(studio, visitor, shown)
    return [job] if job else parts_of(studio.store, visitor, shown if visitor else "")
