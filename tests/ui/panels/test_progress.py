"""What is said of a job that has ended."""

import pytest

from trip.jobs.store import Job, State
from trip.ui.panels import progress


@pytest.mark.parametrize("expected", [12.0, 1.0, None])
def test_a_clip_that_is_done_says_what_it_took_and_nothing_of_the_estimate(expected):
    job = Job("id", "me", "animate", {}, State.DONE, place=0, created=0, result={"seconds": 6.4, "expected_seconds": expected})
    assert progress.of_job(None, job) == progress.panel("Done in 6 s")
