"""A long clip gives way while others wait, and comes out bit for bit as if it had not."""

import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from trip.inside import Inside
from trip.jobs import worker as workers
from trip.jobs.aside import ASIDE
from trip.jobs.handlers import animate
from trip.jobs.handlers.animate import AnimateMaker
from trip.jobs.handlers.estimate import Timings
from trip.jobs.store import Job, JobStore, State
from trip.jobs.worker import Worker
from trip.pipeline import TripPipeline
from trip.settings import AnimateSettings

LONG = {"num_steps": 6, "num_frames": 4, "scheduler": "unipc", "guidance_scale": 2}
QUICK = {"num_steps": 1, "num_frames": 4}


def working(folder: Path, model: Path) -> Worker:
    """A worker on a store, new ones each time."""

    def shape_of(settings: AnimateSettings) -> tuple[str, str, int, int]:
        return model.name, "cpu", 32 * 32 * (settings.num_frames or 4), settings.num_steps or 2

    return Worker(JobStore(folder), {"animate": AnimateMaker(str(model), Timings(folder / "timings.jsonl", shape_of))})


@pytest.fixture
def worker(tiny_model: Path, tmp_path: Path) -> Iterator[Worker]:
    made = working(tmp_path, tiny_model)
    yield made
    made.stop(20)
    made.store.close()


@pytest.fixture
def no_patience(monkeypatch: pytest.MonkeyPatch) -> None:
    """A turn is over with its first step."""
    monkeypatch.setattr(animate, "TURN_SECONDS", 0.0)


def ask(worker: Worker, photo: Image.Image, visitor: str, **settings) -> Job:
    return worker.store.submit(visitor, "animate", settings, photo)


def folder_of(worker: Worker, job: Job) -> Path:
    return worker.store.folder_of(job)


def turn(worker: Worker, of: Job) -> Job:
    """One turn of the worker, of which a job is sure; how that one stands then."""
    before = worker.store.get(of.id).started
    assert worker._make_next()
    assert worker.store.get(of.id).started != before, "another job had the turn"
    return worker.store.get(of.id)


