"""The tiny painter's run ends in a pipeline with a ControlNet that open as the large ones do, and goes on where it stopped."""

import json
import math
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from diffusers import AutoencoderKL, StableDiffusionInstructPix2PixPipeline
from PIL import Image
from safetensors.torch import load_file

from trip.cli import main
from trip.data.cache import LatentCache
from trip.data.edges import canny_edges, shrunk
from trip.data.photos import Photo, is_held_out, read_photos
from trip.data.titles import STYLES, colour_names, draw_title
from trip.data.wordings import STATES
from trip.first_frame.embedded import EDITOR, open_painter, paint_all
from trip.model.build import build_text_encoder
from trip.model.pictures import build_controlnet, build_picture_scheduler, build_picture_unet, wake_map_reader
from trip.model.text import train_tokenizer
from trip.settings import EDITORS, PAINTERS
from trip.training.painter import NO_MAP, NO_TEXT, UNSTYLED, Mapped, PainterStage
from trip.training.painter_run import PainterRun, draw_styles
from trip.training.picture_run import WITHOUT_CHECKER

TINY = PAINTERS["tiny"]
STAGES = {"half-size": TINY.half_size, "full-size": TINY.full_size}


@pytest.fixture(scope="module")
def photos(tmp_path_factory) -> Path:
    """Captioned photos of random texture, two on each side of the split."""
    folder, rng = tmp_path_factory.mktemp("photos"), np.random.default_rng(0)
    names = [f"photo{i}.jpg" for i in range(100)]
    lines = ["file,caption"]
    for held_out in (False, True):
        for name in [name for name in names if is_held_out(name) == held_out][:2]:
            pixels = rng.integers(0, 256, (9, 12, 3), dtype=np.uint8)
            Image.fromarray(pixels).resize((96, 72), Image.Resampling.NEAREST).save(folder / name)
            lines.append(f"{name},a picture of {name}")
    (folder / "photos.csv").write_text("\n".join(lines) + "\n")
    return folder


@pytest.fixture(scope="module")
def run(photos, tiny_model, tmp_path_factory) -> Path:
    """A run from beginning to end, by the command line."""
    folder = tmp_path_factory.mktemp("painter") / "run"
    command = ["train-painter", "--preset", "tiny", "--photos", str(photos), "--output", str(folder), "--base", str(tiny_model)]
    assert main(command) == 0
    return folder


@pytest.fixture(scope="module")
def mapped(run, photos) -> Mapped:
    return Mapped(LatentCache(run / "pairs-32"), read_photos(photos, held_out=False), 32, seed=0)


def metrics(folder: Path) -> list[dict]:
    return [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]


def test_every_step_of_every_stage_is_on_record(run):
    for name, settings in STAGES.items():
        lines = [line for line in metrics(run) if line["stage"] == name]
        assert [line["step"] for line in lines if "loss" in line] == list(range(settings.max_steps))
        assert all(math.isfinite(line["loss"]) for line in lines if "loss" in line)
        assert len(list((run / name / "samples").iterdir())) >= 1


def test_the_model_is_safetensors_alone_and_half_precision(run):
    assert not [path for path in (run / "model").rglob("*") if path.suffix in {".bin", ".pt", ".pkl", ".ckpt"}]
    for path in (run / "model").rglob("*.safetensors"):
        assert {tensor.dtype for tensor in load_file(path).values()} <= {torch.float16, torch.int64}


def test_the_map_counts_and_so_do_the_words(run):
    pipe = open_painter(run / "model")
    for parameter in pipe.controlnet.parameters():  # two steps leave next to nothing in what begins at zero
        if parameter.abs().max() < 0.01:
            torch.nn.init.normal_(parameter, std=0.3)
    found = np.zeros((32, 32), np.uint8)
    asked = {"seed": 0, "num_steps": 2, "guidance_scale": 3.0}
    night, winter = paint_all(pipe, found, ["night", "winter"], **asked)
    crossed = paint_all(pipe, found + np.eye(32, dtype=np.uint8) * 255, ["night"], **asked)[0]
    assert night.shape == (32, 32, 3) and np.any(night != winter) and np.any(night != crossed)


