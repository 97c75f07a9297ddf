"""Low-rank changes: where they go, what a file holds, what it is refused for."""

import pickle
import struct
from dataclasses import replace

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file

from tests.conftest import make_pipeline
from trip.model import lora
from trip.model.lora import LAYERS, LoraCard, add_lora, fingerprint, layers_of, lora_file, merge_lora, read_card, save_lora
from trip.model.unet import TripUNet
from trip.settings import PRESETS


@pytest.fixture
def pipe():
    return make_pipeline(PRESETS["tiny"].model)


@pytest.fixture
def saved(pipe, tmp_path):
    """A file of random changes to the tiny model, and the model that has them in place."""
    card = LoraCard("tiny", pipe.fingerprint, rank=2, layers="all", settings={"seed": 1}, figures={"held_out_loss": 0.5})
    trained = pipe.copied()
    add_lora(trained.unet, rank=2, layers="all")
    for name, weight in trained.unet.named_parameters():
        if ".lora_B." in name:
            torch.nn.init.normal_(weight, std=0.05)
    save_lora(tmp_path / "lora.safetensors", trained.unet, trained.fusion, card)
    return tmp_path / "lora.safetensors", trained, card


def output(unet: TripUNet) -> torch.Tensor:
    generator = torch.Generator().manual_seed(0)
    draw = lambda *shape: torch.randn(shape, generator=generator)  # noqa: E731
    with torch.no_grad():
        return unet(draw(1, 4, 5, 4, 4), 10, draw(1, 16, 16), frame_times=torch.arange(-1.0, 4).expand(1, -1), sentence=draw(1, 16)).sample


def with_card(path, **changes):
    """A copy of a file whose card says something else: values as they stand in the metadata."""
    with safe_open(path, framework="pt") as file:
        metadata = file.metadata()
    other = path.with_stem("other")
    save_file(load_file(path), other, metadata={**metadata, **changes})
    return other


@pytest.mark.parametrize("rank", ["1000000000", "-1", "0", '"x"', "1.5", "3", "null", "[" * 100_000])
def test_a_file_that_does_not_hold_the_rank_it_says_is_refused_before_anything_is_made_room_for(pipe, saved, monkeypatch, rank):
    made = []
    monkeypatch.setattr(lora, "add_lora", lambda *_, **__: made.append(1))
    path = with_card(saved[0], rank=rank)
    assert "other.safetensors: wanted" in refusal(merge_lora, path, pipe.unet, pipe.fusion, base_digest=saved[2].base_digest)
    assert made == []


@pytest.mark.parametrize(
    "change", [{"settings": "[" * 100_000}, {"settings": "[]"}, {"layers": '["motion"]'}, {"num_steps": '"x"'}, {"format": "trip-lora-0"}]
)
def test_a_card_that_says_nonsense_is_one_line(saved, change):
    assert "without its card" in refusal(read_card, with_card(saved[0], **change))


def test_a_header_far_longer_than_ours_is_refused_before_it_is_read(tmp_path):
    path = tmp_path / "long.safetensors"
    with path.open("wb") as file:
        file.write(struct.pack("<Q", 40 * 2**20) + b"{")
        file.truncate(50 * 2**20)
    assert "a header of at most 16 MB, got 40 MB" in refusal(read_card, path)


def refusal(call, *arguments, **more) -> str:
    with pytest.raises(ValueError) as caught:
        call(*arguments, **more)
    assert "\n" not in str(caught.value)
    return str(caught.value)


@pytest.mark.parametrize("layers", LAYERS)
def test_changes_are_nothing_at_first(pipe, layers):
    before = output(pipe.unet)
    add_lora(pipe.unet, rank=2, layers=layers)
    assert torch.allclose(output(pipe.unet), before, atol=1e-5)


@pytest.mark.parametrize(
    "layers, kinds",
    [("motion", {"TokenLinear", "FrameConv"}), ("attention", {"TokenLinear"}), ("all", {"TokenLinear", "Conv2d", "FrameConv"})],
)
def test_a_choice_of_layers_is_what_it_says(pipe, layers, kinds):
    chosen = [pipe.unet.get_submodule(name) for name in layers_of(pipe.unet, layers)]
    assert {type(module).__name__ for module in chosen} == kinds


