"""The janitor: what is too large, too many or too old goes, the oldest first, and nothing else."""

import os
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace

import pytest

from trip.jobs import janitor
from trip.jobs.folders import create_owned, uploads_folder
from trip.jobs.janitor import Limits, size_of, tidy
from trip.jobs.store import Job, JobStore, State
from trip.jobs.worker import Worker

ALL = {"num_bytes": 10**9, "num_jobs": 1000, "days": 30.0}
FILE = 50_000  # bytes


@pytest.fixture
def store(tmp_path: Path) -> Iterator[JobStore]:
    store = JobStore(tmp_path)
    yield store
    store.close()


@pytest.fixture
def ended(store: JobStore) -> list[Job]:
    """Four jobs that have ended, the oldest first: done, done, failed, cancelled."""
    jobs = [store.submit("me", "quick", {}) for _ in range(4)]
    for job in jobs[:3]:
        store.take()
        (store.folder_of(job) / "clip.mp4").write_bytes(bytes(FILE))
        store.finish(job.id, {}) if job != jobs[2] else store.fail(job.id, "no")
    store.cancel(jobs[3].id)
    return [store.get(job.id) for job in jobs]


def kept(store: JobStore, jobs: list[Job]) -> list[bool]:
    """Which are still there; rows and folders agree."""
    there = {job.id for job in store.jobs()}
    assert all(store.folder_of(job).exists() == (job.id in there) for job in jobs)
    return [job.id in there for job in jobs]


def test_nothing_goes_within_the_limits(store, ended):
    assert tidy(store, Limits(**ALL)) == []
    assert kept(store, ended) == [True] * 4


def test_too_many_jobs_make_room_the_oldest_first(store, ended):
    assert [job.id for job in tidy(store, Limits(**ALL | {"num_jobs": 2}))] == [job.id for job in ended[:2]]
    assert kept(store, ended) == [False, False, True, True]


def test_a_favourite_goes_last_and_has_no_age(store, ended):
    store.favour(ended[0].id, "me", True)
    tidy(store, Limits(**ALL | {"days": 0}))
    assert kept(store, ended) == [True, False, False, False]
    tidy(store, Limits(**ALL | {"num_jobs": 0}))
    assert kept(store, ended) == [False] * 4


def test_too_many_bytes_make_room_the_oldest_first(store, ended):
    tidy(store, Limits(**ALL | {"num_bytes": 2 * FILE + 5000}))
    assert kept(store, ended) == [False, True, True, True]
    assert sum(size_of(folder) for folder in (store.folder / "jobs").iterdir()) <= 2 * FILE + 5000


def test_what_is_too_old_goes(store, ended):
    with store.changing() as table:
        table.execute("UPDATE jobs SET ended = ? WHERE id = ?", (time.time() - 31 * 86400, ended[2].id))
    tidy(store, Limits(**ALL))
    assert kept(store, ended) == [True, True, False, True]


def test_what_has_not_ended_stays(store, ended):
    running, waiting, paused = (store.submit("me", "quick", {}) for _ in range(3))
    store.pause(paused.id)
    store.take()
    tidy(store, Limits(num_bytes=0, num_jobs=0, days=0))
    assert kept(store, [running, waiting, paused]) == [True] * 3
    assert kept(store, ended) == [False] * 4
    assert store.get(running.id).state == State.RUNNING


def test_only_the_stores_own_folders_are_touched(store, ended):
    others = [store.folder / "mine", store.folder / "jobs" / "mine"]
    for folder in others:
        folder.mkdir()
        (folder / "clip.mp4").write_bytes(bytes(FILE))
    tidy(store, Limits(num_bytes=0, num_jobs=0, days=0))
    assert all((folder / "clip.mp4").stat().st_size == FILE for folder in others)


def test_a_folder_that_is_gone_has_no_size(store):
    assert size_of(store.folder / "jobs" / "nothing") == 0