def test_stopped_and_taken_up_again_it_is_the_same_run(run, photos, tiny_model, tmp_path):
    copy = Path(shutil.copytree(run, tmp_path / "run"))
    shutil.rmtree(copy / "model")
    shutil.rmtree(copy / "full-size" / "step-0000003")
    list(PainterRun(TINY, copy, photos, tiny_model).steps())
    losses = [[line["loss"] for line in metrics(folder) if line["stage"] == "full-size" and "loss" in line] for folder in (copy, run)]
    assert losses[0] == pytest.approx(losses[1], rel=1e-5)


def test_other_photos_than_the_encoded_ones_are_refused(run, photos, tiny_model, tmp_path):
    other = Path(shutil.copytree(photos, tmp_path / "photos"))
    next(path for path in other.glob("*.jpg") if not is_held_out(path.name)).unlink()
    with pytest.raises(ValueError, match="delete the folder or use another run"):
        list(PainterRun(TINY, run, other, tiny_model).steps())


def test_a_map_is_of_the_very_crop_that_was_encoded(mapped):
    rng = np.random.default_rng(0)
    for index in range(len(mapped)):
        crop = draw_styles(mapped.photos, 1, 128, np.random.default_rng([0, index])).frames[0]
        found = np.mean([mapped.map(index, rng) for _ in range(30)], axis=0)
        likeness = [np.corrcoef(found.ravel(), shrunk(canny_edges(one, 100, 200), 32).ravel())[0, 1] for one in (crop, crop[:, ::-1])]
        assert likeness[0] > 0.5 and likeness[0] > likeness[1]


def test_words_maps_and_styles_are_dropped_in_their_shares(mapped):
    settings = TINY.full_size.model_copy(update={"batch_size": 2000})
    stage = PainterStage("full-size", None, mapped, mapped, settings, tokenizer=None, scheduler=None, vae=None, seed=0)
    batch = stage.batch(1, 0, 1)
    photos = {line.split("\n")[0] for line in mapped.cache.captions}
    shares = [np.mean([not words for words in batch["words"]]), 1 - batch["has_map"].mean().item()]
    assert shares == pytest.approx([NO_TEXT, NO_MAP], abs=0.02)
    assert np.mean([words in photos for words in batch["words"]]) == pytest.approx(UNSTYLED * (1 - NO_TEXT), abs=0.035)


def test_a_new_controlnet_leaves_the_unet_as_it_is():
    unet = build_picture_unet(TINY, 8, sees_photo=False)
    controlnet = build_controlnet(TINY, unet)
    z, t, words = torch.randn(1, 8, 4, 4), torch.tensor([500]), torch.randn(1, 16, 16)
    downs, middle = controlnet(z, t, encoder_hidden_states=words, controlnet_cond=torch.rand(1, 3, 8, 8), return_dict=False)
    assert not any(part.any() for part in (*downs, middle))
    assert torch.equal(controlnet.add_embedding.proj.weight, unet.add_embedding.proj.weight)


def test_a_woken_map_reader_has_much_to_say_of_a_map():
    controlnet = build_controlnet(TINY, build_picture_unet(TINY, 8, sees_photo=False))
    maps = (torch.rand(4, 1, 32, 32, generator=torch.Generator().manual_seed(0)) > 0.9).float().expand(-1, 3, -1, -1)
    assert not controlnet.controlnet_cond_embedding(maps).any()
    wake_map_reader(controlnet, maps)
    features = controlnet.controlnet_cond_embedding(maps)
    assert 0.5 < features.std() < 2 and (features[0] - features[1]).std() > 0.3