def test_only_changes_and_small_parts_learn(pipe):
    add_lora(pipe.unet, rank=2, layers="all")
    learning = {name for name, weight in pipe.unet.named_parameters() if weight.requires_grad}
    assert learning and all(".lora_" in name or name.split(".")[0] in ("warp", "photo_in") for name in learning)
    assert any("temp_convs" in name for name in learning), "the Conv3d layers"
    assert {"warp", "photo_in"} <= {name.split(".")[0] for name in learning}


def test_a_network_without_our_additions_takes_changes_too():
    unet = make_pipeline(
        PRESETS["tiny"].model.model_copy(update={"unet": PRESETS["tiny"].model.unet.model_copy(update={"photo_warp": False})})
    ).unet
    add_lora(unet, rank=1, layers="motion")
    assert all(".lora_" in name for name, weight in unet.named_parameters() if weight.requires_grad)


def test_merged_equals_in_place(pipe, saved):
    path, trained, card = saved
    merged = pipe.copied()
    assert merge_lora(path, merged.unet, merged.fusion, base_digest=pipe.fingerprint) == card
    assert (output(merged.unet) - output(trained.unet)).abs().max() < 2e-3  # the file is half precision
    assert (output(merged.unet) - output(pipe.unet)).abs().max() > 1e-2
    assert set(merged.unet.state_dict()) == set(pipe.unet.state_dict())


def test_the_card_comes_back(saved):
    path, _, card = saved
    assert read_card(path) == card


def test_the_fingerprint_knows_weights_and_not_their_precision(pipe):
    assert fingerprint(pipe.unet) == fingerprint(pipe.copied(torch.bfloat16).unet)
    other = pipe.copied()
    other.unet.conv_out.weight.data *= 1.1
    assert fingerprint(other.unet) != fingerprint(pipe.unet)


def test_a_lora_for_another_base_is_refused(pipe, saved):
    path, _, _ = saved
    other = make_pipeline(PRESETS["tiny"].model, seed=1)
    before = output(other.unet)
    assert "made for the model 'tiny'" in refusal(other.with_lora, path)
    assert torch.allclose(output(other.unet), before, atol=1e-5)


@pytest.mark.parametrize("said", [{"rank": 3}, {"layers": "motion"}])
def test_a_lora_that_holds_other_changes_than_it_says_is_refused(pipe, saved, said):
    path, trained, card = saved
    save_lora(path, trained.unet, trained.fusion, replace(card, **said))
    target = pipe.copied()
    assert "as it says" in refusal(merge_lora, path, target.unet, target.fusion, base_digest=pipe.fingerprint)
    assert torch.allclose(output(target.unet), output(pipe.unet), atol=1e-5)
    assert set(target.unet.state_dict()) == set(pipe.unet.state_dict()), "no layer of the changes stays"


def test_a_lora_that_holds_what_is_no_number_is_refused(pipe, saved):
    path, trained, card = saved
    next(iter(trained.fusion.parameters())).data.view(-1)[0] = float("inf")
    save_lora(path, trained.unet, trained.fusion, card)
    before = fingerprint(pipe.unet)
    assert "holds what is no number" in refusal(pipe.with_lora, path)
    assert fingerprint(pipe.unet) == before


def test_a_pickle_and_other_files_are_refused(pipe, saved, tmp_path):
    bad = tmp_path / "bad.safetensors"
    for content in (pickle.dumps({"unet": 1}), b"", b"\xff" * 64):
        bad.write_bytes(content)
        assert "as safetensors" in refusal(pipe.with_lora, bad)
    save_file(load_file(saved[0]), bad)
    assert "without" in refusal(pipe.with_lora, bad)


def test_where_a_lora_is_looked_for(saved, tmp_path):
    assert lora_file(tmp_path) == lora_file(saved[0]) == saved[0]
    assert "found nothing there" in refusal(lora_file, tmp_path / "nowhere")
    (tmp_path / "all" / "model").mkdir(parents=True)
    (tmp_path / "all" / "model" / "finetune.json").touch()
    assert "--model" in refusal(lora_file, tmp_path / "all")


def test_unknown_layers_are_refused(pipe):
    assert "choose motion, attention, all" in refusal(add_lora, pipe.unet, rank=1, layers="some")
