"""Checkpoints open, or are refused in one line."""

import json
import shutil
from pathlib import Path

import pytest
from diffusers import DDPMPipeline, DDPMScheduler, UNet2DModel
from safetensors.torch import load_file, save_file

from trip.model_cache import load_pipeline
from trip.pipeline import TripPipeline
from trip.system.accelerator import device, precision

WEIGHTS = {part: f"{part}/diffusion_pytorch_model.safetensors" for part in ("unet", "fusion", "vae")} | {
    "text_encoder": "text_encoder/model.safetensors"
}


@pytest.fixture
def copy(tiny_model, tmp_path) -> Path:
    """A checkpoint to break."""
    return Path(shutil.copytree(tiny_model, tmp_path / "copy"))


def refusal(name: str | Path) -> str:
    with pytest.raises(ValueError) as caught:
        load_pipeline(name)
    message = str(caught.value)
    assert "\n" not in message and len(message) < 600 + len(str(name))
    assert Path(name).name in message
    return message


def test_a_checkpoint_is_opened_once(tiny_model):
    pipe = load_pipeline(tiny_model)
    assert isinstance(pipe, TripPipeline)
    assert load_pipeline(str(tiny_model)) is pipe
    assert pipe.device.type == device().type
    assert pipe.unet.dtype == precision(device())


@pytest.mark.parametrize("name", ["missing", "./missing", "deep/in/nowhere", "../up"])
def test_a_missing_folder_is_refused(name, monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    assert "found nothing there" in refusal(name)
    assert "found nothing there" in refusal(tmp_path / name)


def test_a_file_is_no_checkpoint(tmp_path):
    (tmp_path / "model.safetensors").touch()
    refusal(tmp_path / "model.safetensors")


def test_a_folder_without_an_index_is_refused(tmp_path):
    assert "model_index.json" in refusal(tmp_path)


def test_a_pipeline_of_another_class_is_refused(tmp_path):
    unet = UNet2DModel(sample_size=8, block_out_channels=(4, 4), layers_per_block=1, norm_num_groups=2,
                       down_block_types=("DownBlock2D",) * 2, up_block_types=("UpBlock2D",) * 2, add_attention=False)  # fmt: skip
    DDPMPipeline(unet, DDPMScheduler()).save_pretrained(tmp_path)
    assert "TRIP checkpoint" in refusal(tmp_path)


@pytest.mark.parametrize("part", ["fusion", "text_encoder", "scheduler"])
def test_a_pipeline_without_one_of_the_parts_is_refused(copy, part):
    index = json.loads((copy / "model_index.json").read_text())
    del index[part]
    (copy / "model_index.json").write_text(json.dumps(index))
    assert "TRIP checkpoint" in refusal(copy)


def test_an_empty_part_is_refused(copy):
    index = json.loads((copy / "model_index.json").read_text())
    (copy / "model_index.json").write_text(json.dumps(index | {"fusion": [None, None]}))
    assert "TRIP checkpoint" in refusal(copy)


@pytest.mark.parametrize("text", ["", "{", "[]", '"TripPipeline"', "\xff\xfe"])
def test_an_index_that_is_not_one_is_refused(copy, text):
    (copy / "model_index.json").write_bytes(text.encode("latin-1"))
    refusal(copy)


@pytest.mark.parametrize("part", WEIGHTS)
@pytest.mark.parametrize("share", [0, 0.001, 0.7])
def test_truncated_weights_are_refused(copy, part, share):
    path = copy / WEIGHTS[part]
    path.write_bytes(path.read_bytes()[: int(path.stat().st_size * share)])
    assert "copy or download it again" in refusal(copy)


@pytest.mark.parametrize("part", WEIGHTS)
@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_weights_that_are_no_numbers_are_refused(copy, part, value):
    path = copy / WEIGHTS[part]
    tensors = load_file(path)
    next(iter(tensors.values())).view(-1)[-1] = value
    save_file(tensors, path, metadata={"format": "pt"})
    assert "holds what is no number; copy or download it again" in refusal(copy)


@pytest.mark.parametrize("part", WEIGHTS)
def test_missing_weights_are_refused(copy, part):
    (copy / WEIGHTS[part]).unlink()
    refusal(copy)


def test_weights_of_another_size_are_refused(copy):
    config = json.loads((copy / "fusion" / "config.json").read_text())
    (copy / "fusion" / "config.json").write_text(json.dumps(config | {"width": 32}))
    refusal(copy)


@pytest.mark.parametrize("name", ["unet/diffusion_pytorch_model.bin", "text_encoder/pytorch_model.bin", "extra.pkl", "vae/old/weights.PT"])
def test_pickles_are_refused_even_beside_safetensors(copy, name):
    (copy / name).parent.mkdir(exist_ok=True)
    (copy / name).write_bytes(b"\x80\x04.")
    message = refusal(copy)
    assert Path(name).name in message and "safetensors" in message


def test_a_broken_checkpoint_opens_once_it_is_mended(copy, tiny_model):
    path = copy / WEIGHTS["unet"]
    path.write_bytes(b"")
    refusal(copy)
    shutil.copy(tiny_model / WEIGHTS["unet"], path)
    assert isinstance(load_pipeline(copy), TripPipeline)
