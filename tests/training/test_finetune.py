"""Fine-tuning on a few clips: what is written, resumed, obeyed, refused. Tiny random models, clips made here."""

import json
import math
import resource
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch

from trip.cli import main
from trip.data.clips import ClipFile
from trip.media import Clip, read_clip, read_metadata, write_clip
from trip.model.lora import read_card
from trip.pipeline import TripPipeline
from trip.settings import AnimateSettings, FinetuneSettings
from trip.training.finetune import plan as finetune_plan
from trip.training.finetune import run as finetune
from trip.training.finetune.plan import Memory
from trip.training.finetune.run import FinetuneRun, data_digest
from trip.training.finetune.stage import ClipsStage
from trip.training.requests import ask

ROOT = Path(__file__).parents[2]
SHORT = {"max_steps": 4, "sample_every": 2, "rank": 2, "batch_size": 1}


def write_moving_square(path: Path, phase: int, num_frames: int = 8) -> None:
    """A bright square that jumps up and down."""
    frames = np.full((num_frames, 32, 32, 3), 40, np.uint8)
    for index, frame in enumerate(frames):
        top = 4 + 12 * ((index + phase) % 2)
        frame[top : top + 8, 4 + phase : 12 + phase] = 220
    write_clip(Clip(frames, 8.0), path)


@pytest.fixture(scope="module", autouse=True)
def few_windows() -> Iterator[None]:
    """Encoding is most of what a short run costs; some windows show as much."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(finetune, "WINDOWS_EACH", 3)
        patch.setattr(finetune, "HELD_OUT_WINDOWS", 4)
        yield


@pytest.fixture(scope="module")
def clips(tmp_path_factory) -> Path:
    """Five clips, two of them with words beside them."""
    folder = tmp_path_factory.mktemp("clips")
    for phase in range(5):
        write_moving_square(folder / f"jumping_square_{phase}.mp4", phase)
    for phase in range(2):
        (folder / f"jumping_square_{phase}.txt").write_text("a square jumps")
    return folder


@pytest.fixture(scope="module")
def tiny(tiny_model) -> TripPipeline:
    """The tiny model, opened once."""
    return TripPipeline.from_pretrained(tiny_model)


def a_run(tiny: TripPipeline, clips: Path, folder: Path, **settings) -> FinetuneRun:
    files = [ClipFile(path, "a square jumps") for path in sorted(clips.glob("*.mp4"))]
    return FinetuneRun(tiny, files[1:], files[:1], folder, FinetuneSettings(**{**SHORT, **settings}))


@pytest.fixture(scope="module")
def unbroken(tiny, clips, tmp_path_factory) -> Path:
    """A run from beginning to end."""
    folder = tmp_path_factory.mktemp("unbroken") / "run"
    list(a_run(tiny, clips, folder).steps())
    return folder


@pytest.fixture
def begun(unbroken, tmp_path) -> Path:
    """The same run, to go on with."""
    return Path(shutil.copytree(unbroken, tmp_path / "run"))


@pytest.fixture
def encoded(unbroken, tmp_path) -> Path:
    """The same run before its first step: the clips are encoded and the base is measured."""
    return Path(shutil.copytree(unbroken, tmp_path / "run", ignore=shutil.ignore_patterns("finetune", "metrics.jsonl", "lora.safetensors")))


def metrics(folder: Path) -> list[dict]:
    return [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]


def losses(folder: Path) -> dict[int, float]:
    return {line["step"]: line["loss"] for line in metrics(folder) if "loss" in line}


def refusal(call, *arguments, **more) -> str:
    with pytest.raises(ValueError) as caught:
        call(*arguments, **more)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_a_line_a_step_with_raw_and_smoothed_loss_and_seconds(unbroken):
    lines = [line for line in metrics(unbroken) if "loss" in line]
    assert [line["step"] for line in lines] == [0, 1, 2, 3]
    assert all(math.isfinite(line["loss"]) and line["smoothed"] > 0 and line["seconds"] > 0 for line in lines)
    assert lines[1]["smoothed"] == pytest.approx(0.95 * lines[0]["loss"] + 0.05 * lines[1]["loss"], abs=1e-5)


def test_held_out_loss_is_of_the_same_noise_each_time(unbroken):
    """Before anything is learnt it is the base's, whoever measures it."""
    told = [line["held_out_loss"] for line in metrics(unbroken) if "held_out_loss" in line]
    base = json.loads((unbroken / "base.json").read_text())["held_out_loss"]
    assert len(told) == 2 and all(abs(loss - base) / base < 0.2 for loss in told)


