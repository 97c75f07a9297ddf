"""The one worker: it holds the accelerator, takes job after job from the store, and writes down what happens."""

import logging
import sqlite3
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from trip.jobs.reserve import is_full
from trip.jobs.store import ANYBODY, Job, JobStore, State
from trip.system.files import replacing

logger = logging.getLogger(__name__)

TIDY_SECONDS = 600  # between two rounds of the janitor where nothing is asked for
IDLE_SECONDS = 0.5  # between two looks at the store where nobody wakes the worker
LONGEST_SECONDS = 900.0  # of a stretch of work that cannot be set aside, while others wait
STRIP_FRAMES, STRIP_HEIGHT = 8, 96  # of a preview: frames side by side, pixels


class Cancelled(Exception):
    """The job is not wanted any more."""


class TooLong(Exception):
    """The job has held the worker for too long; in one line, what to ask for instead."""


class Desk:
    """What a maker works with: the job, its folder, and how it tells where it stands."""

    def __init__(self, store: JobStore, job: Job):
        self.store, self.job = store, job
        self.folder = store.folder_of(job)

    def report(self, fraction: float, words: str, preview: np.ndarray | None = None) -> None:
        """Writes down how far the job is, and frames as they look by now (f h w 3, uint8). Raises Cancelled where it is not wanted."""
        if not self.store.report(self.job.id, fraction, words):
            raise Cancelled
        if preview is not None:
            with replacing(self.folder / "preview.jpg") as partial:
                partial.write_bytes(strip(preview))

    def hold_to(self, begun: float, less: str) -> None:
        """Bounds work that cannot be set aside half-way: TooLong where it has gone on for LONGEST_SECONDS and somebody else waits.

        begun  when it began, seconds of `time.monotonic`
        less   what to ask for instead
        """
        if time.monotonic() - begun > LONGEST_SECONDS and self.store.others_wait(self.job):
            raise TooLong(f"this took more than {LONGEST_SECONDS / 60:.0f} minutes while others wait; ask for {less}")

    @property
    def is_wanted(self) -> bool:
        """Whether to go on; for makers that work in another process or between reports."""
        return self.store.is_wanted(self.job.id)


Maker = Callable[[Desk], dict[str, Any]]  # makes a job and gives its result; ValueError is for people


def strip(frames: np.ndarray) -> bytes:
    """Frames spread evenly over a clip, side by side, as a JPEG: f h w 3, uint8."""
    chosen = np.linspace(0, len(frames) - 1, min(STRIP_FRAMES, len(frames))).round().astype(int)
    picture = np.concatenate(frames[chosen], axis=1)
    width = round(picture.shape[1] * STRIP_HEIGHT / picture.shape[0])
    picture = cv2.resize(picture, (width, STRIP_HEIGHT), interpolation=cv2.INTER_CUBIC)
    return cv2.imencode(".jpg", cv2.cvtColor(picture, cv2.COLOR_RGB2BGR), [cv2.IMWRITE_JPEG_QUALITY, 82])[1].tobytes()


