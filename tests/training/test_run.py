"""Whole runs of the tiny preset: they resume from any kill, stop in time, and end in a model that opens."""

import json
import math
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
from accelerate.state import AcceleratorState
from safetensors.torch import load_file

from trip.cli import main
from trip.data.cache import LatentCache
from trip.pipeline import TripPipeline
from trip.settings import PRESETS, AnimateSettings, Preset, changed
from trip.training.run import TrainingRun

ROOT = Path(__file__).parents[2]
TINY = PRESETS["tiny"]
STAGES = {
    "vae": TINY.recipe.vae,
    "text": TINY.recipe.text,
    "sentences": TINY.recipe.sentences,
    "field": TINY.recipe.field,
    "half-size": TINY.recipe.half_size,
    "denoiser": TINY.recipe.denoiser,
}
WEIGHTS = [f"{part}/diffusion_pytorch_model.safetensors" for part in ("vae", "unet", "fusion")] + ["text_encoder/model.safetensors"]


@pytest.fixture(scope="module")
def unbroken(photos, tmp_path_factory) -> Path:
    """A run from beginning to end."""
    folder = tmp_path_factory.mktemp("unbroken") / "run"
    list(TrainingRun(TINY, folder, photos).stages())
    return folder


@pytest.fixture
def copy(unbroken, tmp_path) -> Path:
    """The same run, to go on with."""
    return Path(shutil.copytree(unbroken, tmp_path / "run"))


def metrics(folder: Path, stage: str) -> list[dict]:
    """The lines of a stage's steps."""
    lines = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    return [line for line in lines if line["stage"] == stage and "loss" in line]


def last_evaluation(folder: Path, stage: str) -> dict:
    """The line that a stage ends with."""
    lines = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    return [line for line in lines if line["stage"] == stage][-1]


def refusal(*arguments, **more) -> str:
    with pytest.raises(ValueError) as caught:
        TrainingRun(*arguments, **more)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def with_model(**values) -> Preset:
    return TINY.model_copy(update={"model": TINY.model.model_copy(update=values)})


def test_metrics_have_each_step_of_each_stage_once(unbroken):
    for name, settings in STAGES.items():
        lines = metrics(unbroken, name)
        assert [line["step"] for line in lines] == list(range(settings.max_steps))
        assert all(math.isfinite(line["loss"]) and line["seconds"] > 0 for line in lines)


def test_the_last_evaluation_of_a_stage_is_kept(unbroken):
    for name, figure in (("vae", "psnr"), ("text", "read_right"), ("denoiser", "held_out_loss")):
        line = last_evaluation(unbroken, name)
        assert line["step"] == STAGES[name].max_steps and math.isfinite(line[figure])


def test_metrics_of_the_denoiser_have_every_path_by_noise_level(unbroken):
    for line in metrics(unbroken, "denoiser"):
        assert set(line["by_noise"]) <= set("01234") and line["by_noise"]
        assert all(set(paths) == {"fused", "unet", "prior"} for paths in line["by_noise"].values())


def test_samples_are_drawn_for_every_stage(unbroken):
    for name in STAGES:
        assert all(path.stat().st_size > 0 for path in (unbroken / name / "samples").iterdir())
        assert len(list((unbroken / name / "samples").iterdir())) >= 1


def test_the_model_opens_and_animates(unbroken, photo):
    pipe = TripPipeline.from_pretrained(unbroken / "model")
    pipe.set_progress_bar_config(disable=True)
    output = pipe.animate(photo, AnimateSettings(prompt="the camera pans right", seed=1))
    assert output.frames.shape == (4, 32, 32, 3)
    assert not list((unbroken / "model").rglob("*.bin"))


def test_the_model_scales_its_latents_to_unit_variance(unbroken):
    latents = LatentCache(unbroken / "clips-32").latents.float()
    assert latents.transpose(0, 1).flatten(1).std(dim=1).tolist() == pytest.approx([1] * 4, abs=0.5)


def test_weights_of_the_model_are_the_averaged_ones(unbroken):
    raw = load_file(unbroken / "denoiser" / "step-0000004" / "model.safetensors")
    averaged = load_file(unbroken / "model" / WEIGHTS[1])
    name = "conv_in.weight"
    step = (raw[f"unet.{name}"] - averaged[name].float()).abs().max().item()
    assert 1e-4 < step < 0.1


KILLED = """
import os, signal, sys
from trip.cli import main
from trip.training.stages.denoiser import DenoiserStage
def killed(stage, path):
    if stage.name == "denoiser" and path.stem == "0000004":
        os.kill(os.getpid(), signal.SIGKILL)
    sample(stage, path)
sample, DenoiserStage.sample = DenoiserStage.sample, killed
main(sys.argv[1:])
"""


