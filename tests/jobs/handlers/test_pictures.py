"""The jobs that make pictures, with the real pipelines: what they give, how they end early, and how they share the worker with clips."""

import json
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from trip import model_cache
from trip.jobs import worker as workers
from trip.jobs.handlers import pictures
from trip.jobs.handlers.animate import AnimateMaker
from trip.jobs.handlers.estimate import Timings
from trip.jobs.handlers.pictures import SCHEMAS, PictureMaker
from trip.jobs.store import Job, JobStore, State
from trip.jobs.worker import Worker
from trip.model_cache import Shelf

SECONDS = 60
QUICK = {"size": 64, "num_steps": 2, "seed": 3}


@pytest.fixture
def worker(picture_models: Path, tiny_model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Worker]:
    """A worker that makes pictures and clips with tiny models."""
    shelf = Shelf(torch.device("cpu"), 10**9)
    monkeypatch.setattr(model_cache, "shelf", lambda: shelf)
    monkeypatch.setattr("trip.first_frame.making.shelf", lambda: shelf)
    store = JobStore(tmp_path)
    timings = Timings(tmp_path / "timings.jsonl", lambda settings: (tiny_model.name, "cpu", 32 * 32 * 4, 2))
    maker = PictureMaker(picture_models)
    worker = Worker(store, {"animate": AnimateMaker(str(tiny_model), timings), **dict.fromkeys(SCHEMAS, maker)})
    yield worker
    worker.stop(SECONDS)
    store.close()


def made(worker: Worker, kind: str, photo: Image.Image | None = None, found: Image.Image | None = None, **settings) -> Job:
    job = worker.store.submit("me", kind, QUICK | settings, photo, found)
    worker.work_until(job.id)
    return worker.store.get(job.id)


def done(worker: Worker, *arguments: object, **settings) -> Job:
    job = made(worker, *arguments, **settings)
    assert job.state == State.DONE, job.error
    return job


def files(worker: Worker, job: Job) -> set[str]:
    return {path.name for path in worker.store.folder_of(job).iterdir()} - {"job.json", "log.txt", "preview.jpg"}


def test_painting_gives_candidates_with_their_seeds_and_what_made_them(worker):
    job = done(worker, "paint", prompt="a red house", num_pictures=2)
    assert job.result["pictures"] == [{"file": f"picture-{seed}.png", "seed": seed} for seed in (3, 4)]
    assert files(worker, job) == {"picture-3.png", "picture-4.png"}
    assert job.result["map"] is None and job.result["notes"] == [] and job.result["seconds"] > 0
    assert set(job.result["stages"]) == {"open", "paint"} and job.result["settings"]["guidance_scale"] == 5
    with Image.open(worker.store.folder_of(job) / "picture-4.png") as picture:
        assert json.loads(picture.text["trip"])["seed"] == 4 and picture.size == (64, 64)


def test_an_edit_and_a_drawing_over_a_map(worker, photo):
    edited = done(worker, "edit", photo, instruction="make it winter")
    assert files(worker, edited) == {"photo.png", "picture-3.png"}
    drawn = done(worker, "control", photo, prompt="a tiger")
    assert files(worker, drawn) == {"photo.png", "picture-3.png", "control.png"} and drawn.result["map"] == "control.png"


def test_a_map_alone_needs_no_model_and_can_be_edited_before_it_is_used(worker, photo):
    worker.makers["map"] = PictureMaker(None)
    job = done(worker, "map", photo)
    folder = worker.store.folder_of(job)
    assert files(worker, job) == {"photo.png", "control.png"} and job.result["pictures"] == []
    with Image.open(folder / "control.png") as found:
        edited = Image.fromarray(255 - np.asarray(found))
    drawn = done(worker, "control", photo, edited, prompt="a tiger")
    with Image.open(worker.store.folder_of(drawn) / "control.png") as used:
        assert np.asarray(used).mean() > 128


