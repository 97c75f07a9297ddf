"""Keeps the output folder within bounds: what visitors have left there has an age, and results too many or too large make room, the
oldest first.
"""

import logging
import time
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from trip.jobs import recycle_bin
from trip.jobs.folders import UPLOADS, drop, is_owned
from trip.jobs.store import ANY_VISITOR, Job, JobStore, State

logger = logging.getLogger(__name__)

DRAFTS = "drafts"  # below the output folder: clips on their way to a fine-tune, a folder for each visitor
LEAST_AGE = 3600  # seconds, of a folder without a row: a job that is just being stored has none yet


@dataclass(frozen=True)
class Limits:
    """What may stay: bytes and count of all jobs that have ended, and ages in days.

    days         of jobs that have ended, and of what cannot be read
    paused_days  of jobs that somebody has paused
    draft_days   of clips on their way to a fine-tune, since they were last looked at
    draft_bytes  of all of them
    upload_days  of what was uploaded; an app that runs drops it sooner, this is what one left that was killed
    """

    num_bytes: int = 5 * 2**30
    num_jobs: int = 1000
    days: float = 30.0
    paused_days: float = 30.0
    draft_days: float = 1.0
    draft_bytes: int = 4 * 2**30
    upload_days: float = 2.0


def tidy(store: JobStore, limits: Limits) -> list[Job]:
    """Deletes jobs beyond the limits, files included, and gives what was deleted; and drafts. Touches the app's own folders only.

    What somebody has marked as a favourite goes last, and has no age.
    """
    recycle_bin.empty(store)
    _forget_unreadable(store, _before(limits.days))
    tidy_drafts(store.folder / DRAFTS, limits)
    for folder in filter(is_owned, (store.folder / UPLOADS).glob("*")):
        tidy_uploads(folder, _before(limits.upload_days))
    store.reserve.fill()
    ended = store.jobs(ANY_VISITOR, State.DONE, State.FAILED, State.CANCELLED)
    ended.sort(key=lambda job: (job.is_favourite, job.ended or job.created))
    sizes = {job.id: size_of(store.folder_of(job)) for job in ended}
    total, count, oldest = sum(sizes.values()), len(ended), _before(limits.days)
    going = []
    for job in ended:
        if total <= limits.num_bytes and count <= limits.num_jobs and (job.is_favourite or (job.ended or job.created) >= oldest):
            break
        going.append(job)
        total, count = total - sizes[job.id], count - 1
    paused_since = _before(limits.paused_days)
    going += [job for job in store.jobs(ANY_VISITOR, State.PAUSED) if max(job.created, job.started or 0) < paused_since]
    for job in going:
        with suppress(ValueError):  # deleted by its visitor meanwhile
            store.delete(job.id)
    return going


def tidy_drafts(folder: Path, limits: Limits) -> None:
    """Deletes drafts that nobody has looked at for long, and the oldest of them where they are too large together."""
    drafts = sorted(filter(is_owned, folder.glob("*")), key=_written_at)
    sizes = {path: size_of(path) for path in drafts}
    total, oldest = sum(sizes.values()), _before(limits.draft_days)
    for path in drafts:
        if total <= limits.draft_bytes and _written_at(path) >= oldest:
            break
        drop(path)
        total -= sizes[path]


def tidy_uploads(folder: Path, before: float) -> None:
    """Deletes the files below a folder that came before a moment, and the folders that are empty then."""
    for path in sorted(folder.rglob("*"), reverse=True):  # what is inside a folder comes before it
        with suppress(OSError):  # gone meanwhile, or not empty
            about = path.lstat()
            if max(about.st_mtime, about.st_ctime) >= before:  # a copy keeps the time of what it is a copy of
                continue
            path.rmdir() if path.is_dir() and not path.is_symlink() else path.unlink()


def _forget_unreadable(store: JobStore, before: float) -> None:
    """Rows and folders of the app's that cannot be read, once they are old."""
    known, before = store.known(), min(before, time.time() - LEAST_AGE)
    for job_id in store.unreadable():
        if _written_at(store.files / job_id) < before:
            logger.warning("the row of job %s could not be read and goes", job_id)
            with suppress(ValueError):
                store.delete(job_id)
    for folder in store.files.iterdir():
        if folder.name not in known and is_owned(folder) and _written_at(folder) < before:
            drop(folder)


def _written_at(path: Path) -> float:
    """When it was last written to, seconds of `time.time`; 0 where it is gone."""
    try:
        return path.stat().st_mtime
    except OSError:
        return 0.0


def _before(days: float) -> float:
    return time.time() - 86400 * days


def size_of(folder: Path) -> int:
    """Bytes of the files in a folder and below it; 0 where it is gone."""
    try:
        return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())
    except OSError:
        return 0
