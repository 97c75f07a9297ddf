"""A video model by others through every front door: the command line, jobs, the studio behind the page."""

import json
import shutil
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from tests.evaluation.test_clip_sets import film
from trip.cli import main
from trip.jobs.handlers import figure
from trip.jobs.handlers.animate import INSIDE, VIDEO_MODEL
from trip.jobs.store import Job, State
from trip.media import read_clip, read_metadata
from trip.settings import AnimateSettings
from trip.ui.panels.figure import _shown
from trip.ui.panels.models import cards_of
from trip.ui.studio import Studio

QUICK = ["--num-steps", "4", "--seed", "3", "--prompt", "a red house"]


@pytest.fixture
def photo(landscape: Image.Image, tmp_path: Path) -> Path:
    landscape.save(tmp_path / "photo.png")
    return tmp_path / "photo.png"


def refused(capsys: pytest.CaptureFixture[str], *words: object) -> str:
    """The line that a refused command ends in."""
    assert main(list(map(str, words))) == 2
    lines = [line for line in capsys.readouterr().err.splitlines() if line.startswith("trip: ")]
    assert lines
    return lines[-1]


# the command line


@pytest.mark.parametrize("name", ["animatediff", "wan-ti2v-5b", "svd-xt"])
def test_animate_takes_its_name_or_its_folder(video_models, photo, tmp_path, name):
    asked = ["animate", photo, *QUICK, "--models", video_models]
    assert main([*map(str, asked), "--model", name, "--output", str(tmp_path / "one.mp4")]) == 0
    one = read_clip(tmp_path / "one.mp4")
    assert one.frames.shape[1] == one.frames.shape[2] and one.metadata["seed"] == 3 and one.metadata["model"] != "embedded"
    if name == "animatediff":  # a motion module has no folder of a whole model
        return
    asked = ["animate", photo, *QUICK, "--model", video_models / name, "--output", tmp_path / "other.mp4"]
    assert main(list(map(str, asked))) == 0
    assert read_clip(tmp_path / "other.mp4").frames.shape == one.frames.shape


def test_a_size_renders_it_and_the_frame_rate_then_counts(video_models, photo, tmp_path):
    asked = ["animate", photo, *QUICK, "--model", "modelscope", "--models", video_models, "--num-frames", 4, "--size", "photo"]
    assert main([*map(str, asked), "--output", str(tmp_path / "clip.mp4")]) == 0
    clip = read_clip(tmp_path / "clip.mp4")
    assert (clip.fps, clip.frames.shape) == (24, (12, 128, 128, 3))


def test_what_it_cannot_or_what_is_not_here_ends_in_one_line(video_models, photo, tmp_path, capsys):
    output = ["--output", tmp_path / "clip.mp4"]
    line = refused(capsys, "animate", photo, "--model", "animatediff", "--models", tmp_path, *output)
    assert "python -m trip models --fetch animatediff" in line
    line = refused(capsys, "animate", photo, "--model", "svd-xt", "--models", video_models, "--loop", *output)
    assert "cannot come back to its photo" in line
    line = refused(capsys, "animate", photo, "--model", "modelscope", "--models", video_models, "--last-photo", photo, *output)
    assert "cannot arrive at a last photo" in line
    assert not (tmp_path / "clip.mp4").exists()


