"""The handler of clips with the real pipeline: what a job gives, what it goes on from, and how it ends early."""

import io
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from trip.evaluation.similarity import SAME_DB
from trip.inside import Inside
from trip.jobs.handlers import sampling
from trip.jobs.handlers.animate import AnimateHandler
from trip.jobs.handlers.estimate import Timings
from trip.jobs.store import Job, JobStore, State
from trip.jobs.worker import Worker
from trip.media import embedded_photo, fit_photo, parts, read_clip, read_metadata
from trip.settings import AnimateSettings

SECONDS = 20  # that anything here may take
QUICK = {"num_steps": 2, "num_frames": 4}
LONG = {"num_steps": 1000, "num_frames": 4}


@pytest.fixture
def worker(tiny_model: Path, tmp_path: Path) -> Iterator[Worker]:
    """A worker that makes clips of the tiny model."""
    store = JobStore(tmp_path)

    def shape_of(settings: AnimateSettings) -> tuple[str, str, int, int]:
        return tiny_model.name, "cpu", 32 * 32 * (settings.num_frames or 4), settings.num_steps or 2

    timings = Timings(tmp_path / "timings.jsonl", shape_of)
    worker = Worker(store, {"animate": AnimateHandler(str(tiny_model), timings)})
    yield worker
    worker.stop(SECONDS)
    store.close()


def ask(worker: Worker, photo: Image.Image | None, visitor: str = "me", **settings) -> Job:
    return worker.store.submit(visitor, "animate", QUICK | settings, photo)


def made(worker: Worker, photo: Image.Image | None, visitor: str = "me", **settings) -> Job:
    job = ask(worker, photo, visitor, **settings)
    worker.work_until(job.id)
    return worker.store.get(job.id)


def done(worker: Worker, photo: Image.Image, visitor: str = "me", **settings) -> Job:
    job = made(worker, photo, visitor, **settings)
    assert job.state == State.DONE, job.error
    return job


def first_step(worker: Worker, job: Job) -> None:
    """Waits until sampling is under way."""
    end = time.monotonic() + SECONDS
    while not worker.store.get(job.id).words.startswith("Step"):
        assert time.monotonic() < end, worker.store.get(job.id)
        time.sleep(0.01)


def files(worker: Worker, job: Job) -> set[str]:
    return {path.name for path in worker.store.folder_of(job).iterdir()}


def test_a_job_becomes_a_clip_with_figures_and_what_was_used(worker, photo):
    job = done(worker, photo, prompt="the camera pans right", seed=7, fps=5.0)
    result, folder = job.result, worker.store.folder_of(job)
    assert (result["clip"], result["seed"], result["num_frames"], result["fps"]) == ("trip-7.mp4", 7, 19, 24.0)
    assert (result["drawn"], result["drawn_frames"], result["drawn_fps"]) == ("drawn-7.mp4", 4, 5.0)
    assert result["settings"]["prompt"] == "the camera pans right" and result["settings"]["num_steps"] == 2
    assert result["notes"] == []
    assert [row[0] for row in result["figures"][:2]] == ["Photo's pixels", "First frame"]
    assert result["figures"][1][1] == f"{SAME_DB:.0f} dB or more"
    assert all(len(row) == 3 for row in result["figures"])
    assert {"photo_kept_db", "motion_pixels", "loop_gap"} <= set(result)
    assert result["draft_db"] is None and result["seconds"] > 0
    clip = read_clip(folder / "trip-7.mp4")
    assert clip.frames.shape == (19, 96, 96, 3) and clip.fps == pytest.approx(24)  # a tiny photo is enlarged twice
    drawn = read_clip(folder / "drawn-7.mp4")
    assert drawn.frames.shape == (4, 32, 32, 3) and drawn.fps == pytest.approx(5) and drawn.metadata["size"] == "model"
    assert files(worker, job) == {
        "photo.png", "log.txt", "job.json", "trip-7.mp4", "drawn-7.mp4", "first.png", "last.png", "thumbnail.webp",
        "inside.npz", "preview.jpg",
    }  # fmt: skip


def test_the_clip_carries_settings_and_photo(worker, photo):
    job = done(worker, photo, seed=3)
    metadata = read_metadata(worker.store.folder_of(job) / job.result["clip"])
    assert {name: value for name, value in metadata.items() if name != "photo"} == job.result["settings"]
    inside = embedded_photo(metadata)
    assert inside.size == photo.size
    assert np.abs(np.asarray(inside).astype(int) - np.asarray(photo)).mean() < 12  # a JPEG of it