def test_killed_while_training_the_same_command_resumes(unbroken, photos, tmp_path, capsys):
    """A real SIGKILL of a process, two steps beyond the denoiser's last checkpoint; all is then as in the run that nobody killed."""
    run = tmp_path / "run"
    command = ["train", "--preset", "tiny", "--photos", str(photos), "--output", str(run)]
    done = subprocess.run([sys.executable, "-c", KILLED, *command], cwd=ROOT, capture_output=True, text=True, timeout=120)
    assert done.returncode == -signal.SIGKILL and not (run / "model").exists(), done.stderr
    assert [path.name for path in (run / "denoiser").glob("step-*")] == ["step-0000002"] and len(metrics(run, "denoiser")) == 4

    assert main(command) == 0
    assert capsys.readouterr().out.strip() == str(run / "model")
    for name in STAGES:
        again, whole = metrics(run, name), metrics(unbroken, name)
        assert [line["step"] for line in again] == [line["step"] for line in whole]
        assert [line["loss"] for line in again] == pytest.approx([line["loss"] for line in whole], rel=1e-5)
    for path in WEIGHTS:
        again, whole = load_file(run / "model" / path), load_file(unbroken / "model" / path)
        assert all(torch.allclose(again[key].float(), whole[key].float(), atol=1e-3) for key in whole)


def test_a_deadline_in_the_last_stage_still_writes_a_model_that_opens(copy, photos):
    """The finished stages are passed over, the last one is asked for more steps than there is time for."""
    shutil.rmtree(copy / "model")
    recipe = TINY.recipe.model_copy(update={"denoiser": TINY.recipe.denoiser.model_copy(update={"max_steps": 100_000})})
    run = TrainingRun(TINY.model_copy(update={"recipe": recipe}), copy, photos)
    steps = []
    for record in run.stages():
        if record["stage"] == "clips-32-held-out":  # the last thing before the denoiser
            run.deadline = time.monotonic() + 0.5
        steps.append((record["stage"], record["step"]))
    assert [step for stage, step in steps if stage == "denoiser"][:1] in ([], [4])
    assert len(metrics(copy, "denoiser")) < 100
    assert isinstance(TripPipeline.from_pretrained(copy / "model"), TripPipeline)


def test_a_base_gives_autoencoder_and_text_encoder_as_they_are_and_every_other_stage_runs_in_bfloat16(unbroken, photos, tmp_path):
    AcceleratorState._reset_state(reset_partial_state=True)  # one process may have one precision alone
    run, recipe = tmp_path / "run", TINY.recipe.model_copy(update={"precision": "bf16"})
    records = list(TrainingRun(TINY.model_copy(update={"recipe": recipe}), run, photos, base=unbroken / "model").stages())
    AcceleratorState._reset_state(reset_partial_state=True)
    assert {record["stage"] for record in records} == {
        "clips-16",
        "clips-16-held-out",
        "moments-32",
        "moments-32-held-out",
        "field",
        "half-size",
        "clips-32",
        "clips-32-held-out",
        "denoiser",
    }
    for path in (WEIGHTS[0], WEIGHTS[3]):
        before, after = load_file(unbroken / "model" / path), load_file(run / "model" / path)
        assert all(torch.equal(before[key], after[key]) for key in before)
    for name in ("field", "half-size", "denoiser"):
        assert math.isfinite(last_evaluation(run, name)["held_out_loss"])


def test_init_starts_from_the_weights_of_a_checkpoint(unbroken, photos, tmp_path):
    settings = TINY.recipe.denoiser.model_copy(update={"max_steps": 1, "learning_rate": 0.0})
    recipe = TINY.recipe.model_copy(update={"sentences": None, "field": None, "half_size": None, "denoiser": settings})
    run = tmp_path / "run"
    list(TrainingRun(TINY.model_copy(update={"recipe": recipe}), run, photos, init=unbroken / "model").stages())
    before, after = (load_file(folder / "model" / WEIGHTS[1]) for folder in (unbroken, run))
    assert all(torch.equal(before[key], after[key]) for key in before)


def test_init_of_another_size_is_refused_in_one_line(unbroken, photos, tmp_path):
    wider = TINY.model.unet.model_copy(update={"block_channels": (8, 24)})
    run = TrainingRun(with_model(unet=wider), tmp_path / "run", photos, init=unbroken / "model")
    with pytest.raises(ValueError, match="wanted a model of this preset's sizes, got another; choose its preset$"):
        list(run.stages())


def test_waves_alone_are_learnt_where_asked(photos, unbroken, tmp_path):
    """All else of the photo's motion stays as it was given, beside the denoising loss too."""
    settings = {"model.unet.scene_frequencies": 2, "recipe.field_trains": "waves", "recipe.swaying_moments": 0.5}
    preset = changed(TINY, {**settings, "recipe.sentences": None, "recipe.half_size": None})
    with pytest.raises(ValueError, match="swaying_moments or swaying_clips: wanted photos of the kinds .*sea.*, got none"):
        list(TrainingRun(preset, tmp_path / "none", photos, init=unbroken / "model").stages())
    seaside = shutil.copytree(photos, tmp_path / "photos")
    (seaside / "photos.csv").write_text("file,category\n" + "".join(f"{path.name},sea\n" for path in photos.iterdir()))
    list(TrainingRun(preset, tmp_path / "run", seaside, init=unbroken / "model").stages())
    given, learnt = (load_file(folder / WEIGHTS[1]) for folder in (unbroken / "model", tmp_path / "run" / "model"))
    warp = [name for name in given if name.startswith("warp.")]
    assert warp and all(torch.equal(given[name], learnt[name]) for name in warp)
    assert learnt["warp.waves.pattern.3.weight"].abs().max() > 0  # zero at first
    with pytest.raises(ValueError, match="set model.unet.scene_frequencies"):
        TrainingRun(changed(TINY, {"recipe.field_trains": "waves"}), tmp_path / "other", photos)