def test_compare_makes_one_clip_each_on_one_clock(video_models, photo, tmp_path, capsys):
    names = "trip,modelscope,svd-xt,nobody,wan-ti2v-5b"
    asked = ["compare", photo, *QUICK, "--models", names, "--models-folder", video_models, "--output", tmp_path / "out"]
    assert main(list(map(str, asked))) == 0
    told = capsys.readouterr()
    assert "nobody: left out:" in told.err and "| model | frames | size | seconds |" in told.out
    report = json.loads((tmp_path / "out" / "report.json").read_text())
    assert [row["name"] for row in report["rows"]] == ["trip", "modelscope", "svd-xt", "wan-ti2v-5b"]
    assert len(report["left_out"]) == 1 and all(row["seed"] == 3 and row["seconds"] >= 0 for row in report["rows"])
    seconds = max(row["frames"] / row["fps"] for row in report["rows"])
    beside = read_clip(tmp_path / "out" / "side-by-side.mp4")
    assert beside.fps == 24 and len(beside.frames) == round(seconds * 24) and beside.frames.shape[2] > 3 * beside.frames.shape[1]
    for row in report["rows"]:
        assert read_metadata(tmp_path / "out" / row["file"])["seed"] == 3
    trip, modelscope = report["rows"][:2]
    assert trip["first_frame_db"] > modelscope["first_frame_db"] and trip["prior"] == "trained" and modelscope["prior"] == "holds the clip"
    assert (modelscope["width"], modelscope["height"]) == (32, 32)
    assert Image.open(tmp_path / "out" / "sheet.png").width > 100


def test_compare_takes_all_that_are_here_and_keeps_two_of_one_name_apart(video_models, photo, tmp_path, capsys):
    for folder in ("models", "other"):
        shutil.copytree(video_models / "modelscope", tmp_path / folder / "mine")
    asked = ["compare", photo, *QUICK, "--num-frames", 3, "--models-folder", tmp_path / "models", "--output", tmp_path / "all"]
    assert main(list(map(str, asked))) == 0
    assert [row["name"] for row in json.loads((tmp_path / "all" / "report.json").read_text())["rows"]] == ["trip", "mine"]
    names = f"{tmp_path / 'models' / 'mine'},{tmp_path / 'other' / 'mine'}"
    assert main(["compare", str(photo), *QUICK, "--num-frames", "3", "--models", names, "--output", str(tmp_path / "two")]) == 0
    rows = json.loads((tmp_path / "two" / "report.json").read_text())["rows"]
    assert [row["file"] for row in rows] == ["1-mine.mp4", "2-mine.mp4"] and all((tmp_path / "two" / row["file"]).exists() for row in rows)


@pytest.mark.parametrize("names", ["trip,trip", " , ", "x/mine,x/mine/"])
def test_compare_wants_different_names(photo, tmp_path, capsys, names):
    assert "wanted different names with commas between them" in refused(
        capsys, "compare", photo, "--models", names, "--output", tmp_path / "out"
    )
    assert not (tmp_path / "out").exists()


def test_compare_without_a_clip_is_refused(photo, tmp_path, capsys):
    line = refused(capsys, "compare", photo, "--models", "nobody", "--output", tmp_path / "out")
    assert line == "trip: no model made a clip; see above why"


def test_evaluate_generate_measures_it_like_a_checkpoint(video_models, tmp_path, capsys):
    data = tmp_path / "films"
    data.mkdir()
    film(data / "one.mp4", num_frames=30, fps=8)
    asked = ["evaluate", "generate", data, "--model", "modelscope", "--models", video_models, "--num-steps", 4, "--num-frames", 4]
    asked += ["--size", 32]
    assert main([*map(str, asked), "--fps", "8", "--output", str(tmp_path / "run")]) == 0
    run = json.loads((tmp_path / "run" / "run.json").read_text())
    assert run["system"] == "ModelScopeT2V 1.7B" and run["settings"]["fps"] == 8
    (made,) = (tmp_path / "run" / "network").iterdir()
    (real,) = (tmp_path / "run" / "real").iterdir()
    first = [np.asarray(Image.open(folder / "000.png")) for folder in (made, real)]
    assert np.array_equal(*first) and not (tmp_path / "run" / "rendered").exists()
    assert "draws 8 frames a second, got 4" in refused(capsys, *asked, "--fps", 4, "--output", tmp_path / "other")


def test_the_list_says_licence_memory_and_where_each_is(video_models, capsys):
    assert main(["models", "--models", str(video_models)]) == 0
    told = capsys.readouterr().out
    assert "computed memory of a GPU: 29.6 GB, part by part 15.4 GB, layer by layer (slow) 7.5 GB" in told
    assert f"here: {video_models / 'modelscope'}; CC BY-NC 4.0" in told


