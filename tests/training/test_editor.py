"""The tiny editor's run ends in a pipeline that diffusers opens, and goes on where it stopped."""

import json
import math
import shutil
import time
from pathlib import Path

import numpy as np
import pytest
import torch
from diffusers import StableDiffusionInstructPix2PixPipeline
from PIL import Image
from safetensors.torch import load_file

from trip.cli import main
from trip.data.cache import LatentCache
from trip.data.edits import EDITS
from trip.data.photos import Photo
from trip.first_frame.embedded import edit_all, open_editor, with_detail
from trip.model.editor import build_editor_scheduler
from trip.settings import EDITORS
from trip.training.editor.run import EditorRun, draw_edits
from trip.training.editor.stage import EditorStage

TINY = EDITORS["tiny"]
STAGES = {"words": TINY.words, "half-size": TINY.half_size, "full-size": TINY.full_size}


@pytest.fixture(scope="module")
def run(photos, tiny_model, tmp_path_factory) -> Path:
    """A run from beginning to end, by the command line."""
    folder = tmp_path_factory.mktemp("editor") / "run"
    command = ["train-editor", "--preset", "tiny", "--photos", str(photos), "--output", str(folder), "--base", str(tiny_model)]
    assert main(command) == 0
    return folder


@pytest.fixture(scope="module")
def pipe(run) -> StableDiffusionInstructPix2PixPipeline:
    return open_editor(run / "model")


def metrics(folder: Path) -> list[dict]:
    return [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]


def pixels(height: int = 32, width: int = 32, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)


def test_every_step_of_every_stage_is_on_record(run):
    for name, settings in STAGES.items():
        lines = [line for line in metrics(run) if line["stage"] == name]
        assert [line["step"] for line in lines if "loss" in line] == list(range(settings.max_steps))
        assert all(math.isfinite(line["loss"]) for line in lines if "loss" in line)
        assert len(list((run / name / "samples").iterdir())) >= 1
    assert 0 <= metrics(run)[TINY.words.max_steps]["read_right"] <= 1


def test_the_model_is_safetensors_alone_and_half_precision_but_for_the_text(run):
    assert not [path for path in (run / "model").rglob("*") if path.suffix in {".bin", ".pt", ".pkl", ".ckpt"}]
    for path in (run / "model").rglob("*.safetensors"):
        floats = torch.float32 if path.parent.name == "text_encoder" else torch.float16  # a library opens it in the precision of its file
        assert {tensor.dtype for tensor in load_file(path).values()} <= {floats, torch.int64}


def test_the_pipeline_edits_with_and_without_guidance(pipe):
    plain, guided = (
        pipe(
            "make it night", Image.fromarray(pixels()), num_inference_steps=2, **guidance, generator=torch.Generator().manual_seed(0)
        ).images[0]
        for guidance in ({"guidance_scale": 1.0}, {"guidance_scale": 4.0, "image_guidance_scale": 1.5})
    )
    assert plain.size == guided.size == (32, 32)
    assert np.any(np.asarray(plain) != np.asarray(guided))


def test_the_editors_autoencoder_has_latents_of_unit_variance_and_no_factor(pipe, run):
    assert pipe.vae.config.scaling_factor == 1.0 and pipe.vae.config.latents_mean is None


def test_instructions_edited_at_once_are_those_edited_alone(pipe):
    both = edit_all(pipe, pixels(), ["make it night", "add fog"], seed=3, num_steps=2)
    alone = edit_all(pipe, pixels(), ["add fog"], seed=3, num_steps=2)
    assert np.abs(both[1].astype(int) - alone[0]).max() <= 1


def test_detail_comes_back_in_the_photos_size(pipe):
    photo = pixels(64, 96)
    edited = edit_all(pipe, np.asarray(Image.fromarray(photo).resize((48, 32))), ["add fog"], seed=3, num_steps=1)
    assert edited[0].shape == (32, 48, 3)
    assert with_detail(pipe, edited, photo)[0].shape == photo.shape


def test_a_folder_that_is_no_editor_is_refused_in_one_line(tmp_path):
    with pytest.raises(ValueError, match="wanted an InstructPix2Pix pipeline") as caught:
        open_editor(tmp_path)
    assert "\n" not in str(caught.value)


