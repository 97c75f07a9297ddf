"""LoRA and embeddings: added for one job alone, and refused where they are pickles or of another model."""

import os
import pickle
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from tests.first_frame.tiny import WIDTH
from trip.first_frame.generation import PictureGenerator
from trip.first_frame.local_models import extras
from trip.settings import PaintSettings

QUICK = {"prompt": "a red house", "picture_model": "sd15", "size": 64, "num_steps": 2, "seed": 3}


@pytest.fixture
def folder(models: Path, tmp_path: Path) -> Path:
    """A models folder with the tiny model, and room for extras."""
    (tmp_path / "sd15").symlink_to(models / "sd15")
    for kind in ("loras", "embeddings"):
        (tmp_path / kind).mkdir()
    return tmp_path


def painted(folder: Path, anywhere: bool = False, **settings) -> np.ndarray:
    result = PictureGenerator(folder, lambda step: None, anywhere=anywhere).generate(PaintSettings.checked(**QUICK | settings))
    return np.asarray(result.pictures.pictures[0].image).astype(int)


def write_lora(path: Path, rank: int = 2, name: str = "unet") -> None:
    """Low-rank weights for the queries of one attention of the tiny U-Net."""
    torch.manual_seed(0)
    layer = f"{name}.mid_block.attentions.0.transformer_blocks.0.attn1.to_q"
    save_file({f"{layer}.lora_A.weight": torch.randn(rank, 32), f"{layer}.lora_B.weight": torch.randn(32, rank)}, path)


def test_a_lora_counts_by_its_weight_and_is_gone_with_the_job(folder, cache):
    write_lora(folder / "loras" / "style.safetensors")
    plain = painted(folder)
    styled, weak = painted(folder, lora="style.safetensors"), painted(folder, lora="style.safetensors", lora_weight=0.0)
    assert not np.array_equal(styled, plain) and np.array_equal(weak, plain)
    assert np.array_equal(painted(folder), plain)


@pytest.mark.parametrize("num_vectors", [1, 3])
def test_an_embedding_becomes_a_word_and_is_gone_with_the_job(folder, cache, num_vectors):
    save_file({"emb_params": torch.ones(num_vectors, WIDTH)}, folder / "embeddings" / "sunnyday.safetensors")
    plain = painted(folder, prompt="a sunnyday house")
    assert not np.array_equal(painted(folder, prompt="a sunnyday house", embedding="sunnyday.safetensors"), plain)
    assert np.array_equal(painted(folder, prompt="a sunnyday house"), plain)


def test_the_names_of_the_models_folder_are_offered(folder):
    write_lora(folder / "loras" / "b.safetensors")
    write_lora(folder / "loras" / "a.safetensors")
    (folder / "loras" / "old.ckpt").touch()
    assert extras("lora", folder) == ["a.safetensors", "b.safetensors"] and extras("embedding", None) == []


class Evil:
    """What runs code when it is unpickled."""

    def __reduce__(self) -> tuple:
        return os.mkdir, ("i-was-run",)


@pytest.mark.parametrize("kind, where", [("lora", "loras"), ("embedding", "embeddings")])
@pytest.mark.parametrize("name", ["evil.pt", "evil.bin", "evil.safetensors"])
def test_pickles_are_refused(folder, cache, monkeypatch, kind, where, name):
    monkeypatch.chdir(folder)
    (folder / where / name).write_bytes(pickle.dumps(Evil()))
    with pytest.raises(ValueError, match="wanted a safetensors file, got another kind; a pickle can run code"):
        painted(folder, **{kind: name})
    assert not (folder / "i-was-run").exists()


@pytest.mark.parametrize("name", ["../sd15/unet/diffusion_pytorch_model.safetensors", "/etc/passwd", "none.safetensors", ".."])
def test_visitors_reach_the_models_folder_alone(folder, cache, name):
    with pytest.raises(ValueError, match="there is no file"):
        painted(folder, lora=name)


def test_the_person_at_the_machine_may_name_a_path(folder, cache, tmp_path):
    write_lora(tmp_path / "mine.safetensors")
    assert not np.array_equal(painted(folder, anywhere=True, lora=str(tmp_path / "mine.safetensors")), painted(folder))


def test_a_lora_of_another_model_is_refused_and_leaves_the_model_sound(folder, cache):
    write_lora(folder / "loras" / "other.safetensors", name="nothing_of_ours")
    save_file({"a": torch.zeros(2)}, folder / "loras" / "odd.safetensors")
    save_file({"emb_params": torch.ones(1, 7)}, folder / "embeddings" / "wide.safetensors")
    plain = painted(folder)
    for wrong in ({"lora": "other.safetensors"}, {"lora": "odd.safetensors"}, {"embedding": "wide.safetensors"}):
        with pytest.raises(ValueError, match="does not fit this model") as refused:
            painted(folder, **wrong)
        assert "\n" not in str(refused.value)
    assert np.array_equal(painted(folder), plain)
