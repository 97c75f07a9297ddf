"""Keeps the output folder within bounds: results too old, too many or too large make room, the oldest first."""

import time
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from trip.jobs.store import ANYBODY, Job, JobStore, State


@dataclass(frozen=True)
class Limits:
    """What may stay: bytes and count of all jobs that have ended, and their age in days."""

    num_bytes: int = 5 * 2**30
    num_jobs: int = 1000
    days: float = 30.0


def tidy(store: JobStore, limits: Limits) -> list[Job]:
    """Deletes ended jobs beyond the limits, files included, and gives what was deleted. Touches the store's own folders only."""
    ended = sorted(store.jobs(ANYBODY, State.DONE, State.FAILED, State.CANCELLED), key=lambda job: job.ended or job.created)
    sizes = {job.id: size_of(store.folder_of(job)) for job in ended}
    total, count, oldest = sum(sizes.values()), len(ended), time.time() - 86400 * limits.days
    deleted = []
    for job in ended:
        if total <= limits.num_bytes and count <= limits.num_jobs and (job.ended or job.created) >= oldest:
            break
        with suppress(ValueError):  # deleted by its visitor meanwhile
            store.delete(job.id)
        deleted.append(job)
        total, count = total - sizes[job.id], count - 1
    return deleted


def size_of(folder: Path) -> int:
    """Bytes of the files in a folder and below it; 0 where it is gone."""
    try:
        return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())
    except OSError:
        return 0
