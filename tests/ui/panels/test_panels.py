"""What the page looks up of its jobs."""

from pathlib import Path

import pytest

from trip.jobs.batch import BATCH, new_batch
from trip.jobs.store import Job, State
from trip.settings import AnimateSettings
from trip.ui import page_state
from trip.ui.panels import history, result
from trip.ui.panels.layout import may_change, snapshot, unfinished
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
    found = page_state.find_job

    def find_job(*asked):
        running = found(*asked)
        studio.store.finish(job.id, {})
        return running

    with monkeypatch.context() as meanwhile:
        meanwhile.setattr(page_state, "find_job", find_job)
        shown, now = snapshot(studio, "me", job.id)
    assert shown[0].state == State.RUNNING and may_change(now)

    shown, later = snapshot(studio, "me", job.id)
    assert shown[0].state == State.DONE and later != now and not may_change(later)


def test_a_paused_job_does_not_keep_the_page_busy(studio):
    job = studio.animate("me", str(PHOTO), AnimateSettings())
    assert may_change(snapshot(studio, "me", job.id)[1])
    studio.store.suspend(job.id)
    assert not may_change(snapshot(studio, "me", job.id)[1])


def test_a_page_without_a_visitor_sees_nothing(studio):
    studio.animate("", str(PHOTO), AnimateSettings())
    assert snapshot(studio, "", "")[0] == [] and not may_change(snapshot(studio, "", "")[1])


def test_a_batch_is_shown_whole_to_its_visitor_alone(studio):
    group = {BATCH: {"name": new_batch(), "label": ""}}
    jobs = [studio.animate("me", str(PHOTO), AnimateSettings(), **group) for _ in range(3)]
    studio.animate("me", str(PHOTO), AnimateSettings())
    name = group[BATCH]["name"]
    assert [job.id for job in page_state.shown_jobs(studio, "me", name)] == [job.id for job in jobs]
    assert [job.id for job in page_state.shown_jobs(studio, "me", jobs[1].id)] == [jobs[1].id]
    assert page_state.shown_jobs(studio, "somebody", name) == page_state.shown_jobs(studio, "", name) == []
    before = snapshot(studio, "me", name)[1]
    studio.stop("me", jobs[2].id)
    assert snapshot(studio, "me", name)[1] != before


def test_stop_ends_the_other_clips_of_a_figure_too(studio):
    jobs = [studio.animate("me", str(PHOTO), AnimateSettings(), figure={"name": "one", "label": label}) for label in ("photo", "edit")]
    other = studio.animate("me", str(PHOTO), AnimateSettings())
    assert unfinished(studio, "me", jobs[1].id) == [job.id for job in jobs]
    studio.stop("me", *unfinished(studio, "me", jobs[1].id))
    assert [job.id for job in studio.store.jobs("me", State.QUEUED)] == [other.id]
    assert unfinished(studio, "me", jobs[1].id) == unfinished(studio, "somebody", other.id) == []


def test_after_a_deletion_the_next_clip_is_shown_or_the_one_before():
    jobs = [Job(str(index), "me", "animate", {}, State.DONE, place=0, created=0) for index in range(4)]
    assert history._neighbour(jobs, jobs[1:2]) == "2"
    assert history._neighbour(jobs, jobs[2:]) == "1"
    assert history._neighbour(jobs, jobs) == history._neighbour([], jobs) == ""


@pytest.mark.parametrize(
    "kept, said",
    [
        (33.0, "keeps the photo well"),
        (25.0, "keeps the photo in part"),
        (9.0, "keeps little of the photo"),
        (float("nan"), "loses the photo"),
    ],
)
def test_what_was_measured_is_one_plain_line(kept, said):
    figures = [("Motion", "12.0 pixels, 1.6 % of the width", "how far")]
    job = Job("id", "me", "animate", {}, State.DONE, place=0, created=0, result={"figures": figures, "photo_kept_db": kept})
    assert result.in_words(job) == f"It moves by 1.6 % of the width and {said}"