def test_the_photos_motion_stays_as_given_where_asked(photos, unbroken, tmp_path):
    preset = changed(TINY, {"recipe.field_trains": "none", "recipe.sentences": None, "recipe.half_size": None})
    records = list(TrainingRun(preset, tmp_path / "run", photos, init=unbroken / "model").stages())
    assert not {record["stage"] for record in records} & {"field", f"moments-{TINY.model.frame_size}"}
    given, learnt = (load_file(folder / WEIGHTS[1]) for folder in (unbroken / "model", tmp_path / "run" / "model"))
    same = {name for name in given if torch.equal(given[name], learnt[name])}
    assert {name for name in given if name.startswith("warp.")} <= same < set(given)
    with pytest.raises(ValueError, match="field_trains: .* name a model with --init$"):
        TrainingRun(preset, tmp_path / "other", photos)


def test_init_keeps_its_schedule_and_a_chosen_other_one_is_refused(unbroken, photos, tmp_path):
    other = changed(TINY, {"model.schedule.kind": "scaled_linear"})
    assert TrainingRun(other, tmp_path / "run", photos, init=unbroken / "model").preset.model == TINY.model
    with pytest.raises(ValueError, match="^model.schedule.kind: wanted scaled_linear, but the weights of model go with linear"):
        TrainingRun(other, tmp_path / "run", photos, init=unbroken / "model", chosen=["schedule.kind"])


def test_max_minutes_set_the_deadline(photos, tmp_path):
    left = TrainingRun(TINY, tmp_path / "run", photos, max_minutes=2).deadline - time.monotonic()
    assert 110 < left <= 120


def test_a_run_without_time_names_no_model_that_is_not_there(photos, tmp_path, capsys):
    run = tmp_path / "run"
    main(["train", "--preset", "tiny", "--photos", str(photos), "--output", str(run), "--max-minutes", "0"])
    told = capsys.readouterr()
    assert told.out == "" and "the time was up before there was a model" in told.err and not (run / "model").exists()


@pytest.mark.parametrize("values", [{"variant": "trip-w"}, {"frame_size": 64}, {"num_frames": 5}])
def test_a_folder_of_another_model_is_refused(copy, photos, values):
    before = (copy / "settings.json").read_text()
    assert copy.name in refusal(with_model(**values), copy, photos)
    assert (copy / "settings.json").read_text() == before


def test_a_folder_of_another_seed_is_refused(copy, photos):
    before = (copy / "settings.json").read_text()
    assert copy.name in refusal(TINY, copy, photos, seed=1)
    assert (copy / "settings.json").read_text() == before


def test_a_folder_of_other_photos_is_refused(copy, photos, tmp_path):
    before = (copy / "settings.json").read_text()
    others = shutil.copytree(photos, tmp_path / "others")
    (others / "photos.csv").write_text(f"file,caption\n{next(others.glob('*.*g')).name},something else\n")
    assert "holds a run of another data" in refusal(TINY, copy, others)
    assert (copy / "settings.json").read_text() == before
    settings = json.loads(before)
    del settings["data"]
    (copy / "settings.json").write_text(json.dumps(settings))  # as an older run had it
    TrainingRun(TINY, copy, photos)
    assert json.loads((copy / "settings.json").read_text()) == json.loads(before)


def test_photos_that_are_not_there_are_refused_before_anything_is_written(tmp_path):
    refusal(TINY, tmp_path / "run", tmp_path / "nowhere")
    assert not (tmp_path / "run").exists()


def test_a_preset_that_cannot_be_trained_from_scratch_is_refused(photos, tmp_path, capsys):
    assert main(["train", "--preset", "paper", "--photos", str(photos), "--output", str(tmp_path / "run")]) == 2
    assert capsys.readouterr().err.count("\n") == 1


@pytest.mark.parametrize("bad", [["--max-steps", "0"], ["--output", "{file}"], ["--clips", "nowhere"], ["--seed", "-1"]])
def test_bad_flags_of_train_are_one_line(photos, tmp_path, capsys, bad):
    (tmp_path / "file").touch()
    bad = [word.format(file=tmp_path / "file") for word in bad]
    assert main(["train", "--preset", "tiny", "--photos", str(photos), "--output", str(tmp_path / "run"), *bad]) == 2
    error = capsys.readouterr().err
    assert error.startswith("trip: ") and error.count("\n") == 1
