"""The jobs of one output folder: a SQLite table, and a folder for each job's photo, preview, log and results.

OUTPUT                    nobody else on this machine may look into it
OUTPUT/jobs.sqlite        the table, in WAL mode
OUTPUT/lock               held by the app that serves this folder
OUTPUT/reserve            room that is kept for a full disk, see `reserve.py`
OUTPUT/.jobs-own/ID       says that the app made the folder of that name, see `folders.py`
OUTPUT/jobs/ID/           photo.png, map.png, last_photo.png, sound.m4a, preview.jpg, log.txt and results of one job, once it is done
                          job.json; ID cannot be guessed

Nothing is deleted but what a row of the table names or what has the app's own mark. A row or a job.json that cannot
be read is passed by, and goes when it is old.

A job moves queued -> running -> done, failed or cancelled, and from queued to paused and back. What an app left running when it
was killed is queued again at the next start, see `start.py`.
"""

import fcntl
import json
import logging
import secrets
import shutil
import sqlite3
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import replace
from pathlib import Path
from typing import Any, TypeVar

from PIL import Image

from trip.jobs import quotas
from trip.jobs.checkpoint import CHECKPOINT
from trip.jobs.fair_queue import NEXT_JOB, queue_order
from trip.jobs.folders import JOB_FILE, create_owned, drop, is_id
from trip.jobs.job import Job, State, job_from_row
from trip.jobs.recovery import erase_secrets, recover, refuse_foreign_files
from trip.jobs.reserve import Reserve, is_full
from trip.jobs.sound import SOUND
from trip.jobs.table import insert, open_table
from trip.jobs.visitor import address_of, id_of_secret
from trip.system.files import LEAST_FREE_BYTES, atomic_write_text, check_room

logger = logging.getLogger(__name__)
Result = TypeVar("Result")

LAST_PHOTO = "last_photo.png"  # file of a job whose clip arrives at it
KEPT_FILES = {"photo.png", "map.png", LAST_PHOTO, SOUND, "log.txt", "clips", "run", CHECKPOINT}  # what a job's next attempt begins with
SERVED = {".mp4", ".gif", ".webp", ".png", ".zip", ".safetensors"}  # kinds of files of a job that its visitor may fetch, and no others
_TAKE = "UPDATE jobs SET state = 'running', started = ?, attempts = attempts + 1, fraction = 0, words = 'Starting' WHERE id = ?"


class AnyVisitor:
    """Stands for all visitors. A class of its own, so that nothing that a browser sends can mean it."""


ANY_VISITOR = AnyVisitor()
VisitorFilter = str | AnyVisitor