def test_the_first_picture_is_the_photo_as_the_model_saw_it(worker, photo):
    job = done(worker, photo)
    with Image.open(worker.store.folder_of(job) / "first.png") as first:
        assert np.array_equal(np.asarray(first), fit_photo(photo, 96))
    as_drawn = done(worker, photo, size="model")
    with Image.open(worker.store.folder_of(as_drawn) / "first.png") as first:
        assert np.array_equal(np.asarray(first), fit_photo(photo, 32))
    assert (as_drawn.result["num_frames"], as_drawn.result["fps"]) == (4, 8)


def test_inside_has_every_step_and_frame(worker, photo):
    job = done(worker, photo, num_steps=3)
    assert Inside.load(worker.store.folder_of(job) / "inside.npz").share.shape == (3, 4)


def test_without_a_seed_one_is_drawn_and_told(worker, photo):
    one, other = done(worker, photo), done(worker, photo)
    assert one.result["seed"] != other.result["seed"]


def test_the_estimate_learns_from_the_clip(worker, photo):
    assert done(worker, photo).result["expected_seconds"] is None
    assert done(worker, photo).result["expected_seconds"] > 0


def test_a_continued_clip_shows_both_and_the_shared_frame_once(worker, photo):
    first = done(worker, photo, seed=1)
    folder = worker.store.folder_of(first)
    with Image.open(folder / "last.png") as last:
        second = done(worker, last.convert("RGB"), seed=2, after=first.id)
    clip = read_clip(worker.store.folder_of(second) / second.result["clip"])
    each = first.result["num_frames"]
    assert len(clip.frames) == second.result["num_frames"] == 2 * each - 1
    assert [part["seed"] for part in parts(clip.metadata)] == [1, 2]
    assert embedded_photo(clip.metadata) is not None
    assert np.array_equal(clip.frames[:each], read_clip(folder / first.result["clip"]).frames)


def test_a_clip_of_another_rate_goes_on_at_its_own(worker, photo):
    first = done(worker, photo, seed=1, frame_rate=12)
    with Image.open(worker.store.folder_of(first) / "last.png") as last:
        second = done(worker, last.convert("RGB"), seed=2, after=first.id)
        as_drawn = made(worker, last.convert("RGB"), seed=2, after=first.id, size="model")
    assert second.result["fps"] == pytest.approx(12) and second.result["num_frames"] == 2 * first.result["num_frames"] - 1
    assert as_drawn.error.startswith("wanted clips of one size to join, got 96 x 96 and 32 x 32 pixels")


def test_a_final_says_how_like_its_draft_it_is(worker, photo):
    draft = done(worker, photo, seed=5)
    same, other = done(worker, photo, seed=5, draft=draft.id), done(worker, photo, seed=6, draft=draft.id)
    assert same.result["draft_db"] > other.result["draft_db"]
    assert done(worker, photo, num_frames=6, draft=draft.id).result["draft_db"] is None


def test_the_final_of_a_continued_draft_is_compared_with_its_own_part(worker, photo):
    first = done(worker, photo, seed=1)
    draft = done(worker, photo, seed=2, after=first.id)
    final, other = (done(worker, photo, seed=seed, after=first.id, draft=draft.id).result for seed in (2, 3))
    assert final["num_frames"] == 2 * first.result["num_frames"] - 1
    assert final["draft_db"] > other["draft_db"] + 3


@pytest.mark.parametrize("name", ["after", "draft"])
def test_another_visitors_clip_cannot_be_gone_on_from(worker, photo, name):
    theirs = done(worker, photo, "they")
    job = made(worker, photo, **{name: theirs.id})
    assert (job.state, job.error) == (State.FAILED, "there is no such job of yours; it may have been deleted")


def test_a_clip_that_is_not_done_cannot_be_gone_on_from(worker, photo):
    waiting = ask(worker, photo)
    worker.store.pause(waiting.id)
    assert "not done" in made(worker, photo, after=waiting.id).error


HOSTILE = [
    {"num_steps": 10**9},
    {"num_frames": "many"},
    {"motion": [1, 2]},
    {"prompt": {"a": "b"}},
    {"prompt": "<script>alert(1)</script>" * 1000},
    {"unknown": 1},
    {"self": 1},
    {"crop": [0, 0, 5, 5]},
    {"seed": -1},
    {"after": "' OR 1=1 --"},
    {"draft": ["a"]},
    {"aspect": "1:0"},
]


