"""The paper's variants, each from training to the page: none of them is a dead end."""

from pathlib import Path

import numpy as np
import pytest
import torch
from accelerate.state import AcceleratorState
from PIL import Image

from trip.cli import main
from trip.jobs.store import State
from trip.media import read_clip, read_metadata, write_clip
from trip.media.clip import Clip
from trip.pipeline import TripPipeline
from trip.settings import VARIANTS, AnimateSettings
from trip.ui.studio import Studio

FEW = ["--set", "recipe.vae.max_steps=2", "--set", "recipe.text.max_steps=2", "--set", "recipe.field.max_steps=2"]
FEW += ["--set", "recipe.half_size.max_steps=2", "--max-steps", "2"]


def run(*words: object) -> None:
    """A command, as somebody would type it, in a process of its own."""
    AcceleratorState._reset_state(reset_partial_state=True)
    try:
        code = main([str(word) for word in words])
    except SystemExit as stop:
        code = stop.code
    assert not code, words


@pytest.fixture(scope="module", params=VARIANTS)
def trained(request, photos, tmp_path_factory) -> tuple[str, Path]:
    """A variant's name, and the model that its training wrote."""
    folder = tmp_path_factory.mktemp(request.param)
    run("train", "--preset", "tiny", "--variant", request.param, "--photos", photos, "--output", folder / "run", *FEW)
    return request.param, folder / "run" / "model"


@pytest.fixture(scope="module")
def photo(photos) -> Path:
    return next(photos.glob("*.jpg"))


def test_it_is_what_was_asked_for_and_opens(trained):
    name, model = trained
    pipe = TripPipeline.from_pretrained(model)
    assert (pipe.unet.config.first_frame, pipe.fusion.config.kind) == VARIANTS[name][:2]
    assert pipe.to(torch.bfloat16).to("cpu").copied(torch.float32).dtype == torch.float32


def test_the_command_line_animates_with_it(trained, photo, tmp_path):
    run("animate", photo, "--prompt", "the camera pans right", "--model", trained[1], "--output", tmp_path / "clip.mp4", "--seed", 1)
    assert read_metadata(tmp_path / "clip.mp4")["model"] == "model"
    assert len(read_clip(tmp_path / "clip.mp4").frames) > 4


def test_the_page_animates_with_it(trained, photo, tmp_path):
    studio = Studio(str(trained[1]), tmp_path / "outputs")
    try:
        job = studio.animate("me", str(photo), AnimateSettings(prompt="the camera pans right", num_steps=2, seed=1))
        studio.worker.work_until(job.id)
        job = studio.store.get(job.id)
        assert job.state == State.DONE, job.error
        assert studio.clip_of(job).is_file()
    finally:
        studio.close()


@pytest.mark.parametrize("trained", ["trip-c", "trip-w"], indirect=True)  # channels of their own, and no fusion to train
def test_it_is_fine_tuned_and_animates_with_what_it_learnt(trained, photo, tmp_path):
    model, clips = trained[1], tmp_path / "clips"
    clips.mkdir()
    still = np.array(Image.open(photo).convert("RGB"))
    for number in range(2):
        moving = np.stack([np.roll(still, 3 * step, axis=1) for step in range(12)])
        write_clip(Clip(moving, 8), clips / f"{number}.mp4")
        (clips / f"{number}.txt").write_text("the camera pans right")
    run("finetune", "--clips", clips, "--model", model, "--output", tmp_path / "tuned", "--max-steps", 2, "--rank", 2)
    run("animate", photo, "--model", model, "--lora", tmp_path / "tuned", "--output", tmp_path / "clip.mp4")
    assert read_metadata(tmp_path / "clip.mp4")["lora"].endswith("2 steps")
