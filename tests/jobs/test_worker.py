"""The worker with tiny handlers: what becomes of each job, however its handler ends."""

import io
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from trip.jobs.store import Job, JobStore, State
from trip.jobs.worker import Cancelled, JobContext, Worker, strip

SECONDS = 10  # that anything here may take


def quick(context: JobContext) -> dict:
    """Says half, and is done."""
    context.report(0.5, "half")
    return {"number": context.job.settings.get("number")}


def endless(context: JobContext) -> dict:
    """Steps until it is stopped."""
    for step in range(100 * SECONDS):
        context.report(0.5, f"Step {step}")
        time.sleep(0.01)
    return {}


def refused(context: JobContext) -> dict:
    """Cannot."""
    raise ValueError("the photo of this job is not there any more; choose it again")


class Panic(BaseException):
    """As the Rust part of a package raises it."""


def raiser(error: BaseException) -> Callable[[JobContext], dict]:
    """A handler that raises this."""

    def handler(context: JobContext) -> dict:
        raise error

    return handler


HANDLERS = {"quick": quick, "endless": endless, "refused": refused, "odd": lambda context: {"clip": object()}}


@pytest.fixture
def store(tmp_path: Path) -> Iterator[JobStore]:
    store = JobStore(tmp_path)
    yield store
    store.close()


@pytest.fixture
def worker(store: JobStore) -> Iterator[Worker]:
    worker = Worker(store, dict(HANDLERS))
    yield worker
    worker.stop(SECONDS)


def ask(worker: Worker, kind: str = "quick", visitor: str = "me", **settings) -> Job:
    job = worker.store.submit(visitor, kind, settings)
    worker.wake()
    return job


def reached(store: JobStore, job: Job, *states: State) -> Job:
    """The job, once it is in one of these states."""
    end = time.monotonic() + SECONDS
    while (now := store.get(job.id)).state not in states:
        assert time.monotonic() < end, f"still {now.state}: {now.words} {now.error}"
        time.sleep(0.01)
    return now


def ended(store: JobStore, job: Job) -> Job:
    return reached(store, job, State.DONE, State.FAILED, State.CANCELLED)


def test_jobs_are_made_one_after_the_other(store, worker):
    jobs = [ask(worker, number=number) for number in range(5)]
    worker.start()
    made = [ended(store, job) for job in jobs]
    assert [job.result["number"] for job in made] == [0, 1, 2, 3, 4]
    assert all(before.ended <= after.started for before, after in zip(made, made[1:], strict=False))


def test_a_job_that_comes_later_wakes_the_worker(store, worker):
    worker.start()
    time.sleep(0.05)
    assert ended(store, ask(worker)).state == State.DONE


@pytest.mark.parametrize(
    "error", [RuntimeError("two\nlines"), MemoryError(), KeyError("x"), Panic("boom"), SystemExit(3), OSError(28, "full")]
)
def test_a_maker_that_raises_anything_fails_that_job_only(store, worker, error):
    worker.handlers["broken"] = raiser(error)
    worker.start()
    broken, sound = ask(worker, "broken"), ask(worker)
    failed = ended(store, broken)
    assert failed.state == State.FAILED
    assert failed.error.startswith(f"this went wrong: {type(error).__name__}")
    assert "\n" not in failed.error
    assert ended(store, sound).state == State.DONE
    assert type(error).__name__ in (store.folder_of(failed) / "log.txt").read_text()


def test_what_a_maker_says_to_people_is_told_as_it_is(store, worker):
    worker.start()
    assert ended(store, ask(worker, "refused")).error == "the photo of this job is not there any more; choose it again"


@pytest.mark.parametrize("kind", ["odd", "unknown"])
def test_a_result_that_cannot_be_kept_or_an_unknown_kind_fails_that_job_only(store, worker, kind):
    worker.start()
    assert ended(store, ask(worker, kind)).state == State.FAILED
    assert ended(store, ask(worker)).state == State.DONE


def test_a_maker_that_stops_by_itself_leaves_no_job_running(store, worker):
    worker.handlers["shy"] = raiser(Cancelled())
    worker.start()
    assert ended(store, ask(worker, "shy")).state == State.FAILED


def test_a_table_that_fails_for_a_while_does_not_end_the_worker(store, worker):
    def full(context: JobContext) -> dict:
        store._connection.execute("PRAGMA query_only = ON")  # as on a full disk, nothing can be written
        threading.Timer(0.5, store._connection.execute, ["PRAGMA query_only = OFF"]).start()
        return {}

    worker.handlers["full"] = full
    worker.start()
    unlucky = ask(worker, "full")
    assert ended(store, unlucky).state == State.FAILED
    assert ended(store, ask(worker)).state == State.DONE


