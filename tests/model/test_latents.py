"""Pixels to latents and back."""

import numpy as np
import pytest
import torch
from diffusers import AsymmetricAutoencoderKL, AutoencoderKL, AutoencoderTiny

from trip.model.build import build_vae
from trip.model.latents import colours_of, decode_video, encode_video, fit_colours, fold_statistics, round_trip, to_uint8
from trip.settings import PRESETS

STATISTICS = {"latents_mean": [0.5, -1.0, 0.0, 2.0], "latents_std": [2.0, 0.5, 1.0, 3.0]}


def tiny_vae(**config) -> AutoencoderKL:
    torch.manual_seed(0)
    vae = build_vae(PRESETS["tiny"].model).eval()
    vae.register_to_config(**config)
    return vae


@pytest.fixture
def video() -> torch.Tensor:
    return torch.rand(2, 3, 5, 12, 20, generator=torch.Generator().manual_seed(1)) * 2 - 1


def test_shapes(video):
    vae = tiny_vae()
    latents = encode_video(vae, video)
    assert latents.shape == (2, 4, 5, 6, 10) and latents.dtype == torch.float32
    pixels = decode_video(vae, latents)
    assert pixels.shape == video.shape and pixels.abs().max() <= 1


def test_latents_are_scaled_by_the_channels_statistics(video):
    raw, scaled = encode_video(tiny_vae(scaling_factor=1.0), video), encode_video(tiny_vae(**STATISTICS), video)
    mean, deviation = (torch.tensor(values).view(1, 4, 1, 1, 1) for values in STATISTICS.values())
    assert torch.allclose(scaled, (raw - mean) / deviation, atol=1e-5)


def test_latents_of_public_weights_are_scaled_by_their_factor(video):
    assert torch.allclose(encode_video(tiny_vae(scaling_factor=0.5), video), 0.5 * encode_video(tiny_vae(scaling_factor=1.0), video))


@pytest.mark.parametrize("config", [STATISTICS, {"scaling_factor": 0.18215}])
def test_decoding_undoes_the_scale(video, config):
    plain, scaled = tiny_vae(scaling_factor=1.0), tiny_vae(**config)
    wanted = decode_video(plain, encode_video(plain, video))
    assert torch.allclose(decode_video(scaled, encode_video(scaled, video)), wanted, atol=1e-3)


def test_frames_are_coded_alone_whatever_the_chunk(video):
    vae = tiny_vae()
    latents = encode_video(vae, video)
    assert torch.allclose(encode_video(vae, video, chunk=3), latents, atol=1e-5)
    assert torch.allclose(encode_video(vae, video[1:, :, 2:3]), latents[1:, :, 2:3], atol=1e-5)
    assert torch.allclose(decode_video(vae, latents, chunk=1), decode_video(vae, latents), atol=1e-4)


def test_pixels_are_the_autoencoders_between_minus_one_and_one():
    vae, latents = tiny_vae(scaling_factor=1.0), 30 * torch.randn(1, 4, 2, 6, 10, generator=torch.Generator().manual_seed(4))
    with torch.no_grad():
        wanted = vae.decode(latents[0].transpose(0, 1)).sample.transpose(0, 1)
    assert wanted.min() < -1 and wanted.max() > 1
    assert torch.allclose(decode_video(vae, latents)[0], wanted.clamp(-1, 1), atol=1e-5)


def test_colours_stay_between_minus_one_and_one_and_are_enlarged_smoothly():
    ramp = torch.linspace(-2, 2, 8).view(1, 1, 1, 1, 8).expand(1, 4, 1, 8, 8)
    colours = colours_of(ramp, torch.eye(5, 3))
    row = colours[0, 0, 0, 16]
    assert colours.shape == (1, 3, 1, 32, 32) and (row.diff() >= 0).all() and row.unique().numel() > 12
    assert (row[0], row[-1]) == (-1, 1)
    assert torch.allclose(row, -row.flip(0), atol=1e-5)  # cells cover the frame evenly, corner to corner