def test_a_picture_becomes_a_clip_on_the_same_worker(worker):
    painted = done(worker, "paint", prompt="a red house")
    with Image.open(worker.store.folder_of(painted) / "picture-3.png") as picture:
        job = worker.store.submit("me", "animate", {"num_steps": 2, "num_frames": 4}, picture.convert("RGB"))
    worker.work_until(job.id)
    assert worker.store.get(job.id).state == State.DONE, worker.store.get(job.id).error


@pytest.mark.parametrize(
    "kind, settings, said",
    [
        ("paint", {"picture_model": "sdxl-lightning-8"}, "--fetch sdxl-lightning-8"),
        ("paint", {"picture_model": "/etc"}, "there is no model '/etc' here"),
        ("paint", {"lora": "../x.safetensors"}, "there is no file"),
        ("edit", {"instruction": "winter"}, "there is no photo yet"),
        ("control", {"annotator": "x-ray"}, "Annotator must be"),
        ("paint", {"num_pictures": 10**6}, "Pictures must be"),
        ("paint", {"unknown": 1}, "there is no setting 'unknown'"),
    ],
)
def test_what_cannot_be_made_fails_in_one_line_and_the_next_is_made(worker, kind, settings, said):
    job = made(worker, kind, **settings)
    assert job.state == State.FAILED and said in job.error and "\n" not in job.error and "went wrong" not in job.error
    assert "running" not in files(worker, job)


def test_a_picture_stage_is_stopped_within_a_step(worker):
    worker.start()
    job = worker.store.submit("me", "paint", QUICK | {"prompt": "a red house", "num_steps": 200, "num_pictures": 8})
    worker.wake()
    end = time.monotonic() + SECONDS
    while "step" not in worker.store.get(job.id).words:
        assert time.monotonic() < end, worker.store.get(job.id)
        time.sleep(0.01)
    worker.store.cancel(job.id)
    after = worker.store.submit("me", "paint", QUICK | {"prompt": "a red house"})
    worker.wake()
    while not worker.store.get(after.id).state.is_final:
        assert time.monotonic() < end
        time.sleep(0.01)
    assert worker.store.get(job.id).state == State.CANCELLED and files(worker, job) == set()
    assert worker.store.get(after.id).state == State.DONE


def test_steps_are_told_with_pictures_to_look_at(worker, monkeypatch):
    told, report = [], worker.store.report
    monkeypatch.setattr(worker.store, "report", lambda *news: told.append(news[1:]) or report(*news))
    job = done(worker, "paint", prompt="a red house", num_pictures=2)
    fractions, words = zip(*told, strict=True)
    assert list(fractions) == sorted(fractions)
    assert any(line.startswith("Opening Stable Diffusion XL") for line in words)
    assert "Painting, picture 2 of 2: step 1 of 2" in words
    assert (worker.store.folder_of(job) / "preview.jpg").stat().st_size > 0


def test_memory_that_runs_out_is_told(worker, monkeypatch):
    def runs_out(*_: object) -> Iterator:
        raise MemoryError
        yield

    monkeypatch.setattr(pictures, "pictures", runs_out)
    assert made(worker, "paint", prompt="x").error == "there is not enough memory for this; choose a smaller size or a smaller model"


def test_pictures_that_take_too_long_end_with_what_to_ask_for_while_others_wait(worker, monkeypatch):
    monkeypatch.setattr(workers, "LONGEST_SECONDS", -1.0)
    mine, theirs = (worker.store.submit(visitor, "paint", QUICK | {"prompt": "a red house"}) for visitor in ("me", "they"))
    worker.work_until(mine.id)
    worker.work_until(theirs.id)  # for whom nobody waits
    assert worker.store.get(mine.id).error.endswith("while others wait; ask for fewer pictures, fewer steps or a smaller size")
    assert worker.store.get(theirs.id).state == State.DONE