def test_what_is_not_free_says_so_before_it_is_fetched(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    assert main(["models", "--fetch", "modelscope", "--models", str(tmp_path)]) == 2
    lines = capsys.readouterr().err.splitlines()
    assert lines[0].startswith("trip: ModelScopeT2V 1.7B is under CC BY-NC 4.0: not for commercial use")
    assert "cannot be fetched: HF_HUB_OFFLINE is set" in lines[-1]


def test_pickled_weights_are_written_as_safetensors_and_nothing_in_them_is_run(video_models, photo, tmp_path, capsys):
    folder = shutil.copytree(video_models / "modelscope", tmp_path / "zeroscope")
    from safetensors.torch import load_file

    for part, name, pickled in (("unet", "diffusion_pytorch_model", "diffusion_pytorch_model"), ("text_encoder", "model", "pytorch_model")):
        path = folder / part / f"{name}.safetensors"
        torch.save(load_file(path), folder / part / f"{pickled}.bin")
        path.unlink()
    assert main(["models", "--convert", str(folder)]) == 0
    assert capsys.readouterr().out.splitlines() == [
        str(folder / "text_encoder" / "model.safetensors"), str(folder / "unet" / "diffusion_pytorch_model.safetensors")
    ]  # fmt: skip
    asked = ["animate", photo, *QUICK, "--num-frames", 3, "--model", folder, "--output", tmp_path / "clip.mp4"]
    assert main(list(map(str, asked))) == 0
    assert main(["models", "--convert", str(folder)]) == 0  # they are there already
    assert "found none; check the name" in refused(capsys, "models", "--convert", tmp_path / "none")
    assert "found none; check the name" in refused(capsys, "models", "--convert", video_models / "svd-xt")
    torch.save({0: torch.zeros(1)}, folder / "vae" / "diffusion_pytorch_model-00001-of-00002.bin")
    assert "in one file, got a part of them" in refused(capsys, "models", "--convert", folder)
    (folder / "vae" / "diffusion_pytorch_model-00001-of-00002.bin").unlink()
    (folder / "vae" / "diffusion_pytorch_model.safetensors").unlink()
    torch.save({"weight": Path("a path is no tensor")}, folder / "vae" / "diffusion_pytorch_model.bin")
    assert "wanted a file of tensors, got another" in refused(capsys, "models", "--convert", folder)


# jobs, and the studio behind the page


@pytest.fixture
def studio(tiny_model: Path, video_models: Path, tmp_path: Path) -> Iterator[Studio]:
    studio = Studio(str(tiny_model), tmp_path / "outputs", models=video_models)
    yield studio
    studio.close()


def finished(studio: Studio, job: Job) -> Job:
    studio.worker.work_until(job.id)
    return studio.store.get(job.id)


SHORT = AnimateSettings(num_steps=4, prompt="a red house", seed=3)


def test_a_job_by_others_becomes_a_clip_and_so_do_those_that_are_made_of_it(studio, photo):
    job = finished(studio, studio.animate("me", str(photo), SHORT, **{VIDEO_MODEL: "modelscope"}))
    assert job.state == State.DONE, job.error
    assert job.result["settings"]["model"] == "ModelScopeT2V 1.7B" and job.result["fps"] == 8 and job.result["num_frames"] == 16
    assert read_clip(studio.clip_of(job)).frames.shape == (16, 32, 32, 3)
    assert job.result["figures"][0][0] == "First frame" and job.result["expected_seconds"] is None
    assert not (studio.store.folder_of(job) / INSIDE).exists()
    with pytest.raises(ValueError):
        studio.inside(job.id, "me")
    again = finished(studio, studio.rerun(job.id, "me", seed=4))
    assert again.state == State.DONE and again.settings[VIDEO_MODEL] == "modelscope" and again.result["seed"] == 4
    draft = finished(studio, studio.draft("me", str(photo), SHORT.model_copy(update={"num_steps": None}), **{VIDEO_MODEL: "animatelcm"}))
    assert draft.result["settings"]["num_steps"] == 2
    gone_on = finished(studio, studio.continue_clip(job.id, "me"))
    assert gone_on.state == State.DONE, gone_on.error
    assert gone_on.result["num_frames"] == 31


@pytest.mark.parametrize(
    "name, changes, more, words",
    [
        ("nobody", {}, {}, "there is no video model 'nobody' here; choose animatediff, animatelcm"),
        (3, {}, {}, "there is no video model '3' here"),
        ("../../etc", {}, {}, "there is no video model"),
        ("modelscope", {"loop": True}, {}, "ModelScopeT2V 1.7B cannot do with Close the loop"),
        ("modelscope", {}, {"lora": "x"}, "cannot do with a fine-tune"),
    ],
)
def test_what_it_cannot_is_told_before_a_job_is_made(studio, photo, name, changes, more, words):
    with pytest.raises(ValueError, match=words):
        studio.animate("me", str(photo), SHORT.model_copy(update=changes), **{VIDEO_MODEL: name}, **more)
    assert studio.store.jobs() == []


FRAMES = {"animatediff": 3, "animatelcm": 3, "text2video-zero": 3, "modelscope": 3, "i2vgen-xl": 3, "wan-ti2v-5b": 5}
FRAMES |= {"cogvideox-i2v": 9, "ltx": 9, "svd-xt": 3}


@pytest.mark.parametrize("name", FRAMES)
def test_every_row_makes_one_clip_by_the_command_line_and_as_a_job(studio, video_models, photo, tmp_path, name):
    words = ["animate", photo, *QUICK, "--num-frames", FRAMES[name], "--model", name, "--models", video_models]
    assert main([*map(str, words), "--output", str(tmp_path / "clip.mp4")]) == 0
    settings = SHORT.model_copy(update={"num_frames": FRAMES[name]})
    job = finished(studio, studio.animate("me", str(photo), settings, **{VIDEO_MODEL: name}))
    assert job.state == State.DONE, job.error
    clips = [read_clip(path) for path in (tmp_path / "clip.mp4", studio.clip_of(job))]
    assert len(clips[0].frames) == FRAMES[name] and np.array_equal(clips[0].frames, clips[1].frames)
    assert {clip.metadata["model"] for clip in clips} == {studio.video_model(name).title}


def test_what_was_found_when_it_was_asked_is_opened_and_nothing_else(studio, video_models, photo, tmp_path, monkeypatch):
    """A job whose model is gone opens none of another place, and visitors read no path."""
    models = tmp_path / "models"
    shutil.copytree(video_models / "modelscope", models / "mine")
    shutil.copytree(video_models / "modelscope", tmp_path / "mine")
    monkeypatch.chdir(tmp_path)
    studio.models = models
    job = studio.animate("me", str(photo), SHORT, **{VIDEO_MODEL: "mine"})
    shutil.rmtree(models / "mine")
    job = finished(studio, job)
    assert job.state == State.FAILED and job.error.startswith("there is no video model 'mine' here")
    with pytest.raises(ValueError, match="ModelScopeT2V 1.7B: not on this machine yet, about 3.7 GB; get it first") as refused:
        studio.animate("me", str(photo), SHORT, **{VIDEO_MODEL: "modelscope"})
    assert str(models) not in str(refused.value)


def test_nobody_waits_for_it_without_end(studio, photo, monkeypatch):
    monkeypatch.setattr("trip.jobs.worker.LONGEST_SECONDS", 0.2)
    first = studio.animate("me", str(photo), SHORT.model_copy(update={"num_steps": 200}), **{VIDEO_MODEL: "modelscope"})
    second = studio.animate("you", str(photo), SHORT.model_copy(update={"num_frames": 4}))
    assert finished(studio, first).state == State.FAILED and "fewer steps or frames" in studio.store.get(first.id).error
    assert finished(studio, second).state == State.DONE


def test_a_visitor_cannot_name_a_folder_but_the_one_the_app_was_started_with_is_there(video_models, photo, tmp_path):
    own = shutil.copytree(video_models / "svd-xt", tmp_path / "mine")
    studio = Studio(str(own), tmp_path / "outputs")
    try:
        assert studio.model is None and [model.name for model in studio.video_models()] == ["mine"] == [studio.first_choice]
        job = finished(studio, studio.animate("me", str(photo), SHORT.model_copy(update={"num_frames": 2}), **{VIDEO_MODEL: "mine"}))
        assert job.state == State.DONE and job.result["settings"]["model"] == "mine", job.error
        with pytest.raises(ValueError, match="there is no video model .* choose mine"):
            studio.animate("me", str(photo), SHORT, **{VIDEO_MODEL: str(own)})
        with pytest.raises(ValueError, match="there is no video model"):
            studio.animate("me", str(photo), SHORT, **{VIDEO_MODEL: str(video_models / "modelscope")})
    finally:
        studio.close()


def test_a_clip_is_compared_with_every_model_that_is_here(studio, photo, monkeypatch):
    here = [model for model in studio.video_models() if model.name in ("modelscope", "svd-xt")]
    monkeypatch.setattr(studio, "video_models", lambda: here)
    job = finished(studio, studio.animate("me", str(photo), SHORT.model_copy(update={"num_frames": 4})))
    last = studio.compare_models(job.id, "me")
    parts = [finished(studio, part) for part in figure.parts_of(studio.store, last)]
    assert [figure.label_of(part) for part in parts] == ["TRIP", "ModelScopeT2V 1.7B", "Stable Video Diffusion XT"]
    assert [part.state for part in parts] == [State.DONE] * 3, [part.error for part in parts]
    assert {part.result["seed"] for part in parts} == {3} and len({studio.photo_of(part) for part in parts}) == 3
    box, clips, missing, download = _shown(studio, parts[-1])
    assert clips.count("&quot;src&quot;") == 3 and clips.count('scope="row"') == 3 and "Photo kept" in clips
    assert read_clip(download["value"]).fps == 24


def test_a_model_that_cannot_is_left_out_of_a_comparison_and_told(studio, photo, monkeypatch):
    asked = []

    def animate(more, **joined):
        asked.append(more)
        if more == "broken":
            raise ValueError("it cannot")
        return studio.animate("me", str(photo), SHORT, **joined)

    job = figure.ask({"one": "broken", "two": "fine"}, [], animate)
    assert asked == ["broken", "fine"] and job.settings[figure.FIGURE]["missing"] == ["one: it cannot"]
    with pytest.raises(ValueError, match="it cannot"):
        figure.ask({"one": "broken"}, [], animate)


def test_without_another_model_there_is_nothing_to_compare(tiny_model, photo, tmp_path):
    studio = Studio(str(tiny_model), tmp_path / "outputs")
    try:
        job = finished(studio, studio.animate("me", str(photo), SHORT))
        with pytest.raises(ValueError, match="there is no other video model on this machine yet"):
            studio.compare_models(job.id, "me")
    finally:
        studio.close()


def test_a_job_by_others_ends_where_it_is_stopped(studio, photo):
    job = studio.animate("me", str(photo), SHORT.model_copy(update={"num_steps": 200}), **{VIDEO_MODEL: "modelscope"})
    seen = []
    report = type(studio.store).report

    def stop_after_a_step(store, job_id, fraction, words):
        seen.append(words)
        if words.startswith("Step 2"):
            studio.stop("me", job_id)
        return report(store, job_id, fraction, words)

    studio.store.report = stop_after_a_step.__get__(studio.store)
    studio.worker.work_until(job.id)
    assert studio.store.get(job.id).state == State.CANCELLED
    assert sum(words.startswith("Step") for words in seen) < 20


def test_the_cards_say_licence_and_memory(studio):
    shown = cards_of(studio)
    assert "computed memory of a GPU: 4.4 GB" in shown and "CC BY-NC 4.0" in shown and "<h2>Clips</h2>" in shown