def test_samples_show_the_base_beside_the_model(unbroken):
    names = sorted(path.name for path in (unbroken / "finetune" / "samples").iterdir())
    assert names == ["0000002-0.mp4", "0000002.png", "0000004-0.mp4", "0000004.png"]
    assert read_clip(unbroken / "finetune" / "samples" / "0000004-0.mp4").frames.shape == (4, 32, 64, 3)


def test_the_lora_says_what_it_belongs_to(unbroken, tiny, clips):
    card = read_card(unbroken / "lora.safetensors")
    assert (card.base, card.base_digest, card.rank, card.layers) == (tiny.model_name, tiny.fingerprint, 2, "all")
    assert card.settings["max_steps"] == 4 and card.num_steps in (2, 4)
    assert card.figures["held_out_loss"] <= max(line["held_out_loss"] for line in metrics(unbroken) if "held_out_loss" in line)
    assert len(card.data_digest) == 16


def test_the_base_stays_as_it_is(tiny, tiny_model, unbroken):
    again = TripPipeline.from_pretrained(tiny_model)
    for name in ("unet", "fusion", "vae"):
        own, fresh = (getattr(pipe, name).state_dict() for pipe in (tiny, again))
        assert all(torch.equal(own[key], fresh[key]) for key in fresh)
    assert again.fingerprint == tiny.fingerprint


def test_a_pipeline_with_the_lora_moves_otherwise_and_says_so(unbroken, tiny, photo):
    tuned = tiny.with_lora(unbroken / "lora.safetensors")
    settings = AnimateSettings(prompt="a square jumps", seed=1)
    base, other = tiny.animate(photo, settings), tuned.animate(photo, settings)
    assert not np.array_equal(base.frames, other.frames)
    assert "With a LoRA on top" in tuned.weights_card and other.metadata["lora"] and "lora" not in base.metadata


def test_merged_changes_equal_those_that_were_trained(unbroken, tiny, clips, photo, begun):
    """What training sampled with, adapter in place, is what a merged pipeline gives, up to half precision."""
    run = a_run(tiny, clips, begun)
    list(run.steps())  # nothing left to do; the averaged weights are put in place
    run.pipe.unet.eval()
    run._write_result({"held_out_loss": 0.0})
    settings = AnimateSettings(prompt="a square jumps", seed=1, num_steps=1)
    trained, merged = run.pipe.animate(photo, settings), tiny.with_lora(begun / "lora.safetensors").animate(photo, settings)
    assert np.abs(trained.frames.astype(int) - merged.frames).mean() < 0.5


def test_all_weights_end_in_a_pipeline_folder(tiny, clips, tmp_path, photo):
    run = a_run(tiny, clips, tmp_path / "run", what="all", max_steps=2)
    list(run.steps())
    assert run.result() == tmp_path / "run" / "model"
    tuned = TripPipeline.from_pretrained(run.result())
    assert tuned.fingerprint != tiny.fingerprint and run.result_card().num_steps == 2
    assert tuned.animate(photo, AnimateSettings(num_steps=1)).frames.shape == (4, 32, 32, 3)


def test_a_stop_in_the_middle_goes_on_as_if_it_never_was(unbroken, tiny, clips, encoded):
    for record in a_run(tiny, clips, encoded).steps():
        if record.get("step") == 1 and "loss" in record:
            ask(encoded, "stop")
    assert set(losses(encoded)) == {0, 1} and (encoded / "lora.safetensors").exists()
    list(a_run(tiny, clips, encoded).steps())
    assert losses(encoded) == losses(unbroken)


def test_sample_and_save_now_do_not_change_the_training(unbroken, tiny, clips, encoded):
    for record in a_run(tiny, clips, encoded).steps():
        if "loss" in record and record["step"] == 0:
            ask(encoded, "sample")
            ask(encoded, "save")
    assert losses(encoded) == losses(unbroken)
    assert (encoded / "finetune" / "samples" / "0000001.png").exists()


