"""Figure 9 on the page: which pictures it animates, that they move alike, and that it says what it lacks."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from PIL import Image, ImageOps

from trip.jobs.handlers.figure import label_of, parts_of, written
from trip.jobs.store import Job
from trip.media import read_clip
from trip.settings import AnimateSettings, EditSettings
from trip.ui.panels import figure, pictures
from trip.ui.studio import Studio

CLIP = AnimateSettings(prompt="the camera zooms in", seed=0, num_steps=1)


@pytest.fixture
def studio(tiny_model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Studio]:
    """A studio with the embedded editor alone."""
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "hub"))
    studio = Studio(str(tiny_model), tmp_path / "outputs")
    yield studio
    studio.close()


def edited(studio: Studio, photo: Image.Image, **settings) -> Job:
    job = pictures.ask(studio, "me", EditSettings(instruction="make it winter", seed=3, **settings), photo)
    studio.worker.work_until(job.id)
    return studio.store.get(job.id)


def test_without_a_photo_or_an_edit_there_is_nothing_to_compare(studio, photo, tmp_path):
    with pytest.raises(ValueError, match="there is no photo yet"):
        figure.ask(studio, "me", None, ("", None), CLIP)
    photo.save(tmp_path / "photo.png")
    edited(studio, ImageOps.mirror(photo))
    with pytest.raises(ValueError, match="nothing to put beside the photo yet"):  # the edit is another photo's
        figure.ask(studio, "me", str(tmp_path / "photo.png"), ("", None), CLIP)


def test_photo_and_edit_move_alike_and_what_is_missing_is_told(studio, photo):
    job = edited(studio, photo, num_pictures=2)
    last = figure.ask(studio, "me", None, (job.id, 4), CLIP)  # a page that was opened again has no photo in its form
    parts = parts_of(studio.store, last)
    assert [label_of(part) for part in parts] == ["original", "edit: make it winter"] and parts[-1] == last
    assert len({(part.settings["prompt"], part.settings["seed"]) for part in parts}) == 1
    with Image.open(studio.photo_of(last)) as first, Image.open(studio.store.folder_of(job) / "picture-4.png") as chosen:
        assert first.tobytes() == chosen.tobytes()
    studio.worker.work_until(last.id)
    box, clips, missing, download = figure.build().shown(studio, studio.store.get(last.id))
    assert box["visible"] and "edit: make it winter" in clips and "--fetch control-sd15-canny" in missing["value"]
    frames = [read_clip(studio.clip_of(part)).frames for part in parts_of(studio.store, last)]
    assert read_clip(download["value"]).frames.shape[0] == len(frames[0])
    assert written(studio.store, parts_of(studio.store, last)) == Path(download["value"])