@pytest.mark.parametrize("settings", HOSTILE, ids=str)
def test_hostile_settings_fail_in_one_line(worker, photo, settings):
    job = made(worker, photo, **settings)
    assert job.state == State.FAILED
    assert "\n" not in job.error and len(job.error) < 300
    assert "went wrong" not in job.error
    assert "running" not in files(worker, job)


def _missing(path: Path) -> None:
    path.unlink()


def _broken(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:100])


@pytest.mark.parametrize("spoil", [_missing, _broken])
def test_a_job_whose_photo_is_gone_says_so_and_the_next_is_made(worker, photo, spoil):
    unlucky, lucky = ask(worker, photo), ask(worker, photo)
    spoil(worker.store.folder_of(unlucky) / "photo.png")
    worker.work_until(lucky.id)
    assert worker.store.get(unlucky.id).error == "the photo of this job is not there any more; choose it again"
    assert worker.store.get(lucky.id).state == State.DONE


def test_a_checkpoint_that_is_not_there_fails_the_job_in_one_line(worker, photo):
    worker.handlers["animate"].model = "no/such/folder"
    job = made(worker, photo)
    assert job.state == State.FAILED and job.error.startswith("no/such/folder: ")
    assert "running" not in files(worker, job)


def test_cancel_ends_sampling_within_a_step_and_the_next_clip_is_sound(worker, photo):
    sound = done(worker, photo, seed=9)
    worker.start()
    for _ in range(4):
        job = ask(worker, photo, **LONG)
        first_step(worker, job)
        after = ask(worker, photo, seed=9)
        worker.store.cancel(job.id)
        begun = time.monotonic()
        while not worker.store.get(after.id).state.is_final:
            assert time.monotonic() - begun < SECONDS
            time.sleep(0.01)
        assert worker.store.get(job.id).state == State.CANCELLED
        assert files(worker, job) <= {"photo.png", "log.txt", "preview.jpg"}  # no ticket, no clip
        again = worker.store.get(after.id)
        assert again.state == State.DONE, again.error
        clips = [read_clip(worker.store.folder_of(one) / "trip-9.mp4").frames for one in (sound, again)]
        assert np.array_equal(*clips)


def test_a_ticket_that_is_taken_away_leaves_no_job_running(worker, photo):
    worker.start()
    job = ask(worker, photo, **LONG)
    first_step(worker, job)
    (worker.store.folder_of(job) / "running").unlink()
    end = time.monotonic() + SECONDS
    while not worker.store.get(job.id).state.is_final:
        assert time.monotonic() < end
        time.sleep(0.01)
    assert worker.store.get(job.id).state == State.FAILED


def test_a_stopped_app_hands_its_clip_back_and_the_next_one_makes_it(worker, photo):
    worker.start()
    job = ask(worker, photo, **LONG)
    first_step(worker, job)
    worker.stop(SECONDS)
    assert worker.store.get(job.id).state == State.QUEUED
    assert not worker._thread.is_alive()
    with worker.store.changing() as table:
        table.execute("UPDATE jobs SET settings = replace(settings, '1000', '2') WHERE id = ?", (job.id,))
    again = Worker(worker.store, worker.handlers)
    again.work_until(job.id)
    assert worker.store.get(job.id).state == State.DONE


def test_steps_tell_how_far_they_are_and_show_frames(worker, photo, monkeypatch):
    reports, report = [], worker.store.report
    monkeypatch.setattr(
        worker.store, "report", lambda job_id, fraction, words: reports.append((fraction, words)) or report(job_id, fraction, words)
    )
    job = done(worker, photo, num_steps=3)
    steps = [(fraction, words) for fraction, words in reports if words.startswith("Step")]
    assert [words.split(",")[0] for _, words in steps] == ["Step 1 of 3", "Step 2 of 3", "Step 3 of 3"]
    assert [fraction for fraction, _ in reports] == sorted(fraction for fraction, _ in reports)
    with Image.open(io.BytesIO((worker.store.folder_of(job) / "preview.jpg").read_bytes())) as strip:
        assert strip.height == 96


def test_memory_that_runs_out_is_tried_once_more_and_then_told(worker, photo, monkeypatch):
    tries = []

    def runs_out(*_: object) -> None:
        tries.append(1)
        raise MemoryError

    monkeypatch.setattr(sampling, "sample_once", runs_out)
    job = made(worker, photo)
    assert job.error == "there is not enough memory for 4 frames; choose fewer frames or a smaller model"
    assert len(tries) == 2
