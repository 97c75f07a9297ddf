"""What is said of a job that has ended."""

import pytest

from trip.jobs.store import Job, State
from trip.ui.panels.progress import done_words


@pytest.mark.parametrize(
    ("took", "expected", "words"),
    [
        (6.0, 12.0, "Done in 6 s, 50% less than estimated"),
        (3.0, 1.0, "Done in 3 s, 200% more than estimated"),
        (3.0, None, "Done in 3 s"),
    ],
)
def test_the_error_of_an_estimate_is_a_share_of_the_estimate(took, expected, words):
    result = {"seconds": took, "expected_seconds": expected}
    assert done_words(Job("id", "me", "animate", {}, State.DONE, place=0, created=0, result=result)) == words
