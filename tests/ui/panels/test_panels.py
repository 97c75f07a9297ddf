"""What the page looks up of its jobs."""

from pathlib import Path

import pytest

from trip.jobs.store import State
from trip.settings import AnimateSettings
from trip.ui import visit
from trip.ui.panels.layout import looked, may_change
from trip.ui.studio import Studio

PHOTO = Path(__file__).parents[3] / "examples" / "astronaut.jpg"


@pytest.fixture
def studio(tmp_path: Path):
    studio = Studio(None, tmp_path / "outputs")
    yield studio
    studio.close()


def test_a_job_that_ends_while_it_is_looked_at_is_looked_at_once_more(studio, monkeypatch):
    job = studio.animate("me", str(PHOTO), AnimateSettings())
    studio.store.take()
    found = visit.look

    def look(*asked):
        running = found(*asked)
        studio.store.finish(job.id, {})
        return running

    with monkeypatch.context() as meanwhile:
        meanwhile.setattr(visit, "look", look)
        shown, now = looked(studio, "me", job.id)
    assert shown.state == State.RUNNING and may_change(now)

    shown, later = looked(studio, "me", job.id)
    assert shown.state == State.DONE and later != now and not may_change(later)


def test_a_paused_job_does_not_keep_the_page_busy(studio):
    job = studio.animate("me", str(PHOTO), AnimateSettings())
    assert may_change(looked(studio, "me", job.id)[1])
    studio.store.set_aside(job.id)
    assert not may_change(looked(studio, "me", job.id)[1])


def test_a_page_without_a_visitor_sees_nothing(studio):
    studio.animate("", str(PHOTO), AnimateSettings())
    assert looked(studio, "", "")[0] is None and not may_change(looked(studio, "", "")[1])