def test_minutes_end_a_call_and_the_next_goes_on(unbroken, tiny, clips, encoded):
    for calls in (1, 2):  # each takes a step, though its time is over before the first
        run = a_run(tiny, clips, encoded)
        run.settings = run.settings.model_copy(update={"max_minutes": 1e-9})
        list(run.steps())
        assert losses(encoded) == dict(list(losses(unbroken).items())[:calls])


KILLED = """
import os, signal, sys
from trip.cli import main
from trip.training.finetune import run as finetune
def killed(*arguments, **more):
    for record in train(*arguments, **more):
        yield record
        if record["step"] == 2 and "loss" in record:
            os.kill(os.getpid(), signal.SIGKILL)
train, finetune.train = finetune.train, killed
finetune.WINDOWS_EACH, finetune.HELD_OUT_WINDOWS = 3, 4
main(sys.argv[1:])
"""


def test_killed_while_training_the_same_command_resumes(tiny_model, clips, tmp_path):
    """A real SIGKILL of a process, three steps beyond its last checkpoint, which is none."""
    folder = tmp_path / "run"
    words = {**SHORT, "sample_every": 4, "clips": clips, "model": tiny_model, "output": folder}
    command = ["finetune", *(str(word) for name, value in words.items() for word in (f"--{name.replace('_', '-')}", value))]
    done = subprocess.run([sys.executable, "-c", KILLED, *command], cwd=ROOT, capture_output=True, text=True, timeout=120)
    assert done.returncode == -signal.SIGKILL, done.stderr
    before = losses(folder)
    assert list(before) == [0, 1, 2] and not (folder / "lora.safetensors").exists()
    assert main(command) == 0
    assert list(losses(folder)) == [0, 1, 2, 3] and (folder / "lora.safetensors").exists()
    assert [losses(folder)[step] for step in before] == pytest.approx(list(before.values()), rel=1e-5)


def test_a_full_disk_keeps_the_last_whole_checkpoint(tiny_model, clips, begun, tmp_path, capsys):
    """A limit on the size of files stands for the full disk: the checkpoint is larger than it, metrics are not."""
    train, held_out = tmp_path / "train", tmp_path / "held-out"
    for folder, chosen in ((train, range(1, 5)), (held_out, range(1))):
        folder.mkdir()
        for number in chosen:
            name = f"jumping_square_{number}"
            shutil.copyfile(clips / f"{name}.mp4", folder / f"{name}.mp4")
            (folder / f"{name}.txt").write_text("a square jumps")
    words = {**SHORT, "max_steps": 8, "clips": train, "held_out": held_out, "model": tiny_model, "output": begun}
    command = ["finetune", *(str(word) for name, value in words.items() for word in (f"--{name.replace('_', '-')}", value))]
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (65536, hard))
    try:
        assert main(command) == 2
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    last = capsys.readouterr().err.strip().splitlines()[-1]
    assert "cannot be written" in last and "step-0000004 is whole" in last
    assert (begun / "finetune" / "step-0000004" / "optimizer.bin").exists()


def test_a_loss_that_is_not_finite_names_the_step(tiny, clips, encoded):
    run = a_run(tiny, clips, encoded)
    with pytest.raises(FloatingPointError, match="loss at step 1 is nan"):
        for record in run.steps():
            if "loss" in record:
                torch.nn.init.constant_(run.pipe.unet.conv_out.base_layer.bias, math.nan)
    assert not (run.folder / "lora.safetensors").exists()


@pytest.mark.parametrize("name, value", [("rank", 4), ("what", "all"), ("seed", 3), ("layers", "motion")])
def test_a_run_goes_on_with_what_it_began_with(tiny, clips, begun, name, value):
    assert f"with {name}" in refusal(a_run, tiny, clips, begun, **{name: value})


def test_a_run_may_be_made_longer(tiny, clips, begun):
    assert [record["step"] for record in a_run(tiny, clips, begun, max_steps=5).steps() if "loss" in record] == [4]


def test_clips_that_changed_are_refused(tiny, clips, begun, tmp_path):
    other = Path(shutil.copytree(clips, tmp_path / "clips"))
    write_moving_square(other / "jumping_square_4.mp4", 2)
    assert "have changed" in refusal(a_run, tiny, other, begun)