def steps_told(worker: Worker, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """What is reported from here on."""
    told, report = [], worker.store.report
    monkeypatch.setattr(worker.store, "report", lambda job_id, fraction, words: told.append(words) or report(job_id, fraction, words))
    return told


def test_a_clip_that_gave_way_twice_is_bit_for_bit_the_uninterrupted_one(worker, photo, no_patience):
    whole = ask(worker, photo, "me", **LONG, seed=5)
    assert turn(worker, whole).state == State.DONE
    long = ask(worker, photo, "me", **LONG, seed=5)
    others = [ask(worker, photo, "they", **QUICK)]
    others += [ask(worker, photo, "they", **QUICK)]
    assert turn(worker, others[0]).state == State.DONE  # they have waited longer
    for other in (others[1], ask(worker, photo, "they", **QUICK)):
        assert turn(worker, long).state == State.QUEUED
        assert turn(worker, other).state == State.DONE
    now, whole = turn(worker, long), worker.store.get(whole.id)
    assert now.state == State.DONE and not (folder_of(worker, long) / ASIDE).exists()
    for name in ("clip", "drawn"):
        assert (folder_of(worker, now) / now.result[name]).read_bytes() == (folder_of(worker, whole) / whole.result[name]).read_bytes()
    said = [Inside.load(folder_of(worker, job) / "inside.npz") for job in (now, whole)]
    for name in vars(said[0]):
        assert np.array_equal(*(getattr(inside, name) for inside in said), equal_nan=True), name
    same = [{name: value for name, value in job.result.items() if "seconds" not in name} for job in (now, whole)]
    assert same[0] == same[1]


def test_a_seed_that_was_drawn_stays_and_earlier_turns_count(worker, photo, no_patience, monkeypatch):
    long = ask(worker, photo, "me", **LONG)
    ask(worker, photo, "they", **QUICK)
    told = steps_told(worker, monkeypatch)
    assert turn(worker, long).state == State.QUEUED and worker.store.get(long.id).words.startswith("Gave way")
    assert any(words.startswith("Step 1 of 6") for words in told)
    worker.work_until(long.id)
    steps = [words.split(",")[0] for words in told if words.startswith("Step") and " of 6" in words]
    assert steps == [f"Step {number} of 6" for number in range(1, 7)]  # none twice
    again = ask(worker, photo, "me", **LONG, seed=worker.store.get(long.id).result["seed"])
    worker.work_until(again.id)
    clips = [(folder_of(worker, job) / worker.store.get(job.id).result["clip"]).read_bytes() for job in (long, again)]
    assert clips[0] == clips[1]


def test_the_next_app_goes_on_with_it(tiny_model, tmp_path, photo, no_patience, monkeypatch):
    first = working(tmp_path, tiny_model)
    long = ask(first, photo, "me", **LONG)
    other = ask(first, photo, "they", **QUICK)
    assert turn(first, long).state == State.QUEUED
    first.store.take()  # and is killed over the next one
    first.store.close()
    second = working(tmp_path, tiny_model)
    told = steps_told(second, monkeypatch)
    second.work_until(long.id)
    second.work_until(other.id)
    assert second.store.get(long.id).state == State.DONE
    assert "Step 1 of 6" not in {words.split(",")[0] for words in told}
    second.store.close()


@pytest.mark.parametrize("spoil", ["so-far.safetensors", "inside"])
def test_what_cannot_be_gone_on_with_begins_anew(worker, photo, no_patience, spoil, caplog):
    long = ask(worker, photo, "me", **LONG, seed=1)
    ask(worker, photo, "they", **QUICK)
    turn(worker, long)
    for path in (folder_of(worker, long) / ASIDE).glob(f"{spoil}*"):
        path.write_bytes(path.read_bytes()[:50])
    worker.work_until(long.id)
    assert worker.store.get(long.id).state == State.DONE
    assert "begins anew" in caplog.text


def test_other_weights_begin_anew(worker, photo, no_patience, monkeypatch, caplog):
    long = ask(worker, photo, "me", **LONG)
    ask(worker, photo, "they", **QUICK)
    turn(worker, long)
    monkeypatch.setattr(TripPipeline, "fingerprint", "another")
    worker.work_until(long.id)
    assert worker.store.get(long.id).state == State.DONE and "begun with other weights" in caplog.text


def test_nobody_gives_way_to_nobody_nor_on_a_full_disk(worker, photo, no_patience, monkeypatch):
    mine = [ask(worker, photo, "me", **LONG) for _ in range(2)]
    assert turn(worker, mine[0]).state == State.DONE  # the next one is the same visitor's
    ask(worker, photo, "they", **QUICK)
    monkeypatch.setattr(animate, "has_room", lambda *_: False)
    worker.work_until(mine[1].id)
    assert worker.store.get(mine[1].id).attempts == 1


def test_a_clip_that_gave_way_can_be_cancelled(worker, photo, no_patience):
    long, other = ask(worker, photo, "me", **LONG), ask(worker, photo, "they", **QUICK)
    turn(worker, long)
    worker.store.cancel(long.id)
    worker.work_until(other.id)
    assert not worker._make_next()
    assert worker.store.get(long.id).state == State.CANCELLED
    worker.store.delete(long.id)
    assert not folder_of(worker, long).exists()


def test_work_that_cannot_be_set_aside_is_bounded_while_others_wait(worker, photo, monkeypatch):
    monkeypatch.setattr(workers, "LONGEST_SECONDS", -1.0)
    mine = ask(worker, photo, "me", **QUICK)
    assert turn(worker, mine).state == State.DONE
    mine, _ = ask(worker, photo, "me", **QUICK), ask(worker, photo, "me", **QUICK)
    theirs = ask(worker, photo, "they", **QUICK)
    begun = time.monotonic()
    worker.work_until(mine.id)
    assert time.monotonic() - begun < 20
    states = [worker.store.get(job.id) for job in (theirs, mine)]
    refused = next(job for job in states if job.state == State.FAILED)
    assert refused.error.startswith("this took more than ")
    assert refused.error.endswith("minutes while others wait; ask for a smaller size, a lower frame rate or fewer frames")