def test_stopped_and_taken_up_again_it_is_the_same_run(run, photos, tiny_model, tmp_path):
    copy = Path(shutil.copytree(run, tmp_path / "run"))
    shutil.rmtree(copy / "model")
    shutil.rmtree(copy / "full-size" / "step-0000003")
    list(EditorRun(TINY, copy, photos, tiny_model).steps())
    losses = [[line["loss"] for line in metrics(folder) if line["stage"] == "full-size" and "loss" in line] for folder in (copy, run)]
    assert losses[0] == pytest.approx(losses[1], rel=1e-5)
    assert isinstance(open_editor(copy / "model"), StableDiffusionInstructPix2PixPipeline)


def test_a_deadline_still_leaves_a_model_that_opens(photos, tiny_model, tmp_path):
    folder = tmp_path / "run"
    training = EditorRun(TINY, folder, photos, tiny_model)
    for record in training.steps():
        if record["stage"] == "half-size":
            training.deadline = time.monotonic()
    assert not (folder / "full-size").exists() and open_editor(folder / "model")


@pytest.mark.parametrize("wrong", [["--base", "nowhere"], ["--photos", "nowhere"], ["--max-steps", "0"]])
def test_what_cannot_be_is_refused_in_one_line(wrong, photos, tiny_model, tmp_path, capsys):
    command = ["train-editor", "--preset", "tiny", "--photos", str(photos), "--base", str(tiny_model), "--output", str(tmp_path / "run")]
    assert main([*command, *wrong]) == 2
    assert capsys.readouterr().err.count("\n") == 1 and not (tmp_path / "run").exists()


def test_drawn_edits_have_a_sentence_for_each_frame_but_the_first():
    photo = Photo("a.jpg", pixels(64, 80), "a lake", "nature")
    sample = draw_edits(photo, 5, 32, np.random.default_rng(0))
    assert sample.frames.shape == (6, 32, 32, 3) and len(sample.caption.split("\n")) == 5


def test_text_and_photo_are_dropped_each_and_both(run):
    stage = EditorStage(
        "full-size",
        None,
        LatentCache(run / "pairs-32"),
        LatentCache(run / "pairs-32-held-out"),
        TINY.full_size.model_copy(update={"batch_size": 2000}),
        tokenizer=None,
        scheduler=None,
        vae=None,
        seed=0,
    )
    batch = stage.batch(0, 0, 1)
    no_text = torch.tensor([not words for words in batch["instructions"]])
    no_photo = ~batch["z_photo"].flatten(1).any(dim=1)
    shares = [(a & b).float().mean().item() for a, b in ((no_text, ~no_photo), (~no_text, no_photo), (no_text, no_photo))]
    assert shares == pytest.approx([0.05, 0.05, 0.05], abs=0.02)


def test_at_the_last_timestep_nothing_is_left_of_the_picture():
    scheduler = build_editor_scheduler()
    assert scheduler.alphas_cumprod[-1] == 0
    z, eps, last = torch.ones(1, 1, 2, 2), torch.randn(1, 1, 2, 2), torch.tensor([999])
    assert torch.equal(scheduler.add_noise(z, eps, last), eps) and torch.equal(-scheduler.get_velocity(z, eps, last), z)


def test_evaluate_edits_by_the_command_line(run, photos, tmp_path, capsys):
    report, sheet = tmp_path / "report.json", tmp_path / "sheet.png"
    command = ["evaluate", "edits", "--photos", str(photos), "--model", str(run / "model"), "--output", str(report), "--size", "32"]
    assert main([*command, "--num-photos", "0"]) == 2 and "--num-photos: wanted at least 1, got 0" in capsys.readouterr().err
    assert main([*command[:-1], "0"]) == 2 and "--size: wanted at least 16, got 0" in capsys.readouterr().err
    assert main([*command, "--num-photos", "1", "--num-steps", "1", "--sheet", str(sheet)]) == 0
    figures = json.loads(report.read_text())
    assert set(figures["per_edit"]) == set(EDITS) and figures["overall"]["num_results"] == 3 * len(EDITS)
    assert sheet.stat().st_size > 0 and capsys.readouterr().out.strip() == str(report)