def test_clips_that_go_away_while_training_do_not_disturb_it(tiny, clips, begun, tmp_path):
    other = Path(shutil.copytree(clips, tmp_path / "clips"))
    for record in a_run(tiny, other, begun, max_steps=6, sample_every=6).steps():
        if record["step"] == 4 and "loss" in record:
            shutil.rmtree(other)
    assert list(losses(begun)) == list(range(6)) and "held_out_loss" in metrics(begun)[-1]
    gone = [ClipFile(other / "jumping_square_1.mp4", "a square jumps")]
    assert "cannot be read any more" in refusal(FinetuneRun, tiny, gone, [], begun, FinetuneSettings(**SHORT))


def test_a_changed_caption_changes_the_digest(clips):
    path = clips / "jumping_square_0.mp4"
    assert data_digest([ClipFile(path, "a square")]) != data_digest([ClipFile(path, "a circle")])


def test_no_clips_and_one_clip(tiny, clips, tmp_path):
    assert "at least one clip" in refusal(FinetuneRun, tiny, [], [], tmp_path / "none", FinetuneSettings())
    one = [ClipFile(clips / "jumping_square_0.mp4", "a square jumps")]
    list(FinetuneRun(tiny, one, [], tmp_path / "one", FinetuneSettings(**{**SHORT, "max_steps": 1})).steps())
    assert "seen_loss" in metrics(tmp_path / "one")[-1] and "held_out_loss" not in metrics(tmp_path / "one")[-1]


def test_a_plan_is_measured_and_trains_nothing(tiny, clips, tmp_path):
    run = a_run(tiny, clips, tmp_path / "run", max_steps=100)
    told = []
    plan = run.plan(lambda done, text: told.append((done, text)))
    shares = [done for done, _ in told]
    assert shares == sorted(set(shares)) and shares[0] == 0 and shares[-1] < 1
    assert plan.num_steps == 100 and plan.seconds_per_step > 0 and plan.minutes > 0
    assert 0 < plan.num_trained < sum(p.numel() for p in tiny.unet.parameters()) + sum(p.numel() for p in tiny.fusion.parameters())
    assert 0 < plan.memory_mb < plan.free_memory_mb and plan.free_disk_mb > 0
    assert (plan.fits, plan.advice, run.result()) == (True, None, None)
    assert not list(run.folder.iterdir()), "nothing of it stays, and the folder is free for other settings"


@pytest.mark.parametrize(("room", "advice"), [(5.0, "usual"), (1.2, "light"), (0.5, None)])
def test_where_memory_is_short_the_plan_names_the_preset_of_the_most_that_fits(tiny, clips, tmp_path, monkeypatch, room, advice):
    """Memory stands for what is trained: as many megabytes as clips a step, and four times as many where every weight learns."""

    def measured(stage: ClipsStage) -> Memory:
        size = stage.settings.batch_size * (1 if any(".lora_" in name for name, _ in stage.model.named_parameters()) else 4)
        assert any(weight.requires_grad for weight in stage.model.unet.parameters())
        return Memory(100 * size, int(100 * 1.1 * room) + 1)

    monkeypatch.setattr(finetune_plan, "measure_memory", measured)
    monkeypatch.setattr(finetune, "measure_memory", measured)
    plan = a_run(tiny, clips, tmp_path / "run", what="all", batch_size=2).plan()
    assert (plan.memory_mb, plan.fits, plan.advice) == (800, False, advice)


def test_the_command_line_animates_with_what_it_learnt(unbroken, tiny_model, photo, tmp_path, capsys):
    photo.save(tmp_path / "photo.png")
    words = ["animate", tmp_path / "photo.png", "--model", tiny_model, "--lora", unbroken, "--seed", 1, "--output", tmp_path / "clip.mp4"]
    assert main(list(map(str, words))) == 0
    assert read_metadata(tmp_path / "clip.mp4")["lora"].endswith("steps")
    words[words.index(unbroken)] = tmp_path / "nowhere"
    assert main(list(map(str, words))) == 2
    assert "found nothing there" in capsys.readouterr().err
