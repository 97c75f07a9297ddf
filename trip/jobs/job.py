"""A job: what the table and a finished job's folder say of it, and how both are read though anything may stand there."""

import json
import logging
import sqlite3
from dataclasses import dataclass, field, replace
from enum import StrEnum
from functools import cache
from pathlib import Path
from typing import Annotated, Any

from pydantic import ConfigDict, Field, TypeAdapter

from trip.jobs.visitor import Visitor, id_of_secret

logger = logging.getLogger(__name__)


class State(StrEnum):
    """Where a job stands."""

    QUEUED = "queued"
    PAUSED = "paused"
    RUNNING = "running"
    DONE = "done"
    FAILED = "failed"
    CANCELLED = "cancelled"

    @property
    def is_final(self) -> bool:
        """Whether nothing more will happen by itself."""
        return self in (State.DONE, State.FAILED, State.CANCELLED)


@dataclass(frozen=True)
class Job:
    """One row of the table.

    visitor                  id of whose it is; nobody else sees it
    address                  stands for where it was asked from
    kind                     what is made: a key of the worker's handlers
    settings                 what was asked, as the handler takes it
    place                    jobs of a visitor are taken in this order
    created, started, ended  seconds of `time.time`
    fraction, words          how far it is, 0 to 1, and that in words
    error                    why it failed, one line
    result                   what the handler gave: file names in the job's folder, seed, figures
    """

    __pydantic_config__ = ConfigDict(allow_inf_nan=False)

    id: Annotated[str, Field(pattern=r"^[\w-]+$")]  # the name of its folder
    visitor: str
    kind: str
    settings: dict[str, Any]
    state: State
    place: float
    created: float
    started: float | None = None
    ended: float | None = None
    attempts: Annotated[int, Field(ge=0, lt=2**31)] = 0
    fraction: float = 0.0
    words: str = ""
    error: str = ""
    result: dict[str, Any] = field(default_factory=dict)
    address: str = ""

    @property
    def is_favourite(self) -> bool:
        """Whether its visitor has marked what it gave."""
        return self.result.get("favourite") is True

    @property
    def requester(self) -> Visitor:
        """Who asked for it, for a job that follows from it."""
        return Visitor(self.visitor, self.address)


_JOB = TypeAdapter(Job)


def job_from_row(row: sqlite3.Row) -> Job | None:
    """The job of a row; none where the row cannot be read, which is logged once."""
    values = dict(row)
    try:
        values |= {name: json.loads(values[name]) for name in ("settings", "result")}
        return _JOB.validate_python(values)
    except (ValueError, TypeError, RecursionError) as error:
        _log_once(str(values["id"])[:60], " ".join(str(error).split())[:200])
        return None


@cache
def _log_once(job_id: str, reason: str) -> None:
    logger.error("the row of job %r cannot be read and is passed by: %s", job_id, reason)


def read_job_file(folder: Path) -> Job | None:
    """The finished job that the `job.json` of a folder tells of, where there is one that can be read.

    One of an earlier form, without an address, has the visitor's secret word in place of the id, which is given instead.
    """
    try:
        text = (folder / "job.json").read_bytes()
        job = _JOB.validate_json(text)
        if "address" not in json.loads(text):
            job = replace(job, visitor=id_of_secret(job.visitor))
    except (OSError, ValueError):
        return None
    return job if job.state == State.DONE and job.id == folder.name else None