def test_a_painter_begins_as_an_editor_without_photo(photos, tiny_model, tmp_path):
    torch.manual_seed(0)
    settings, tokenizer = EDITORS["tiny"], train_tokenizer(["make it winter"], vocabulary=600, max_tokens=16)
    vae = AutoencoderKL.from_pretrained(tiny_model, subfolder="vae")
    unet = build_picture_unet(settings, vae.config.latent_channels, sees_photo=True)
    StableDiffusionInstructPix2PixPipeline(
        vae=vae,
        text_encoder=build_text_encoder(settings, len(tokenizer)),
        tokenizer=tokenizer,
        unet=unet,
        scheduler=build_picture_scheduler(),
        **WITHOUT_CHECKER,
    ).save_pretrained(tmp_path / "editor")
    run = PainterRun(TINY, tmp_path / "run", photos, tiny_model, editor=tmp_path / "editor")
    next(run.steps())
    _, _, begun = run._from_editor()
    z, t, words = torch.randn(1, vae.config.latent_channels, 8, 8), torch.tensor([500]), torch.randn(1, 16, 16)
    wanted = unet(torch.cat([z, torch.zeros_like(z)], dim=1), t, words).sample
    assert torch.allclose(begun(z, t, words).sample, wanted, atol=1e-5)


@pytest.mark.parametrize(("editor", "says"), [("nowhere", "wanted the pipeline folder of an editor"), (EDITOR, "differs")])
def test_what_is_no_editor_to_begin_with_is_refused(editor, says, photos, tiny_model, tmp_path):
    run = PainterRun(TINY, tmp_path / "run", photos, tiny_model, editor=Path(editor))
    with pytest.raises(ValueError, match=says) as caught:
        next(run.steps())
    assert "\n" not in str(caught.value)


def test_titles_say_style_or_colours_and_the_caption():
    rng = np.random.default_rng(0)
    blue = np.full((32, 32, 3), (20, 60, 220), np.uint8)
    titles = [draw_title(rng, blue, "a lake") for _ in range(200)]
    assert {"a lake"} < set(titles) <= {"a lake", "a lake, blue", "blue, a lake"}
    styled = [draw_title(rng, blue, "a lake", "winter") for _ in range(200)]
    assert any("a lake" in title for title in styled) and all(any(state in title for state in STATES["winter"]) for title in styled)
    sample = draw_styles([Photo("a.jpg", blue, "a lake")], 3, 16, rng)
    assert sample.frames.shape == (4, 16, 16, 3) and len(sample.caption.split("\n")) == 4


@pytest.mark.parametrize(
    ("colour", "name"),
    [((255, 255, 255), "white"), ((10, 10, 10), "black"), ((220, 30, 30), "red"), ((40, 160, 50), "green"), ((110, 70, 30), "brown")],
)
def test_colours_have_their_names(colour, name):
    assert colour_names(np.full((8, 8, 3), colour, np.uint8)) == [name]


@pytest.mark.parametrize("wrong", [["--base", "nowhere"], ["--photos", "nowhere"], ["--max-steps", "0"]])
def test_what_cannot_be_is_refused_in_one_line(wrong, photos, tiny_model, tmp_path, capsys):
    command = ["train-painter", "--preset", "tiny", "--photos", str(photos), "--base", str(tiny_model), "--output", str(tmp_path / "run")]
    assert main([*command, *wrong]) == 2
    assert capsys.readouterr().err.count("\n") == 1 and not (tmp_path / "run").exists()


def test_evaluate_maps_by_the_command_line(run, photos, tmp_path, capsys):
    report, sheet = tmp_path / "report.json", tmp_path / "sheet.png"
    command = ["evaluate", "maps", "--photos", str(photos), "--model", str(run / "model"), "--output", str(report), "--size", "32"]
    assert main([*command, "--num-steps", "1", "--sheet", str(sheet)]) == 0
    figures = json.loads(report.read_text())
    assert figures["num_photos"] == 2 and set(figures["per_style"]) == set(STYLES)
    assert sheet.stat().st_size > 0 and capsys.readouterr().out.strip() == str(report)
