"""Captions by a model: a tiny random one of the real class, and what is said where there is none."""

import json
from pathlib import Path

import pytest
from transformers import BertTokenizer, BlipConfig, BlipForConditionalGeneration, BlipImageProcessor, BlipProcessor

from tests.training.test_finetune import write_moving_square
from trip.data.captions import describe_clips

SIZES = {"hidden_size": 16, "intermediate_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2}


@pytest.fixture
def captioner(tmp_path) -> Path:
    """A captioning model with random weights and a few words."""
    folder = tmp_path / "blip"
    words = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "[DEC]", "a", "square", "jumps"]
    folder.mkdir()
    (folder / "vocab.txt").write_text("\n".join(words) + "\n")
    text = {
        **SIZES,
        "vocab_size": len(words),
        "bos_token_id": 5,
        "eos_token_id": 3,
        "pad_token_id": 0,
        "sep_token_id": 3,
        "projection_dim": 16,
    }
    text["encoder_hidden_size"] = 16
    config = BlipConfig(text_config=text, vision_config={**SIZES, "image_size": 32, "patch_size": 16, "projection_dim": 16})
    BlipForConditionalGeneration(config).save_pretrained(folder)
    processor = BlipImageProcessor(size={"height": 32, "width": 32})
    BlipProcessor(processor, BertTokenizer(str(folder / "vocab.txt"))).save_pretrained(folder)
    return folder


def test_each_clip_gets_a_line(captioner, tmp_path):
    for phase in range(2):
        write_moving_square(tmp_path / f"{phase}.mp4", phase)
    captions = describe_clips([tmp_path / "0.mp4", tmp_path / "1.mp4"], model=str(captioner))
    assert len(captions) == 2 and all(isinstance(caption, str) and "\n" not in caption for caption in captions)
    assert json.loads((captioner / "config.json").read_text())["model_type"] == "blip"


def test_without_the_model_it_says_how_to_get_it(tmp_path, monkeypatch):
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    with pytest.raises(ValueError, match="not on this machine; run: hf download") as caught:
        describe_clips([tmp_path / "0.mp4"], model=str(tmp_path / "nowhere"))
    assert "\n" not in str(caught.value)
