"""The jobs of one output folder: a SQLite table, and a folder for each job's photo, preview, log and results.

OUTPUT                    nobody else on this machine may look into it
OUTPUT/jobs.sqlite        the table, in WAL mode
OUTPUT/lock               held by the app that serves this folder
OUTPUT/jobs/ID/           photo.png, map.png, preview.jpg, log.txt and results of one job, once it is done job.json; ID cannot be guessed

A job moves queued -> running -> done, failed or cancelled, and from queued to paused and back. What an app left running when it
was killed is queued again at the next start, at most MOST_ATTEMPTS times.
"""

import fcntl
import json
import logging
import secrets
import shutil
import sqlite3
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, fields, replace
from enum import StrEnum
from pathlib import Path
from typing import Any

from PIL import Image

from trip.files import replacing
from trip.jobs.table import open_table
from trip.jobs.turns import NEXT, in_line
from trip.jobs.visitor import Visitor, address_of, id_of_word

logger = logging.getLogger(__name__)

MOST_ATTEMPTS = 3  # that an app may die over one job
MOST_QUEUED = 100  # jobs that wait for their turn, in all; who has none may always ask for one, up to MOST_STORED
MOST_QUEUED_EACH = 20  # of one visitor, paused ones too
MOST_QUEUED_ADDRESS = 60  # of all visitors of one address, so that new names do not help
MOST_STORED = 400  # jobs that have not ended, paused ones too
MOST_PAUSED_ADDRESS = 200
LEAST_FREE_BYTES = 200 * 2**20  # on the disk, before a job is taken in
LASTING = {"photo.png", "map.png", "log.txt", "clips", "run"}  # what of a job its next attempt begins with
SERVED = {".mp4", ".gif", ".webp", ".png", ".zip", ".safetensors"}  # kinds of files of a job that its visitor may fetch, and no others


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
    kind                     what is made: a key of the worker's makers
    settings                 what was asked, as the maker takes it
    place                    jobs of a visitor are taken in this order
    created, started, ended  seconds of `time.time`
    fraction, words          how far it is, 0 to 1, and that in words
    error                    why it failed, one line
    result                   what the maker gave: file names in the job's folder, seed, figures
    """

    id: str
    visitor: str
    kind: str
    settings: dict[str, Any]
    state: State
    place: float
    created: float
    started: float | None = None
    ended: float | None = None
    attempts: int = 0
    fraction: float = 0.0
    words: str = ""
    error: str = ""
    result: dict[str, Any] = field(default_factory=dict)
    address: str = ""

    @property
    def asker(self) -> Visitor:
        """Who asked for it, for a job that follows from it."""
        return Visitor(self.visitor, self.address)


class Anybody:
    """Stands for all visitors. A class of its own, so that nothing that a browser sends can mean it."""


ANYBODY = Anybody()
Whose = str | Anybody


class JobStore:
    """The jobs of an output folder, for all threads of one app.

    Raises ValueError, in one line, where another app serves the folder or it cannot be written.
    """

    def __init__(self, folder: Path):
        self.folder = Path(folder)
        self.notices: list[str] = []  # what people should know about the start
        self._writing = threading.Lock()
        try:
            (self.folder / "jobs").mkdir(parents=True, exist_ok=True)
            self.folder.chmod(0o700)
            self._lock_file = (self.folder / "lock").open("w")
        except OSError as error:
            raise ValueError(
                f"{self.folder}: wanted a folder that can be written ({error.strerror}); choose another --output-dir"
            ) from error
        try:
            fcntl.flock(self._lock_file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            raise ValueError(f"{self.folder}: another app serves this folder; stop it or choose another --output-dir") from error
        self._path = self.folder / "jobs.sqlite"
        try:
            self._connection, damage = open_table(self._path)
            self.notices += [damage] if damage else []
            self._forget_words()
            self._take_up()
        except sqlite3.OperationalError as error:  # locked, full, not permitted: no reason to put a sound table aside
            self._lock_file.close()
            raise ValueError(f"{self._path}: cannot be opened ({error}); free it or choose another --output-dir") from error

    # at the start

    def _forget_words(self) -> None:
        """Takes visitors' secret words, which an earlier form wrote down, out of the folders of finished jobs."""
        for path in self.files.glob("*/job.json"):
            if (job := _written_down(path.parent)) and '"address"' not in path.read_text():
                with replacing(path) as partial:
                    partial.write_text(json.dumps(vars(job)))

    def _take_up(self) -> None:
        """What was running when the last app died waits again, in its old place; what killed it too often has failed."""
        with self._changing() as table:
            table.execute(
                "UPDATE jobs SET state = 'failed', words = 'Failed', ended = ?, error = ? WHERE state = 'running' AND attempts >= ?",
                (
                    time.time(),
                    f"the app stopped {MOST_ATTEMPTS} times while it made this; ask for less, such as fewer frames",
                    MOST_ATTEMPTS,
                ),
            )
            table.execute(
                "UPDATE jobs SET state = 'queued', started = NULL, fraction = 0, words = 'Taken up again after a restart' "
                "WHERE state = 'running'"
            )
            known, count = {row["id"] for row in table.execute("SELECT id FROM jobs")}, 0
            for folder in (self.folder / "jobs").iterdir():
                if folder.name in known:
                    continue
                if job := _written_down(folder):
                    self._insert(table, job)
                    count += 1
                else:  # never in the table: the app died in between
                    shutil.rmtree(folder, ignore_errors=True)
        if self.notices or count:
            lost = self.notices.pop() if self.notices else "The list of jobs was lost."
            self.notices.append(f"{lost} {count} finished results were kept; what was waiting must be asked for again.")
            logger.error(self.notices[-1])

    # what visitors do

    def submit(
        self,
        visitor: str,
        kind: str,
        settings: dict[str, Any],
        photo: Image.Image | None = None,
        map: Image.Image | None = None,
        *,
        clips: Path | None = None,
    ) -> Job:
        """Takes in a job; ValueError, in one line, where too many wait or the disk is full.

        map    a control map, of jobs that draw over one
        clips  folder that is copied, of jobs that learn
        """
        if (free := shutil.disk_usage(self.folder).free) < LEAST_FREE_BYTES:
            raise ValueError(f"the disk is almost full ({free >> 20} MB left); delete some results and try again")
        now = time.time()
        job = Job(secrets.token_urlsafe(12), str(visitor), kind, settings, State.QUEUED, place=now, created=now, words="Waiting")
        job = replace(job, address=address_of(visitor))
        folder = self.folder_of(job)
        try:
            folder.mkdir()
            for name, picture in (("photo.png", photo), ("map.png", map)):
                if picture is not None:
                    picture.save(folder / name, compress_level=1)
            if clips is not None:
                shutil.copytree(clips, folder / "clips")
            with self._changing() as table:
                self._check_caps(table, job)
                self._insert(table, job)
        except (OSError, sqlite3.Error) as error:
            shutil.rmtree(folder, ignore_errors=True)
            reason = getattr(error, "strerror", None) or error
            raise ValueError(f"the job could not be stored ({reason}); free some space and try again") from error
        except ValueError:
            shutil.rmtree(folder, ignore_errors=True)
            raise
        return job

    def _check_caps(self, table: sqlite3.Connection, job: Job) -> None:
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

    def get(self, job_id: str, visitor: Whose = ANYBODY) -> Job:
        """A job; ValueError where there is none of that id, or it is another visitor's."""
        row = self._connection.execute("SELECT * FROM jobs WHERE id = ?", (str(job_id),)).fetchone()
        if row is None or visitor not in (ANYBODY, row["visitor"]):
            raise ValueError("there is no such job of yours; it may have been deleted")
        return _job(row)

    def jobs(self, visitor: Whose = ANYBODY, *states: State, text: str = "") -> list[Job]:
        """Jobs in the order of their making, newest first; those that wait in the order in which they will be taken, before the others.

        text  part of the prompt, upper and lower case alike
        """
        where, values = ["1"], []
        if visitor is not ANYBODY:
            where, values = [*where, "visitor = ?"], [*values, visitor]
        if states:
            where, values = [*where, f"state IN ({', '.join('?' * len(states))})"], [*values, *states]
        query = f"SELECT * FROM jobs WHERE {' AND '.join(where)} ORDER BY created DESC"
        found = [_job(row) for row in self._connection.execute(query, values)]
        found = [job for job in found if text.casefold() in str(job.settings.get("prompt", "")).casefold()]
        waiting = sorted((job for job in found if not job.state.is_final), key=lambda job: (job.state != State.RUNNING, job.place))
        return waiting + [job for job in found if job.state.is_final]

    def count(self, visitor: str, state: State) -> int:
        """How many of a visitor's jobs are in a state."""
        query = "SELECT COUNT(*) FROM jobs WHERE visitor = ? AND state = ?"
        return self._connection.execute(query, (visitor, state)).fetchone()[0]

    def jobs_before(self, job: Job) -> int:
        """How many jobs will be begun before this one, as things stand: the running one counts."""
        if job.state != State.QUEUED:
            return 0
        line = in_line(self._connection)
        return len(self.jobs(ANYBODY, State.RUNNING)) + (line.index(job.id) if job.id in line else 0)

    def cancel(self, job_id: str, visitor: Whose = ANYBODY) -> Job:
        """Ends a job: one that waits at once, a running one within a step."""
        job = self.get(job_id, visitor)
        self._change(job.id, (State.QUEUED, State.PAUSED), state=State.CANCELLED, ended=time.time(), words="Cancelled")
        self._change(job.id, (State.RUNNING,), state=State.CANCELLED, ended=time.time(), words="Stopped")
        return self.get(job.id)

    def pause(self, job_id: str, visitor: Whose = ANYBODY) -> Job:
        """Holds a waiting job back until `resume`; ValueError where too many of its address are held back."""
        job = self.get(job_id, visitor)
        query = "SELECT COUNT(*) FROM jobs WHERE state = 'paused' AND address = ? AND address != ''"
        if self._connection.execute(query, (job.address,)).fetchone()[0] >= MOST_PAUSED_ADDRESS:
            raise ValueError(f"{MOST_PAUSED_ADDRESS} jobs of your address are paused already; remove some")
        self._change(job.id, (State.QUEUED,), state=State.PAUSED, words="Paused")
        return self.get(job.id)

    def set_aside(self, job_id: str, visitor: Whose = ANYBODY) -> Job:
        """Pauses a job that is being made and can go on later from what lies in its folder."""
        job = self.get(job_id, visitor)
        self._change(job.id, (State.QUEUED, State.RUNNING), state=State.PAUSED, words="Paused", attempts=0)
        return self.get(job.id)

    def give_way(self, job_id: str) -> bool:
        """Lets a job that is being made wait for its next turn, to go on from what lies in its folder; whether it was still wanted."""
        return self._change(job_id, (State.RUNNING,), state=State.QUEUED, words="Gave way, and goes on at its next turn", attempts=0)

    def others_wait(self, job: Job) -> bool:
        """Whether somebody else's job waits."""
        query = "SELECT 1 FROM jobs WHERE state = 'queued' AND visitor != ?"
        return self._connection.execute(query, (job.visitor,)).fetchone() is not None

    def hand_over(self, word: str, visitor: str) -> None:
        """Gives a visitor the jobs that were asked for under a secret word, as an earlier form of the table had it."""
        with self._changing() as table:
            table.execute("UPDATE jobs SET visitor = ? WHERE visitor = ? AND address = ''", (str(visitor), id_of_word(word)))

    def is_served(self, path: Path, visitor: str) -> bool:
        """Whether a visitor may fetch a file: a result, of a kind in SERVED, of a job of theirs."""
        if not path.is_relative_to(self.files.resolve()) or path.suffix not in SERVED:
            return False
        try:
            self.get(path.relative_to(self.files.resolve()).parts[0], str(visitor))
        except ValueError:
            return False
        return True

    def resume(self, job_id: str, visitor: Whose = ANYBODY) -> Job:
        """Lets a paused job wait for its turn again."""
        job = self.get(job_id, visitor)
        self._change(job.id, (State.PAUSED,), state=State.QUEUED, words="Waiting")
        return self.get(job.id)

    def put_first(self, job_id: str, visitor: Whose = ANYBODY) -> Job:
        """Lets a job be taken before the visitor's others."""
        job = self.get(job_id, visitor)
        first = self._connection.execute("SELECT MIN(place) FROM jobs WHERE visitor = ?", (job.visitor,)).fetchone()[0]
        self._change(job.id, (State.QUEUED, State.PAUSED), place=first - 1)
        return self.get(job.id)

    def delete(self, job_id: str, visitor: Whose = ANYBODY) -> None:
        """Forgets a job and drops its files; a running one is stopped first."""
        job = self.cancel(job_id, visitor)
        (self.folder_of(job) / "job.json").unlink(missing_ok=True)  # first, so that a kill in between brings nothing back
        with self._changing() as table:
            table.execute("DELETE FROM jobs WHERE id = ?", (job.id,))
        shutil.rmtree(self.folder_of(job), ignore_errors=True)

    # what the worker does

    def take(self) -> Job | None:
        """The next job, now running, without what an earlier attempt left; none where nothing waits. Visitors take turns."""
        with self._changing() as table:
            row = table.execute(NEXT).fetchone()
            if row is None:
                return None
            table.execute(
                "UPDATE jobs SET state = 'running', started = ?, attempts = attempts + 1, fraction = 0, words = 'Starting' WHERE id = ?",
                (time.time(), row["id"]),
            )
            job = _job(table.execute("SELECT * FROM jobs WHERE id = ?", (row["id"],)).fetchone())
        for path in self.folder_of(job).glob("*"):
            if path.name not in LASTING:
                path.unlink(missing_ok=True)
        return job

    def report(self, job_id: str, fraction: float, words: str) -> bool:
        """Writes down how far a running job is; whether it is to go on."""
        return self._change(job_id, (State.RUNNING,), fraction=fraction, words=words)

    def is_wanted(self, job_id: str) -> bool:
        """Whether a job that was taken is still to be made."""
        row = self._connection.execute("SELECT state FROM jobs WHERE id = ?", (job_id,)).fetchone()
        return row is not None and row["state"] == State.RUNNING

    def finish(self, job_id: str, result: dict[str, Any]) -> bool:
        """Writes down what a running job has made; whether it was still wanted."""
        if not self.is_wanted(job_id):
            return False
        values = {"state": State.DONE, "fraction": 1.0, "words": "Done", "ended": time.time()}
        job = replace(self.get(job_id), result=result, **values)
        path = self.folder_of(job) / "job.json"
        with replacing(path) as partial:  # so that a damaged table loses no result
            partial.write_text(json.dumps(vars(job)))
        done = self._change(job_id, (State.RUNNING,), result=json.dumps(result), **values)
        if not done:
            path.unlink(missing_ok=True)
        return done

    def fail(self, job_id: str, error: str) -> None:
        """Writes down why a running job could not be made."""
        self._change(job_id, (State.RUNNING,), state=State.FAILED, ended=time.time(), words="Failed", error=error)

    def hand_back(self, job_id: str) -> None:
        """Lets a running job wait again, as if it had not been taken: the app is being stopped."""
        self._change(job_id, (State.RUNNING,), state=State.QUEUED, started=None, fraction=0.0, words="Waiting", attempts=0)

    def sweep(self, job: Job) -> None:
        """Drops what a maker has still written while its job was being deleted."""
        if self._connection.execute("SELECT 1 FROM jobs WHERE id = ?", (job.id,)).fetchone() is None:
            shutil.rmtree(self.folder_of(job), ignore_errors=True)

    @property
    def files(self) -> Path:
        """Where the folders of all jobs lie; the table is not among them."""
        return self.folder / "jobs"

    def folder_of(self, job: Job) -> Path:
        """Where a job's files lie."""
        return self.files / job.id

    def close(self) -> None:
        """Lets another app serve the folder."""
        with self._writing:
            self._connection.close()
            self._lock_file.close()

    @contextmanager
    def _changing(self) -> Iterator[sqlite3.Connection]:
        """One transaction; one thread at a time."""
        with self._writing:
            self._connection.execute("BEGIN IMMEDIATE")
            try:
                yield self._connection
                self._connection.execute("COMMIT")
            except BaseException:
                if self._connection.in_transaction:  # on a full disk SQLite may have rolled back by itself
                    self._connection.execute("ROLLBACK")
                raise

    def _change(self, job_id: str, states: tuple[State, ...], **values: Any) -> bool:
        """Sets columns of a job that is in one of the states; whether it was."""
        columns = ", ".join(f"{name} = ?" for name in values)
        marks = ", ".join("?" * len(states))
        with self._changing() as table:
            done = table.execute(f"UPDATE jobs SET {columns} WHERE id = ? AND state IN ({marks})", (*values.values(), job_id, *states))
        return done.rowcount == 1

    @staticmethod
    def _insert(table: sqlite3.Connection, job: Job) -> None:
        values = vars(job) | {"settings": json.dumps(job.settings), "result": json.dumps(job.result)}
        table.execute(f"INSERT INTO jobs ({', '.join(values)}) VALUES ({', '.join('?' * len(values))})", tuple(values.values()))


def _written_down(folder: Path) -> Job | None:
    """The finished job that a folder tells of, where there is one."""
    try:
        known = json.loads((folder / "job.json").read_text())
        if "address" not in known:  # an earlier form, with the visitor's secret word
            known |= {"address": "", "visitor": id_of_word(known["visitor"])}
        job = Job(**{f.name: known[f.name] for f in fields(Job)})
    except (OSError, ValueError, KeyError, TypeError):
        return None
    return job if job.state == State.DONE and job.id == folder.name else None


def _job(row: sqlite3.Row) -> Job:
    values = dict(row)
    values |= {"settings": json.loads(values["settings"]), "result": json.loads(values["result"]), "state": State(values["state"])}
    return Job(**values)
