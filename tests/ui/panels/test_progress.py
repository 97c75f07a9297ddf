"""What is said of a job that has ended, and of several."""

from types import SimpleNamespace

import pytest

from trip.jobs.batch import BATCH
from trip.jobs.store import Job, State
from trip.ui.panels import progress


@pytest.mark.parametrize("expected", [12.0, 1.0, None])
def test_a_clip_that_is_done_says_what_it_took_and_nothing_of_the_estimate(expected):
    job = Job("id", "me", "animate", {}, State.DONE, place=0, created=0, result={"seconds": 6.4, "expected_seconds": expected})
    assert progress.of_job(None, job) == progress.panel("Done in 6 s", key="id")


def test_several_jobs_have_one_bar_and_one_line():
    def job(state: State, **more) -> Job:
        return Job("id", "me", "animate", {BATCH: {"name": "b.one", "label": ""}}, state, place=0, created=0, **more)

    studio = SimpleNamespace(preview_of=lambda job: None)
    running = job(State.RUNNING, fraction=0.5, words="Step 5 of 10")
    html = progress.of_batch(studio, [job(State.DONE), running, job(State.QUEUED), job(State.QUEUED)])
    assert html == progress.panel("1 of 4 done. Step 5 of 10", 1.5 / 4, key="b.one")
    assert progress.of_batch(studio, [job(State.DONE), job(State.CANCELLED)]) == progress.panel("1 of 2 done, 1 not made", key="b.one")