class JobStore:
    """The jobs of an output folder, for all threads of one app.

    Raises ValueError, in one line, where another app serves the folder, it cannot be written, or its `jobs` holds other things.
    """

    def __init__(self, folder: Path):
        self.folder = Path(folder)
        self.notices: list[str] = []  # what people should know about the start
        self.reserve = Reserve(self.folder / "reserve")
        self._writing = threading.Lock()
        self._path = self.folder / "jobs.sqlite"
        try:
            if self.files.is_dir() and not self._path.exists():
                refuse_foreign_files(self.files, known=())
            (self.folder / "jobs").mkdir(parents=True, exist_ok=True)
            with suppress(PermissionError):  # somebody else's, who lets this app write into it
                self.folder.chmod(0o700)
            self._lock_file = (self.folder / "lock").open("w")
        except OSError as error:
            raise ValueError(
                f"{self.folder}: wanted a folder that can be written ({error.strerror}); choose another --output-dir"
            ) from error
        try:
            fcntl.flock(self._lock_file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            self._lock_file.close()
            raise ValueError(f"{self.folder}: another app serves this folder; stop it or choose another --output-dir") from error
        try:
            self._open()
        except ValueError:
            self._lock_file.close()
            raise
        self.reserve.fill()

    def _open(self) -> None:
        for has_room in (False, True):
            try:
                self._connection, damage = open_table(self._path)
                self.notices += [damage] if damage else []
                try:
                    refuse_foreign_files(self.files, self.known())
                    erase_secrets(self.files)
                    with self.changing() as table:
                        count = recover(table, self.files)
                except (ValueError, sqlite3.Error):
                    self._connection.close()
                    raise
                return self._note_loss(count)
            except sqlite3.OperationalError as error:  # locked, full, not permitted: no reason to put a sound table aside
                if has_room:
                    raise ValueError(f"{self._path}: cannot be opened ({error}); free it or choose another --output-dir") from error
                self.reserve.release()

    def _note_loss(self, count: int) -> None:
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
        last_photo: Image.Image | None = None,
        sound: Path | None = None,
        clips: Path | None = None,
    ) -> Job:
        """Takes in a job; ValueError, in one line, where too many wait or the disk is full.

        map         a control map, of jobs that draw over one
        last_photo  where a clip arrives
        sound       what a clip is heard with, copied
        clips       folder that is copied, of jobs that learn
        """
        needed = sum(path.stat().st_size for path in clips.rglob("*") if path.is_file()) if clips else 0
        check_room(self.folder, needed, LEAST_FREE_BYTES)
        now = time.time()
        job = Job(secrets.token_urlsafe(12), str(visitor), kind, settings, State.QUEUED, place=now, created=now, words="Waiting")
        job = replace(job, address=address_of(visitor))
        folder = self.folder_of(job)
        try:
            create_owned(folder)
            for name, picture in (("photo.png", photo), ("map.png", map), (LAST_PHOTO, last_photo)):
                if picture is not None:
                    picture.save(folder / name, compress_level=1)
            if sound is not None:
                shutil.copyfile(sound, folder / SOUND)
            if clips is not None:
                shutil.copytree(clips, folder / "clips")
            with self.changing() as table:
                quotas.check_may_submit(table, job)
                insert(table, job)
        except (OSError, sqlite3.Error) as error:
            drop(folder)
            reason = getattr(error, "strerror", None) or error
            raise ValueError(f"the job could not be stored ({reason}); free some space and try again") from error
        except ValueError:
            drop(folder)
            raise
        return job

    def get(self, job_id: str, visitor: VisitorFilter = ANY_VISITOR) -> Job:
        """A job; ValueError where there is none of that id, or it is another visitor's."""
        if (job := job_from_row(self._row(job_id, visitor))) is None:
            raise ValueError("what is known of this job cannot be read; delete it and ask again")
        return job

    def _row(self, job_id: str, visitor: VisitorFilter) -> sqlite3.Row:
        row = self._connection.execute("SELECT * FROM jobs WHERE id = ?", (str(job_id),)).fetchone()
        if row is None or visitor not in (ANY_VISITOR, row["visitor"]):
            raise ValueError("there is no such job of yours; it may have been deleted")
        return row

    def jobs(self, visitor: VisitorFilter = ANY_VISITOR, *states: State, text: str = "") -> list[Job]:
        """Jobs in the order of their making, newest first; those that wait in the order in which they will be taken, before the others.

        text  part of the prompt, upper and lower case alike
        """
        where, values = ["1"], []
        if visitor is not ANY_VISITOR:
            where, values = [*where, "visitor = ?"], [*values, visitor]
        if states:
            where, values = [*where, f"state IN ({', '.join('?' * len(states))})"], [*values, *states]
        query = f"SELECT * FROM jobs WHERE {' AND '.join(where)} ORDER BY created DESC"
        found = [job_from_row(row) for row in self._connection.execute(query, values)]
        found = [job for job in found if job and text.casefold() in str(job.settings.get("prompt", "")).casefold()]
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
        line = queue_order(self._connection)
        return len(self.jobs(ANY_VISITOR, State.RUNNING)) + (line.index(job.id) if job.id in line else 0)

    def cancel(self, job_id: str, visitor: VisitorFilter = ANY_VISITOR) -> Job:
        """Ends a job: one that waits at once, a running one within a step."""
        job = self.get(job_id, visitor)
        self._end(job.id)
        return self.get(job.id)

    def _end(self, job_id: str) -> None:
        for states, words in (((State.QUEUED, State.PAUSED), "Cancelled"), ((State.RUNNING,), "Stopped")):
            self._change(job_id, states, on_reserve=True, state=State.CANCELLED, ended=time.time(), words=words)

    def pause(self, job_id: str, visitor: VisitorFilter = ANY_VISITOR) -> Job:
        """Holds a waiting job back until `resume`; ValueError where too many of its address are held back."""
        job = self.get(job_id, visitor)
        quotas.check_may_pause(self._connection, job)
        self._change(job.id, (State.QUEUED,), state=State.PAUSED, words="Paused")
        return self.get(job.id)

    def suspend(self, job_id: str, visitor: VisitorFilter = ANY_VISITOR) -> Job:
        """Pauses a job that is being made and can go on later from what lies in its folder."""
        job = self.get(job_id, visitor)
        self._change(job.id, (State.QUEUED, State.RUNNING), state=State.PAUSED, words="Paused", attempts=0)
        return self.get(job.id)

    def preempt(self, job_id: str) -> bool:
        """Lets a job that is being made wait for its next turn, to go on from what lies in its folder; whether it was still wanted."""
        return self._change(job_id, (State.RUNNING,), state=State.QUEUED, words="Gave way, and goes on at its next turn", attempts=0)

    def others_wait(self, job: Job) -> bool:
        """Whether somebody else's job waits."""
        query = "SELECT 1 FROM jobs WHERE state = 'queued' AND visitor != ?"
        return self._connection.execute(query, (job.visitor,)).fetchone() is not None

    def transfer(self, word: str, visitor: str) -> None:
        """Gives a visitor the jobs that were asked for under a secret word, as an earlier form of the table had it."""
        with self.changing() as table:
            table.execute("UPDATE jobs SET visitor = ? WHERE visitor = ? AND address = ''", (str(visitor), id_of_secret(word)))

    def is_served(self, path: Path, visitor: str) -> bool:
        """Whether a visitor may fetch a file: a result, of a kind in SERVED, of a job of theirs."""
        if not path.is_relative_to(self.files.resolve()) or path.suffix not in SERVED:
            return False
        try:
            self.get(path.relative_to(self.files.resolve()).parts[0], str(visitor))
        except ValueError:
            return False
        return True

    def resume(self, job_id: str, visitor: VisitorFilter = ANY_VISITOR) -> Job:
        """Lets a paused job wait for its turn again."""
        job = self.get(job_id, visitor)
        self._change(job.id, (State.PAUSED,), state=State.QUEUED, words="Waiting")
        return self.get(job.id)

    def put_first(self, job_id: str, visitor: VisitorFilter = ANY_VISITOR) -> Job:
        """Lets a job be taken before the visitor's others."""
        job = self.get(job_id, visitor)
        first = self._connection.execute("SELECT MIN(place) FROM jobs WHERE visitor = ?", (job.visitor,)).fetchone()[0]
        self._change(job.id, (State.QUEUED, State.PAUSED), place=first - 1)
        return self.get(job.id)

    def delete(self, job_id: str, visitor: VisitorFilter = ANY_VISITOR) -> None:
        """Forgets a job and drops its files; a running one is stopped first. Works on a full disk, and with a row that cannot be read."""
        job_id = self._row(job_id, visitor)["id"]
        self._end(job_id)
        folder = self.files / job_id if is_id(job_id) else None
        if folder:
            (folder / JOB_FILE).unlink(missing_ok=True)  # first, so that a kill in between brings nothing back
        try:
            self._with_reserve(lambda: self._forget(job_id))
        except sqlite3.OperationalError:
            if not folder:
                raise
            drop(folder)  # which makes room
            self._forget(job_id)
        if folder:
            drop(folder)
        self.reserve.fill()

    def favour(self, job_id: str, visitor: VisitorFilter, is_favourite: bool) -> None:
        """Marks what a job has given, or takes the mark away: the janitor spares what is marked as long as it can."""
        job = self.get(job_id, visitor)
        job = replace(job, result=job.result | {"favourite": is_favourite})
        if self._change(job.id, (State.DONE,), result=json.dumps(job.result)):
            self.write_down(job)

    def _forget(self, job_id: str) -> None:
        with self.changing() as table:
            table.execute("DELETE FROM jobs WHERE id = ?", (job_id,))

    def unreadable(self) -> list[str]:
        """Ids of rows that cannot be read."""
        return [row["id"] for row in self._connection.execute("SELECT * FROM jobs") if job_from_row(row) is None]

    def known(self) -> set[str]:
        """Ids of all rows."""
        return {row["id"] for row in self._connection.execute("SELECT id FROM jobs")}

    # what the worker does

    def take(self) -> Job | None:
        """The next job, now running, without what an earlier attempt left; none where nothing waits. Visitors take turns."""
        job = None
        with self.changing() as table:
            while job is None:
                if (row := table.execute(NEXT_JOB).fetchone()) is None:
                    return None
                table.execute(_TAKE, (time.time(), row["id"]))
                job = job_from_row(table.execute("SELECT * FROM jobs WHERE id = ?", (row["id"],)).fetchone())
                if job is None:
                    table.execute("UPDATE jobs SET state = 'failed', ended = ? WHERE id = ?", (time.time(), row["id"]))
        for path in self.folder_of(job).glob("*"):
            if path.name not in KEPT_FILES:
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
        path = self.write_down(job)
        done = self._change(job_id, (State.RUNNING,), on_reserve=True, result=json.dumps(result), **values)
        if not done:
            path.unlink(missing_ok=True)
        return done

    def write_down(self, job: Job) -> Path:
        """Writes what is known of a finished job beside its results, so that a damaged table loses none."""
        path = self.folder_of(job) / JOB_FILE
        self._with_reserve(lambda: atomic_write_text(path, json.dumps(vars(job))))
        return path

    def fail(self, job_id: str, error: str) -> None:
        """Writes down why a running job could not be made."""
        self._change(job_id, (State.RUNNING,), on_reserve=True, state=State.FAILED, ended=time.time(), words="Failed", error=error)

    def requeue(self, job_id: str) -> None:
        """Lets a running job wait again, as if it had not been taken: the app is being stopped."""
        waiting = {"state": State.QUEUED, "started": None, "fraction": 0.0, "words": "Waiting", "attempts": 0}
        self._change(job_id, (State.RUNNING,), on_reserve=True, **waiting)

    def sweep(self, job: Job) -> None:
        """Drops what a handler has still written while its job was being deleted."""
        if self._connection.execute("SELECT 1 FROM jobs WHERE id = ?", (job.id,)).fetchone() is None:
            drop(self.folder_of(job))

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
    def changing(self) -> Iterator[sqlite3.Connection]:
        """One transaction on the table; one thread at a time."""
        with self._writing:
            self._connection.execute("BEGIN IMMEDIATE")
            try:
                yield self._connection
                self._connection.execute("COMMIT")
            except BaseException:
                if self._connection.in_transaction:  # on a full disk SQLite may have rolled back by itself
                    self._connection.execute("ROLLBACK")
                raise

    def _change(self, job_id: str, states: tuple[State, ...], *, on_reserve: bool = False, **values: Any) -> bool:
        """Sets columns of a job that is in one of the states; whether it was. `on_reserve`: also on a full disk."""
        columns = ", ".join(f"{name} = ?" for name in values)
        marks = ", ".join("?" * len(states))

        def change() -> bool:
            with self.changing() as table:
                query = f"UPDATE jobs SET {columns} WHERE id = ? AND state IN ({marks})"
                return table.execute(query, (*values.values(), job_id, *states)).rowcount == 1

        return self._with_reserve(change) if on_reserve else change()

    def _with_reserve(self, act: Callable[[], Result]) -> Result:
        """What `act` gives; where the disk is full, with the room that is kept for that."""
        try:
            return act()
        except (OSError, sqlite3.OperationalError) as error:
            if not is_full(error):
                raise
        self.reserve.release()
        return act()
