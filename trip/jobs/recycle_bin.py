"""Jobs that were deleted a moment ago: they are nobody's, so that nobody finds or fetches them, until they are brought back or go.

In the table, their visitor is marked, and `place` is when they were deleted, seconds of `time.time`.
"""

import time
from contextlib import suppress

from trip.jobs.folders import JOB_FILE
from trip.jobs.store import Job, JobStore, State

UNDO_SECONDS = 600.0  # in which a deletion can be undone
_MARK = "deleted "  # before the id of a visitor, which has no space
_LAST = "visitor = ? AND place = (SELECT MAX(place) FROM jobs WHERE visitor = ?)"


def put(store: JobStore, jobs: list[Job]) -> None:
    """Ends jobs of one visitor, in that order, and makes them nobody's."""
    now = time.time()
    for job in jobs:
        store.cancel(job.id, job.visitor)
        (store.folder_of(job) / JOB_FILE).unlink(missing_ok=True)  # so that a damaged table brings nothing back
        with store.changing() as table:
            table.execute("UPDATE jobs SET visitor = ? || visitor, place = ? WHERE id = ?", (_MARK, now, job.id))


def last(store: JobStore, visitor: str) -> list[str]:
    """Ids of what a visitor deleted last, in one go; none where that was too long ago."""
    query, since = f"SELECT id FROM jobs WHERE {_LAST} AND place >= ? ORDER BY created", time.time() - UNDO_SECONDS
    with store.changing() as table:
        return [row["id"] for row in table.execute(query, (*[_MARK + visitor] * 2, since))]


def take(store: JobStore, visitor: str) -> list[Job]:
    """Gives a visitor back what they deleted last; nothing where that was too long ago."""
    job_ids = last(store, visitor)
    with store.changing() as table:
        for job_id in job_ids:
            table.execute("UPDATE jobs SET visitor = ? WHERE id = ?", (str(visitor), job_id))
    jobs = [store.get(job_id, visitor) for job_id in job_ids]
    for job in jobs:
        if job.state == State.DONE:
            store.write_down(job)
    return jobs


def empty(store: JobStore) -> None:
    """Deletes what cannot be brought back any more."""
    with store.changing() as table:
        query = "SELECT id FROM jobs WHERE visitor LIKE ? AND place < ?"
        overdue = [row["id"] for row in table.execute(query, (f"{_MARK}%", time.time() - UNDO_SECONDS))]
    for job_id in overdue:
        with suppress(ValueError):  # gone meanwhile
            store.delete(job_id)