def aged(path: Path, days: float) -> None:
    then = time.time() - 86400 * days
    os.utime(path, (then, then))


def test_paused_jobs_have_an_age_too(store):
    old, new = store.submit("me", "quick", {}), store.submit("me", "quick", {})
    for job in (old, new):
        store.pause(job.id)
    with store.changing() as table:
        table.execute("UPDATE jobs SET created = ? WHERE id = ?", (time.time() - 31 * 86400, old.id))
    assert [job.id for job in tidy(store, Limits())] == [old.id]
    assert kept(store, [old, new]) == [False, True]


def drafts(store: JobStore) -> list[Path]:
    """Three drafts, the oldest first, and a folder that is none."""
    made = [store.folder / "drafts" / name for name in ("first", "second", "third")]
    for age, path in zip((3, 0.5, 0), made, strict=True):
        create_owned(path)
        (path / "clip.mp4").write_bytes(bytes(FILE))
        aged(path, age)
    (store.folder / "drafts" / "mine").mkdir()
    aged(store.folder / "drafts" / "mine", 99)
    return made


def test_drafts_of_fine_tunes_have_an_age_and_the_oldest_make_room(store):
    first, second, third = drafts(store)
    tidy(store, Limits())
    assert [path.exists() for path in (first, second, third)] == [False, True, True]
    tidy(store, Limits(draft_bytes=FILE))
    assert [path.exists() for path in (first, second, third)] == [False, False, True]
    assert (store.folder / "drafts" / "mine").exists()


def test_what_cannot_be_read_goes_when_it_is_old(store, ended):
    folder = store.folder_of(ended[0])
    with store.changing() as table:
        table.execute("UPDATE jobs SET settings = '[]' WHERE id = ?", (ended[0].id,))
    tidy(store, Limits())
    assert folder.exists() and store.unreadable() == [ended[0].id]
    aged(folder, 31)
    tidy(store, Limits())
    assert not folder.exists() and store.unreadable() == []


def test_a_job_that_is_being_stored_is_not_taken_for_an_orphan(store):
    new, old = store.files / "new", store.files / "old"
    for path in (new, old):
        create_owned(path)
    aged(old, 1)
    tidy(store, Limits(days=0))
    assert new.exists() and not old.exists()


def test_the_janitor_comes_also_where_nothing_is_asked_for(store):
    came = threading.Event()
    worker = Worker(store, {}, before=came.set)
    worker.start()
    assert came.wait(5)
    worker.stop()


def test_uploads_that_a_killed_app_left_have_an_age(store, monkeypatch):
    uploads = uploads_folder(store.folder)
    others = store.folder / "uploads" / "mine" / "photo.png"
    old, new = uploads / "a" / "old.png", uploads / "b" / "new.png"
    for path in (old, new, others):
        path.parent.mkdir(parents=True)
        path.touch()
    since = time.time()
    tidy(store, Limits())
    assert old.exists() and new.exists()
    time.sleep(0.05)
    os.utime(new)  # a change of its times is noted by the system, whatever they are set to
    now = time.time()
    monkeypatch.setattr(janitor, "time", SimpleNamespace(time=lambda: now))
    tidy(store, Limits(upload_days=(now - since - 0.02) / 86400))
    assert not old.exists() and new.exists() and others.exists()


def test_a_place_for_uploads_that_is_somebody_elses_is_not_taken(tmp_path):
    (tmp_path / "taken" / "uploads" / "gradio").mkdir(parents=True)
    assert uploads_folder(tmp_path / "taken") is None
    (tmp_path / "refused" / "jobs" / "thesis").mkdir(parents=True)
    (tmp_path / "refused" / "jobs" / "thesis" / "chapter1.tex").touch()
    assert uploads_folder(tmp_path / "refused") is None and [path.name for path in (tmp_path / "refused").iterdir()] == ["jobs"]
    assert uploads_folder(tmp_path / "new") == uploads_folder(tmp_path / "new") == tmp_path / "new" / "uploads" / "gradio"
