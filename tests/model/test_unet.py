"""The 3D-UNet is diffusers' until an option is switched on, and an option changes nothing before it has learnt."""

import inspect

import pytest
import torch
from diffusers import UNet3DConditionModel
from torch import nn

from trip.model.conditioning import attach, detach, frame_times
from trip.model.unet import FrameEmbedding, NumberEmbedding, TripUNet
from trip.model.warp import moved

SIZES = {
    "sample_size": 8,
    "down_block_types": ("CrossAttnDownBlock3D", "CrossAttnDownBlock3D", "DownBlock3D"),
    "up_block_types": ("UpBlock3D", "CrossAttnUpBlock3D", "CrossAttnUpBlock3D"),
    "block_out_channels": (8, 16, 16),
    "layers_per_block": 1,
    "norm_num_groups": 4,
    "cross_attention_dim": 12,
    "attention_head_dim": 8,
}


def without_zeros(module: nn.Module) -> nn.Module:
    """What starts at zero would hide a difference."""
    for parameter in module.parameters():
        if not parameter.any():
            nn.init.normal_(parameter, std=0.1)
    return module.eval()


@pytest.fixture(scope="module")
def base() -> UNet3DConditionModel:
    torch.manual_seed(0)
    return without_zeros(UNet3DConditionModel(**SIZES))


@pytest.fixture(scope="module")
def ours(base) -> TripUNet:
    unet = TripUNet(**SIZES)
    unet.load_state_dict(base.state_dict())
    return unet.eval()


