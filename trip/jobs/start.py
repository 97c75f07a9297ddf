"""What is done with an output folder before its jobs are served: is it ours, and what did the last app leave in it."""

import json
import logging
import sqlite3
import time
from collections.abc import Container
from contextlib import suppress
from pathlib import Path

from trip.jobs.folders import TOLD, drop, is_left_over, make_own, strangers
from trip.jobs.job import Job, written_down
from trip.jobs.table import insert
from trip.system.files import write_whole

logger = logging.getLogger(__name__)

MOST_ATTEMPTS = 3  # that an app may die over one job
_GIVE_UP = "UPDATE jobs SET state = 'failed', words = 'Failed', ended = ?, error = ? WHERE state = 'running' AND attempts >= ?"
_QUEUE_AGAIN = (
    "UPDATE jobs SET state = 'queued', started = NULL, fraction = 0, words = 'Taken up again after a restart' WHERE state = 'running'"
)


def refuse_strangers(files: Path, known: Container[str]) -> None:
    """ValueError, in one line, where the folder of all jobs holds what this app did not make.

    known  names of what the table tells of
    """
    if others := strangers(files, known):
        more = f" and {len(others) - 1} more" if others[1:] else ""
        raise ValueError(
            f"{files}: wanted a folder for jobs alone, found {others[0]!r}{more}, which this app did not make; "
            "choose another --output-dir or move it away"
        )


def forget_words(files: Path) -> None:
    """Takes visitors' secret words, which an earlier form wrote down, out of the folders of finished jobs."""
    for path in files.glob("*/job.json"):
        if (job := written_down(path.parent)) and '"address"' not in path.read_text():
            write_whole(path, json.dumps(vars(job)))


def take_up(table: sqlite3.Connection, files: Path) -> int:
    """What was running when the last app died waits again, in its old place; what killed it too often has failed; what it had no time to
    write down or to delete is written down or deleted. How many finished jobs the table did not know.
    """
    error = f"the app stopped {MOST_ATTEMPTS} times while it made this; ask for less, such as fewer frames"
    table.execute(_GIVE_UP, (time.time(), error, MOST_ATTEMPTS))
    table.execute(_QUEUE_AGAIN)
    known, count = {row["id"] for row in table.execute("SELECT id FROM jobs")}, 0
    for folder in filter(Path.is_dir, files.iterdir()):
        if folder.name in known:
            with suppress(OSError):  # of an app from before there were marks
                make_own(folder)
        elif job := written_down(folder):
            count += _took_back(table, job, folder)
        elif (folder / TOLD).exists():
            logger.error("%s: its %s cannot be read, so it stays as it is", folder, TOLD)
        elif is_left_over(folder):  # never in the table: the app died in between
            drop(folder)
    return count


def _took_back(table: sqlite3.Connection, job: Job, folder: Path) -> bool:
    """Whether a finished job could be put into the table again."""
    try:
        insert(table, job)
    except (sqlite3.DataError, sqlite3.IntegrityError, sqlite3.ProgrammingError, OverflowError, UnicodeError) as error:
        logger.error("%s: its %s does not fit the table (%s), so it stays as it is", folder, TOLD, error)
        return False
    return True
