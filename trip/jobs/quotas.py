"""How many jobs may wait: of a visitor, of an address, and in all. Who has none may always ask for one, as long as there is room at all."""

import sqlite3

from trip.jobs.job import Job

MOST_QUEUED = 100  # jobs that wait for their turn, in all; who has none may always ask for one, up to MOST_STORED
MOST_QUEUED_EACH = 20  # of one visitor, paused ones too
MOST_QUEUED_ADDRESS = 60  # of all visitors of one address, so that new names do not help
MOST_STORED = 400  # jobs that have not ended, paused ones too
MOST_PAUSED_ADDRESS = 200


def check_may_submit(table: sqlite3.Connection, job: Job) -> None:
    """ValueError, in one line, where too many wait for one more to be taken in."""

    def count(where: str, *values: str) -> int:
        return table.execute(f"SELECT COUNT(*) FROM jobs WHERE {where}", values).fetchone()[0]

    waiting = "state IN ('queued', 'running')"
    unfinished = "state IN ('queued', 'running', 'paused')"
    if count(f"{unfinished} AND visitor = ?", job.visitor) >= MOST_QUEUED_EACH:
        raise ValueError(f"you have {MOST_QUEUED_EACH} jobs waiting already; let some end or remove some")
    if count(unfinished) >= MOST_STORED:
        raise ValueError(f"{MOST_STORED} jobs are waiting already; try again in a while")
    if not count(f"{waiting} AND visitor = ?", job.visitor):
        return  # those who fill the queue keep nobody from a first job
    if count(f"{waiting} AND address = ?", job.address) >= MOST_QUEUED_ADDRESS and job.address:
        raise ValueError(f"{MOST_QUEUED_ADDRESS} jobs of your address are waiting already; try again in a while")
    if count(waiting) >= MOST_QUEUED:
        raise ValueError(f"{MOST_QUEUED} jobs are waiting already; try again in a while")


def check_may_pause(table: sqlite3.Connection, job: Job) -> None:
    """ValueError, in one line, where too many of a job's address are held back for one more."""
    query = "SELECT COUNT(*) FROM jobs WHERE state = 'paused' AND address = ? AND address != ''"
    if table.execute(query, (job.address,)).fetchone()[0] >= MOST_PAUSED_ADDRESS:
        raise ValueError(f"{MOST_PAUSED_ADDRESS} jobs of your address are paused already; remove some")