def inputs(height: int, width: int, frames: int = 3) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Sample, a time step for each of two clips, and words."""
    generator = torch.Generator().manual_seed(1)
    return (
        torch.randn(2, 4, frames, height, width, generator=generator),
        torch.tensor([10, 900]),
        torch.randn(2, 5, 12, generator=generator),
    )


@pytest.mark.parametrize("height, width", [(8, 8), (16, 12), (7, 9)])
@torch.no_grad()
def test_without_options_it_is_the_base_class(base, ours, height, width):
    wanted, got = base(*inputs(height, width)).sample, ours(*inputs(height, width)).sample
    assert got.shape == wanted.shape and wanted.abs().max() > 0.1
    assert (got - wanted).abs().max() < 1e-4


def test_what_a_config_leaves_out_means_what_it_means_to_the_base_class():
    theirs, own = (inspect.signature(kind.__init__).parameters for kind in (UNet3DConditionModel, TripUNet))
    assert {name: own[name].default for name in theirs} == {name: one.default for name, one in theirs.items()}


@torch.no_grad()
def test_without_the_warp_there_is_no_motion_and_without_frequencies_none_by_chance(ours):
    photo, sentence, generators = torch.zeros(1, 4, 8, 8), torch.zeros(1, 12), [torch.Generator()]
    assert ours.motion_field(photo, sentence) is None and ours.scene_noise(8, 8, generators) is None and not ours.moves_pixels
    warped = TripUNet(**SIZES, photo_warp=True)
    assert warped.motion_field(photo, sentence) is not None and warped.scene_noise(8, 8, generators) is None and not warped.moves_pixels
    waving = TripUNet(**SIZES, photo_warp=True, scene_frequencies=2)
    assert len(waving.scene_noise(8, 8, generators * 3)) == 3


@torch.no_grad()
def test_one_time_step_for_all_is_the_same_as_for_each(base, ours):
    sample, _, words = inputs(8, 8)
    assert (ours(sample, 300, words).sample - base(sample, 300, words).sample).abs().max() < 1e-4


@torch.no_grad()
def test_clips_of_a_batch_do_not_mix(ours):
    sample, timestep, words = inputs(8, 8)
    both = ours(sample, timestep, words).sample
    alone = [ours(sample[i : i + 1], timestep[i : i + 1], words[i : i + 1]).sample for i in range(2)]
    assert (both - torch.cat(alone)).abs().max() < 1e-5


@torch.no_grad()
def test_frame_embedding_is_neutral_at_first(ours):
    told = TripUNet(**SIZES, frame_embedding=True)
    missing = told.load_state_dict(ours.state_dict(), strict=False).missing_keys
    assert missing and all(name.startswith("frame_time_embedding.") for name in missing)
    output = told.eval()(*inputs(8, 8), frame_times=torch.arange(3.0).expand(2, -1), sentence=torch.randn(2, 12)).sample
    assert torch.allclose(output, ours(*inputs(8, 8)).sample, atol=1e-6)


@torch.no_grad()
def test_frame_embedding_tells_times_and_sentences_apart(ours):
    told = TripUNet(**SIZES, frame_embedding=True)
    told.load_state_dict(ours.state_dict(), strict=False)
    without_zeros(told)
    times, sentence = torch.arange(3.0).expand(2, -1), torch.ones(2, 12)
    first = told(*inputs(8, 8), frame_times=times, sentence=sentence).sample
    later = told(*inputs(8, 8), frame_times=times + 2, sentence=sentence).sample
    otherwise = told(*inputs(8, 8), frame_times=times, sentence=-sentence).sample
    assert (first - later).abs().max() > 1e-3
    assert (first - otherwise).abs().max() > 1e-3


@pytest.mark.parametrize("first_frame", ["head", "tail", "channel"])
@torch.no_grad()
def test_photo_warp_is_neutral_at_first_and_then_brings_the_photo_to_every_frame(first_frame):
    """With the layers over time silenced, only the moved photo joins frames."""
    torch.manual_seed(0)
    channels = {"in_channels": 8} if first_frame == "channel" else {}
    plain = without_zeros(TripUNet(**SIZES, **channels, first_frame=first_frame))
    for name, parameter in plain.named_parameters():
        if "temp_convs" in name and "conv4" in name or ("temp_attentions" in name or "transformer_in" in name) and "proj_out" in name:
            parameter.zero_()
    unet = TripUNet(**SIZES, **channels, first_frame=first_frame, photo_warp=True).eval()
    missing = unet.load_state_dict(plain.state_dict(), strict=False).missing_keys
    assert missing and all(name.startswith(("warp.", "photo_in.")) for name in missing)

    z_t, timestep, words = inputs(8, 8, frames=3)
    told = {"frame_times": frame_times(torch.arange(3.0).expand(2, -1), first_frame), "sentence": torch.randn(2, 12)}
    z_first = torch.zeros(2, 4, 1, 8, 8)
    sample = attach(z_t, z_first, first_frame)
    assert torch.allclose(unet(sample, timestep, words, **told).sample, plain(sample, timestep, words).sample, atol=1e-6)

    without_zeros(unet)
    clip = detach(unet(sample, timestep, words, **told).sample, first_frame)
    with_photo = detach(unet(attach(z_t, z_first + 1, first_frame), timestep, words, **told).sample, first_frame)
    assert ((clip - with_photo).abs().amax(dim=(0, 1, 3, 4)) > 1e-4).all()


def test_saved_unet_is_the_same_and_keeps_its_options(tmp_path):
    torch.manual_seed(0)
    unet = without_zeros(TripUNet(**SIZES, first_frame="tail", predicts="v_prediction", entry_heads=2, photo_warp=True))
    unet.save_pretrained(tmp_path)
    again = TripUNet.from_pretrained(tmp_path)
    assert (again.config.first_frame, again.config.predicts, again.config.entry_heads) == ("tail", "v_prediction", 2)
    with torch.no_grad():
        told = {"frame_times": torch.arange(3.0).expand(2, -1), "sentence": torch.randn(2, 12)}
        assert torch.equal(again(*inputs(8, 8), **told).sample, unet(*inputs(8, 8), **told).sample)


def test_public_weights_of_the_base_class_load(base, tmp_path):
    base.save_pretrained(tmp_path)
    with torch.no_grad():
        again = TripUNet.from_pretrained(tmp_path)(*inputs(8, 8)).sample
        assert (again - base(*inputs(8, 8)).sample).abs().max() < 1e-4


def test_checkpointing_changes_neither_output_nor_gradients():
    torch.manual_seed(0)
    unet = without_zeros(TripUNet(**SIZES)).train()  # with dropout: masks are drawn again as they were
    z = torch.randn(2, 4, 3, 8, 8, requires_grad=True)
    found = {}
    for recompute in (False, True):
        (unet.enable_gradient_checkpointing if recompute else unet.disable_gradient_checkpointing)()
        torch.manual_seed(1)
        unet.zero_grad()
        out = unet(z, torch.tensor([5, 700]), torch.ones(2, 7, 12)).sample
        out.square().mean().backward()
        found[recompute] = out.detach(), [parameter.grad.clone() for parameter in unet.parameters()]
    assert unet.is_gradient_checkpointing
    assert torch.allclose(found[False][0], found[True][0], atol=1e-6)
    assert all(torch.allclose(*pair, atol=1e-6) for pair in zip(found[False][1], found[True][1], strict=True))


@pytest.mark.parametrize("switched, recompute", [("", False), ("on", True), ("on and off", False)])
def test_checkpointing_forgets_what_is_inside_the_layers(switched, recompute):
    unet, saved = TripUNet(**SIZES), []
    if switched.startswith("on"):
        unet.enable_gradient_checkpointing()
    if switched.endswith("off"):
        unet.disable_gradient_checkpointing()
    with torch.autograd.graph.saved_tensors_hooks(lambda x: saved.append(x.numel()) or x, lambda x: x):
        unet(torch.randn(1, 4, 3, 8, 8), 5, torch.ones(1, 7, 12))
    assert (sum(saved) < 300_000) == recompute, sum(saved)


def copying(embedding: nn.Module, width: int) -> nn.Module:
    """An embedding whose layers give what they are given."""
    embedding.layers = nn.Sequential(nn.Linear(width, width, bias=False))
    nn.init.eye_(embedding.layers[0].weight)
    return embedding


@torch.no_grad()
def test_a_frame_half_way_is_told_half_its_waves_and_half_of_the_sentence():
    """In halves of 16 frames, as all weights have learnt it: the share, four sines, four cosines, the sentence, its share."""
    told = copying(FrameEmbedding(2, 13), 13)(torch.tensor([[0.0, 8.0], [16.0, 0.0]]), torch.tensor([[3.0, -2.0], [1.0, 5.0]]))
    start = [0, 0, 0, 0, 0, 1, 1, 1, 1]
    wanted = [
        [*start, 3, -2, 0, 0],
        [0.5, 1, 0, -1, 0, 0, -1, 0, 1, 3, -2, 1.5, -1],
        [1, 0, 0, 0, 0, -1, 1, -1, 1, 1, 5, 1, 5],
        [*start, 1, 5, 0, 0],
    ]
    assert torch.allclose(told, torch.tensor(wanted), atol=1e-5)


@torch.no_grad()
def test_a_number_is_told_by_waves_of_its_logarithm():
    """From a whole turn in a hundredth of a doubling on to one in many doublings; 128 of them, cosines first."""
    told = copying(NumberEmbedding(128), 128)(torch.tensor([0.0, 1.0, 7.0, torch.nan]))
    angles = torch.tensor([[0.0], [100.0], [300.0]]) * 10_000 ** -(torch.arange(64) / 64)
    assert torch.allclose(told[:3], torch.cat([angles.cos(), angles.sin()], dim=1), atol=1e-4) and not told[3].any()


@pytest.mark.parametrize("option", [{"frame_embedding": True}, {"added_conditions": ("fps",)}], ids=["times", "fps"])
@torch.no_grad()
def test_what_is_told_is_added_to_what_the_time_step_tells(ours, option):
    unet = TripUNet(**SIZES, **option)
    unet.load_state_dict(ours.state_dict(), strict=False)
    last = unet.frame_time_embedding.layers[-1] if "frame_embedding" in option else unet.added_embedding["fps"].layers[-1]
    shift, before = torch.randn(32), unet.time_embedding.linear_2.bias.clone()
    told = {"frame_times": torch.zeros(2, 3), "sentence": torch.zeros(2, 12), "added_conditions": {"fps": torch.ones(2)}}
    last.bias.copy_(shift)
    got = unet.eval()(*inputs(8, 8), **told).sample
    last.bias.zero_()
    unet.time_embedding.linear_2.bias.copy_(before + shift)
    assert torch.allclose(got, unet(*inputs(8, 8), **told).sample, atol=1e-5)


def test_temporal_dropout_is_that_of_the_temporal_convolutions_alone():
    shares = {
        (".temp_convs." in name, part.p)
        for name, part in TripUNet(**SIZES, temporal_dropout=0.3).named_modules()
        if isinstance(part, nn.Dropout)
    }
    assert shares == {(True, 0.3), (False, 0.0)}


def test_numbers_that_are_told_change_nothing_before_they_are_learnt(base):
    unet = TripUNet(**SIZES, added_conditions=("fps", "strength"))
    unet.load_state_dict(base.state_dict(), strict=False)
    unet.eval()
    z, words = torch.randn(2, 4, 3, 8, 8), torch.ones(2, 7, 12)
    told = {"fps": torch.tensor([4.0, 30.0]), "strength": torch.tensor([1.0, torch.nan])}
    with torch.no_grad():
        untold = unet(z, 5, words).sample
        assert torch.equal(unet(z, 5, words, added_conditions=told).sample, untold)
        nn.init.normal_(unet.added_embedding["strength"].layers[-1].weight)
        learnt = unet(z, 5, words, added_conditions=told).sample
    assert not torch.allclose(learnt[0], untold[0], atol=1e-3)
    assert torch.equal(learnt[1], untold[1]), "a number that is not known counts as not told"


@torch.no_grad()
def test_a_moved_photo_that_is_given_takes_the_place_of_moved_latents():
    torch.manual_seed(0)
    unet = without_zeros(TripUNet(**SIZES, photo_warp=True, warp_space="pixel")).eval()
    (sample, timestep, words), sentence = inputs(8, 8, frames=3), torch.randn(2, 12)
    told = {"frame_times": torch.arange(3.0).expand(2, -1), "sentence": sentence}
    latents = moved(sample[:, :, 0], unet.motion_field(sample[:, :, 0], sentence), told["frame_times"])
    own = unet(sample, timestep, words, **told).sample
    assert unet.moves_pixels and torch.equal(unet(sample, timestep, words, **told, moved_photo=latents).sample, own)
    assert (unet(sample, timestep, words, **told, moved_photo=latents + 1).sample - own).abs().max() > 1e-3
