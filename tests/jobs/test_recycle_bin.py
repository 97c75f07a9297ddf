"""What was deleted is nobody's, can be brought back for a while, and then goes."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from trip.jobs import recycle_bin
from trip.jobs.folders import JOB_FILE
from trip.jobs.janitor import Limits, tidy
from trip.jobs.store import Job, JobStore, State


@pytest.fixture
def store(tmp_path: Path) -> Iterator[JobStore]:
    store = JobStore(tmp_path)
    yield store
    store.close()


def done(store: JobStore, visitor: str = "me") -> Job:
    job = store.submit(visitor, "quick", {})
    store.take()
    (store.folder_of(job) / "clip.mp4").write_bytes(b"clip")
    store.finish(job.id, {"clip": "clip.mp4"})
    return store.get(job.id)


def test_what_was_deleted_is_found_and_fetched_by_nobody_and_comes_back_as_it_was(store):
    job, other = done(store), done(store, "somebody")
    clip = (store.folder_of(job) / "clip.mp4").resolve()
    recycle_bin.put(store, [job])
    assert store.jobs("me") == [] and not store.is_served(clip, "me") and not store.is_served(clip, "somebody")
    assert not (store.folder_of(job) / JOB_FILE).exists()  # a damaged table would bring it back
    assert recycle_bin.take(store, "somebody") == []
    [back] = recycle_bin.take(store, "me")
    assert (back.id, back.state, back.result) == (job.id, job.state, job.result) and store.is_served(clip, "me")
    assert (store.folder_of(job) / JOB_FILE).exists()
    assert recycle_bin.take(store, "me") == [] and store.get(other.id, "somebody")


def test_deletions_are_undone_one_by_one_the_last_first(store):
    first, second, third = done(store), done(store), done(store)
    recycle_bin.put(store, [first])
    recycle_bin.put(store, [second, third])
    assert [job.id for job in recycle_bin.take(store, "me")] == [second.id, third.id]
    assert [job.id for job in recycle_bin.take(store, "me")] == [first.id]


def test_a_job_that_waits_is_not_made_once_it_is_deleted(store):
    job = store.submit("me", "quick", {})
    recycle_bin.put(store, [job])
    assert store.take() is None
    assert [back.state for back in recycle_bin.take(store, "me")] == [State.CANCELLED]


def test_the_janitor_takes_what_cannot_be_brought_back(store, monkeypatch):
    job = done(store)
    recycle_bin.put(store, [job])
    tidy(store, Limits())
    assert store.folder_of(job).exists()
    monkeypatch.setattr(recycle_bin, "UNDO_SECONDS", 0)
    assert recycle_bin.last(store, "me") == []
    tidy(store, Limits())
    assert store.jobs() == [] and not store.folder_of(job).exists()