class Worker:
    """Makes the store's jobs one at a time, in a thread of its own or in the caller's.

    makers  kind of job -> what makes it
    before  called before each job, such as a janitor's rounds
    """

    def __init__(self, store: JobStore, makers: dict[str, Maker], before: Callable[[], None] = lambda: None):
        self.store, self.makers, self.before = store, makers, before
        self.lease = threading.Lock()  # of the accelerator; whoever computes holds it
        self._awake, self._stopping = threading.Event(), threading.Event()
        self._thread: threading.Thread | None = None
        self._tidied, self._said = -TIDY_SECONDS, ""

    def start(self) -> None:
        """Works in the background until `stop`."""
        self._thread = threading.Thread(target=self._work, name="worker", daemon=True)
        self._thread.start()

    def stop(self, seconds: float = 10) -> None:
        """Ends within a step; the job that was being made waits again."""
        self._stopping.set()
        self._awake.set()
        end = time.monotonic() + seconds
        while True:  # until it has ended: it may be about to take a job just now
            for job in self.store.jobs(ANYBODY, State.RUNNING):
                self.store.hand_back(job.id)
            if self._thread is None or not self._thread.is_alive() or time.monotonic() > end:
                return
            self._thread.join(0.05)

    def wake(self) -> None:
        """There may be something to do."""
        self._awake.set()

    def work_until(self, job_id: str) -> None:
        """Makes jobs in the caller's thread until this one has ended: where a GPU is lent to the call alone."""
        while self.store.get(job_id).state in (State.QUEUED, State.RUNNING) and not self._stopping.is_set():
            if not self._make_next():
                time.sleep(IDLE_SECONDS)

    def _work(self) -> None:
        while not self._stopping.is_set():
            try:
                made = self._make_next()
            except (OSError, sqlite3.Error) as error:  # a disk full for a while must not end the worker
                self._say_once(f"the worker waits: {error}")
                made = False
            except Exception:  # noqa: BLE001  nor anything else
                logger.exception("the worker goes on")
                made = False
            if not made:
                self._tidy_at_times()
                self._awake.wait(IDLE_SECONDS)
                self._awake.clear()

    def _say_once(self, line: str) -> None:
        if line != self._said:
            logger.error(line)
        self._said = line

    def _tidy_at_times(self) -> None:
        """What is done before each job, also where none comes."""
        if time.monotonic() - self._tidied > TIDY_SECONDS:
            self._prepare()

    def _make_next(self) -> bool:
        """Makes the next job, if there is one and the accelerator is free."""
        if not self.lease.acquire(timeout=IDLE_SECONDS):
            return False
        try:
            for left in self.store.jobs(ANYBODY, State.RUNNING):  # not even its failure could be written down
                self.store.fail(left.id, "this was broken off; ask for it again")
            if (job := self.store.take()) is None:
                return False
            self._prepare()
            self._make(job)
            self.store.sweep(job)
            return True
        finally:
            self.lease.release()

    def _prepare(self) -> None:
        self._tidied = time.monotonic()
        try:
            self.before()
        except Exception:  # noqa: BLE001  a janitor who stumbles is no reason to fail somebody's job
            logger.exception("before a job")

    def _make(self, job: Job) -> None:
        desk = Desk(self.store, job)
        begun = time.monotonic()
        try:
            done = self.store.finish(job.id, self.makers[job.kind](desk))
            _log(desk.folder, f"{'done in' if done else 'not wanted any more after'} {time.monotonic() - begun:.1f} s")
        except Cancelled:
            _log(desk.folder, f"stopped after {time.monotonic() - begun:.1f} s")
            self.store.fail(job.id, "this was stopped; ask for it again")  # where nobody has cancelled it
        except (ValueError, TooLong) as error:
            _log(desk.folder, str(error))
            self.store.fail(job.id, _reason(error))
        except BaseException as error:  # noqa: BLE001  one broken job must not end the worker, nor a panic in Rust; the log has the rest
            if self.store.is_wanted(job.id) and not is_full(error):  # else it broke since its folder was deleted
                logger.exception("job %s", job.id)
            _log(desk.folder, repr(error))
            self.store.fail(job.id, _reason(error))


def _reason(error: BaseException) -> str:
    """Why a job could not be made, for people."""
    if isinstance(error, ValueError | TooLong) and not is_full(error.__cause__):
        return str(error)
    full = is_full(error) or is_full(error.__cause__)
    said = "the disk is full; delete some results and ask again" if full else " ".join(str(error).split())[:200]
    return f"this went wrong: {type(error).__name__}: {said}"


def _log(folder: Path, line: str) -> None:
    """Adds a line to the job's log; a folder that was deleted meanwhile has none."""
    try:
        with (folder / "log.txt").open("a") as log:
            log.write(f"{time.strftime('%Y-%m-%d %H:%M:%S')} {line}\n")
    except OSError:
        logger.info("%s: %s", folder.name, line)