def test_colours_that_are_linear_in_the_latents_are_found():
    generator = torch.Generator().manual_seed(2)
    z_first, colour_map = torch.randn(1, 4, 1, 6, 10, generator=generator), torch.randn(5, 3, generator=generator) * 0.1
    small = torch.einsum("bcfhw,cd->bdfhw", torch.cat([z_first, torch.ones(1, 1, 1, 6, 10)], dim=1), colour_map)
    photo = small.repeat_interleave(8, dim=3).repeat_interleave(8, dim=4)
    found = fit_colours(z_first, photo)
    assert torch.allclose(found, colour_map, atol=1e-4)
    assert torch.allclose(colours_of(z_first, found, enlarged=1), small, atol=1e-4)


@pytest.mark.parametrize("config", [STATISTICS, {"scaling_factor": 0.25}], ids=["per channel", "one factor"])
def test_folded_statistics_leave_latents_and_pixels_as_they_were(config):
    vae, video = tiny_vae(**config), torch.rand(1, 3, 2, 32, 32) * 2 - 1
    latents = encode_video(vae, video)
    pixels = decode_video(vae, latents)
    fold_statistics(vae)
    assert torch.allclose(encode_video(vae, video), latents, atol=1e-5) and torch.allclose(decode_video(vae, latents), pixels, atol=1e-5)
    with torch.no_grad():
        posterior = vae.encode(video[:, :, 0]).latent_dist
        assert torch.allclose(posterior.mode(), latents[:, :, 0], atol=1e-5) and vae.config.scaling_factor == 1
        deviation = torch.tensor(config.get("latents_std", [1 / config.get("scaling_factor", 1)] * 4)).view(1, 4, 1, 1)
        assert torch.allclose(posterior.std, tiny_vae(**config).encode(video[:, :, 0]).latent_dist.std / deviation, atol=1e-5)


@pytest.mark.parametrize("kind", [AsymmetricAutoencoderKL, AutoencoderTiny])
def test_diffusers_other_autoencoders_of_pictures_are_taken(kind, video):
    torch.manual_seed(0)
    if kind is AutoencoderTiny:
        blocks = {"num_encoder_blocks": (1, 1), "num_decoder_blocks": (1, 1)}
        vae = kind(encoder_block_out_channels=(8, 8), decoder_block_out_channels=(8, 8), scaling_factor=0.5, **blocks)
    else:
        blocks = {"down_block_types": ("DownEncoderBlock2D",) * 2, "up_block_types": ("UpDecoderBlock2D",) * 2}
        vae = kind(down_block_out_channels=(8, 8), up_block_out_channels=(8, 8), norm_num_groups=4, scaling_factor=0.5, **blocks)
    latents = encode_video(vae.eval(), video)
    with torch.no_grad():
        raw = vae.encode(video[0].transpose(0, 1))
    raw = raw.latents if kind is AutoencoderTiny else raw.latent_dist.mode()
    assert torch.allclose(latents[0].transpose(0, 1), 0.5 * raw, atol=1e-5)
    assert decode_video(vae, latents).shape == video.shape


def test_pixels_are_whole_numbers_of_which_none_is_out_of_range():
    levels = torch.tensor([-1.5, -1.0, -0.996, 0.0, 0.2, 1.0, 1.5]).view(1, 1, 7, 1, 1).expand(2, 3, 7, 4, 5)
    pixels = to_uint8(levels)
    assert pixels.dtype == np.uint8 and pixels.shape == (2, 7, 4, 5, 3)
    assert pixels[1, :, 2, 3, 1].tolist() == [0, 0, 1, 128, 153, 255, 255]


def test_a_clip_comes_back_as_the_autoencoder_has_it():
    vae, frames = tiny_vae(), np.random.default_rng(0).integers(0, 256, (3, 8, 12, 3), dtype=np.uint8)
    video = torch.from_numpy(frames.astype(np.float32) / 255 * 2 - 1).permute(3, 0, 1, 2)[None]
    wanted = decode_video(vae, encode_video(vae, video))[0].permute(1, 2, 3, 0)
    found = round_trip(vae, frames)
    assert found.shape == frames.shape and np.abs(found - ((wanted.clamp(-1, 1) + 1) * 127.5).numpy()).max() < 0.51