def test_cancel_ends_a_running_job_within_a_step(store, worker):
    steps = []

    def counted(context: JobContext) -> dict:
        for step in range(100 * SECONDS):
            steps.append(step)
            context.report(0.5, "stepping")
            time.sleep(0.01)
        return {}

    worker.handlers["counted"] = counted
    worker.start()
    job, after = ask(worker, "counted"), ask(worker)
    reached(store, job, State.RUNNING)
    store.cancel(job.id)
    so_far = len(steps)
    assert ended(store, after).state == State.DONE
    assert len(steps) <= so_far + 1
    assert store.get(job.id).state == State.CANCELLED


def test_deleting_a_running_job_leaves_nothing_and_is_no_error(store, worker, caplog):
    def writer(context: JobContext) -> dict:
        for _ in range(100 * SECONDS):
            (context.folder / "part").write_text("x")
            context.report(0.5, "writing", np.zeros((2, 8, 8, 3), np.uint8))
            time.sleep(0.005)
        return {}

    worker.handlers["writer"] = writer
    worker.start()
    job = ask(worker, "writer")
    reached(store, job, State.RUNNING)
    store.delete(job.id)
    assert ended(store, ask(worker)).state == State.DONE
    assert not store.folder_of(job).exists()
    assert "Traceback" not in caplog.text


def test_stop_hands_the_running_job_back(store, worker):
    worker.start()
    job = ask(worker, "endless")
    reached(store, job, State.RUNNING)
    worker.stop(SECONDS)
    assert not worker._thread.is_alive()
    again = store.get(job.id)
    assert (again.state, again.attempts, again.started) == (State.QUEUED, 0, None)


def test_stop_at_any_moment_leaves_nothing_running(store):
    jobs = [store.submit("me", "quick", {}) for _ in range(15)]
    for pause in (0, 0.002, 0.005, 0.01, 0.02):
        worker = Worker(store, HANDLERS)
        worker.start()
        time.sleep(pause)
        worker.stop(SECONDS)
        assert store.jobs("me", State.RUNNING) == []
    assert {store.get(job.id).state for job in jobs} <= {State.QUEUED, State.DONE}


def test_work_until_makes_the_jobs_before_it_too(store, worker):
    before, wanted = ask(worker), ask(worker, visitor="other")
    behind = ask(worker)
    worker.work_until(wanted.id)
    assert [store.get(job.id).state for job in (before, wanted, behind)] == [State.DONE, State.DONE, State.QUEUED]


@pytest.mark.parametrize("change", ["pause", "cancel"])
def test_work_until_does_not_wait_for_what_nobody_will_make(store, worker, change):
    job = ask(worker)
    getattr(store, change)(job.id)
    waiting = threading.Thread(target=worker.work_until, args=[job.id], daemon=True)
    waiting.start()
    waiting.join(SECONDS)
    assert not waiting.is_alive()


def test_only_one_job_runs_at_a_time_however_many_call(store, worker):
    inside, most = [], []

    def counting(context: JobContext) -> dict:
        inside.append(context)
        most.append(len(inside))
        time.sleep(0.02)
        inside.pop()
        return {}

    worker.handlers["counting"] = counting
    jobs = [ask(worker, "counting", str(number)) for number in range(6)]
    callers = [threading.Thread(target=worker.work_until, args=[job.id]) for job in jobs]
    for caller in callers:
        caller.start()
    for caller in callers:
        caller.join(SECONDS)
    assert most == [1] * 6
    assert {store.get(job.id).state for job in jobs} == {State.DONE}


def test_what_comes_before_a_job_may_stumble(store):
    def stumble() -> None:
        raise OSError(5, "broken disk")

    worker = Worker(store, HANDLERS, before=stumble)
    job = ask(worker)
    worker.work_until(job.id)
    assert store.get(job.id).state == State.DONE


def test_a_preview_is_a_strip_of_frames_of_one_height():
    frames = np.random.default_rng(0).integers(0, 255, (16, 32, 64, 3), dtype=np.uint8)
    with Image.open(io.BytesIO(strip(frames))) as picture:
        assert (picture.format, picture.size) == ("JPEG", (8 * 64 * 96 // 32, 96))
