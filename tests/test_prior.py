"""The image noise prior under models of others: every prediction and schedule, by networks whose clean clip is known."""

import os
import subprocess
import sys
from pathlib import Path

import diffusers
import pytest
import torch
from diffusers import (
    DDIMScheduler,
    DPMSolverMultistepScheduler,
    EulerDiscreteScheduler,
    FlowMatchEulerDiscreteScheduler,
    UniPCMultistepScheduler,
)
from einops import rearrange
from torch import Tensor

from tests.first_frame import tiny
from trip.diffusion import image_noise_prior
from trip.media import read_clip
from trip.prior import LAYOUTS, SHARES, ImagePrior, Shares, encode_photo, held_by, noise_level, start_noise

ROOT = Path(__file__).parents[1]
HELD, FREE = Shares(1, 1, 0, 1), Shares(0, 0, 0, 1)
SD = {"num_train_timesteps": 1000, "beta_start": 0.00085, "beta_end": 0.012, "beta_schedule": "scaled_linear"}
SCHEDULERS = {
    "ddim epsilon": DDIMScheduler(**SD, clip_sample=False),
    "ddim v": DDIMScheduler(
        **SD, clip_sample=False, prediction_type="v_prediction", rescale_betas_zero_snr=True, timestep_spacing="trailing"
    ),
    "ddim sample": DDIMScheduler(**SD, clip_sample=False, prediction_type="sample"),
    "dpm++ epsilon": DPMSolverMultistepScheduler(**SD),
    "euler epsilon": EulerDiscreteScheduler(**SD),
    "euler v": EulerDiscreteScheduler(**SD, prediction_type="v_prediction"),
    "unipc v": UniPCMultistepScheduler(**SD, prediction_type="v_prediction"),
    "flow": FlowMatchEulerDiscreteScheduler(shift=3.0),
    "unipc flow": UniPCMultistepScheduler(prediction_type="flow_prediction", use_flow_sigmas=True, flow_shift=3.0),
}
CLIP = (1, 4, 5, 6, 6)
SMALL_UNET = {"sample_size": 8, "block_out_channels": (8, 8), "norm_num_groups": 4, "layers_per_block": 1}


@pytest.fixture(params=list(SCHEDULERS))
def scheduler(request):
    return type(SCHEDULERS[request.param]).from_config(SCHEDULERS[request.param].config)


@pytest.fixture
def clips():
    """Latents of a photo in every frame, and of a clip that moves away from it."""
    source = torch.Generator().manual_seed(0)
    z = torch.randn(1, 4, 1, 6, 6, generator=source).repeat(1, 1, 5, 1, 1)
    moved = z + 0.2 * torch.arange(5).view(1, 1, 5, 1, 1) * torch.randn(CLIP, generator=source)
    return z, moved


def sampled(scheduler, z_0: Tensor, prior: ImagePrior | None = None, num_steps: int = 8, error: Tensor | float = 0.0) -> Tensor:
    """The clip that a network samples which sees `z_0` in whatever it is given, but for an error of its own."""
    scheduler.set_timesteps(num_steps)
    z_t = torch.randn(CLIP, generator=torch.Generator().manual_seed(1)) * getattr(scheduler, "init_noise_sigma", 1)
    for t in scheduler.timesteps:
        if hasattr(scheduler, "scale_model_input"):
            scheduler.scale_model_input(z_t, t)
        predicted = noise_level(scheduler, t).meant(z_0 + error, z_t)
        if prior is None:
            z_t = scheduler.step(predicted, t, z_t, return_dict=False)[0]
        else:
            with held_by(scheduler, prior):
                z_t = scheduler.step(predicted, t, z_t, return_dict=False)[0]
    return z_t


def test_a_prediction_means_what_the_scheduler_takes_it_for(scheduler, clips):
    z, moved = clips
    torch.testing.assert_close(sampled(scheduler, moved), moved, atol=2e-3, rtol=0)
    scheduler.set_timesteps(8)
    t, z_t = scheduler.timesteps[3], torch.randn(CLIP)
    level = noise_level(scheduler, t)
    torch.testing.assert_close(level.clean(level.meant(z, z_t), z_t), z, atol=1e-4, rtol=1e-4)


def test_at_every_step_a_prediction_means_what_the_scheduler_takes_it_for(scheduler, clips):
    scheduler.set_timesteps(6)
    for t in scheduler.timesteps:
        z_t = torch.randn(CLIP)
        scheduler.scale_model_input(z_t, t) if hasattr(scheduler, "scale_model_input") else None
        level = noise_level(scheduler, t)
        predicted = level.meant(clips[1], z_t)
        if scheduler.config.get("prediction_type") not in (None, "flow_prediction"):
            torch.testing.assert_close(
                level.alpha_bar, scheduler.alphas_cumprod[int(t)].double().clamp_min(1e-12), rtol=5e-3, atol=1e-6
            )  # Euler is told times between whole ones
        if hasattr(scheduler, "convert_model_output"):
            scheduler._init_step_index(t)
            taken = scheduler.convert_model_output(predicted, sample=z_t)
        else:
            step = scheduler.step(predicted, t, z_t)
            taken = step.pred_original_sample if hasattr(step, "pred_original_sample") else clips[1]
        torch.testing.assert_close(taken, clips[1], atol=2e-3, rtol=1e-3)


def test_the_shares_of_each_name_hold_less_than_the_one_before(clips):
    z, moved = clips
    scheduler = _set(SCHEDULERS["ddim epsilon"])
    level, z_t = noise_level(scheduler, scheduler.timesteps[2]), torch.randn(CLIP)
    network = level.meant(moved, z_t)
    away = [(level.clean(ImagePrior(z, shares).hold(network, z_t, level, 0.2), z_t) - z).square().mean() for shares in SHARES.values()]
    assert list(SHARES) == ["still", "usual", "free"] and away[0] < away[1] < away[2] < (moved - z).square().mean()
    assert [shares.ends for shares in SHARES.values()] == [1, 0.6, 0.4]


def test_the_whole_prior_gives_the_photo_held_still(scheduler, clips):
    z, moved = clips
    torch.testing.assert_close(sampled(scheduler, moved, ImagePrior(z, HELD)), z, atol=2e-3, rtol=0)


def test_no_prior_gives_the_parents_sampler_bit_for_bit(scheduler, clips):
    z, moved = clips
    parent = sampled(scheduler, moved)
    assert torch.equal(sampled(scheduler, moved, ImagePrior(z, FREE)), parent)
    assert torch.equal(sampled(scheduler, moved, ImagePrior(z, Shares(ends=0.0))), parent)
    assert "step" not in vars(scheduler)


def test_the_photos_own_frame_comes_out_as_it_is(scheduler, clips):
    z, moved = clips
    held = sampled(scheduler, moved, ImagePrior(z, Shares(1, 0.2, 0, 1)), error=0.3)
    torch.testing.assert_close(held[:, :, 0], z[:, :, 0], atol=1e-3, rtol=0)
    assert (held[:, :, 4] - z[:, :, 4]).abs().mean() > 0.2


def test_the_prior_lowers_the_error_where_frames_resemble_the_photo(scheduler, clips):
    """At a step in the middle, as Eq. 9 has it: the clip that the held prediction means is nearer to the true one."""
    z, moved = clips
    scheduler.set_timesteps(8)
    t, z_t = scheduler.timesteps[3], torch.randn(CLIP, generator=torch.Generator().manual_seed(2))
    level, error = noise_level(scheduler, t), 0.5 * torch.randn(CLIP, generator=torch.Generator().manual_seed(3))
    alone = level.meant(moved + error, z_t)
    held = ImagePrior(z, SHARES["usual"]).hold(alone, z_t, level)
    left = [(level.clean(prediction, z_t) - moved).square().mean((0, 1, 3, 4)) for prediction in (alone, held)]
    by_frame = left[1] / left[0]
    assert by_frame[0] < 0.5 and by_frame[1] < 0.9 and by_frame[4] < 1.05


def test_what_is_wrong_in_the_photos_frame_is_taken_off_all(scheduler, clips):
    z, moved = clips
    shares = Shares(0, 0, 0, 1)
    held = sampled(scheduler, moved, ImagePrior(z, shares, feedback=True), error=0.4)
    torch.testing.assert_close(held, moved, atol=3e-3, rtol=0)


def test_of_the_noise_the_prior_is_eq_8(clips):
    scheduler = SCHEDULERS["ddim epsilon"]
    scheduler.set_timesteps(10)
    z, moved = clips
    for t in scheduler.timesteps:
        level = noise_level(scheduler, t)
        torch.testing.assert_close(level.alpha_bar, scheduler.alphas_cumprod[t].double())
        torch.testing.assert_close(
            level.meant(z, moved), image_noise_prior(moved, z, scheduler.alphas_cumprod[t].view(1)), atol=1e-4, rtol=1e-4
        )


def test_towards_the_end_the_network_goes_on_by_itself(clips):
    z, moved = clips
    scheduler = SCHEDULERS["flow"]
    scheduler.set_timesteps(10)
    level, prior = noise_level(scheduler, scheduler.timesteps[5]), ImagePrior(z, SHARES["usual"])
    assert prior.hold(moved, z, level, 0.6) is moved
    assert not torch.equal(prior.hold(moved, z, level, 0.59), moved)


@pytest.mark.parametrize("layout", dict.fromkeys(LAYOUTS.values()))
def test_every_layout_is_the_same_clip(clips, layout):
    z, moved = clips
    level, noise = noise_level(_set(SCHEDULERS["ddim epsilon"]), 500), torch.randn(CLIP)
    known = {name: size for name, size in zip("bcfhw", CLIP, strict=True)}
    way = {name: known[name] for name in "fhw" if name in layout}
    one = ImagePrior(z).hold(moved, noise, level)
    other = ImagePrior(z, layout=layout).hold(*(rearrange(part, f"b c f h w -> {layout}") for part in (moved, noise)), level)
    torch.testing.assert_close(rearrange(other, f"{layout} -> b c f h w", **way), one)
    half = ImagePrior(z).hold(moved.half(), noise.half(), level)
    assert half.dtype == torch.float16


def _set(scheduler):
    scheduler.set_timesteps(10)
    return scheduler


def test_the_layouts_are_of_pipelines_that_there_are():
    assert all(hasattr(diffusers, name) for name in LAYOUTS)


def test_start_noise_has_the_low_frequencies_of_the_photo(clips):
    level = noise_level(_set(SCHEDULERS["ddim epsilon"]), 999)
    eps = torch.randn(1, 4, 8, 16, 16, generator=torch.Generator().manual_seed(5))
    flat, rough = torch.full_like(eps, 3.0), 3 * (-1.0) ** (torch.arange(16).view(-1, 1) + torch.arange(16)).expand_as(eps)
    signal = level.alpha_bar.sqrt()
    kept = start_noise(flat, level, eps) - start_noise(torch.zeros_like(eps), level, eps)
    torch.testing.assert_close(kept, (signal * flat).to(kept), atol=1e-5, rtol=1e-4)
    gone = start_noise(rough, level, eps) - start_noise(torch.zeros_like(eps), level, eps)
    assert gone.abs().max() < 1e-3 * float(signal) * 3
    assert abs(float(start_noise(flat, level, eps).std()) - 1) < 0.05


@pytest.mark.parametrize("cutoff", [0.1, 0.25])
def test_start_noise_by_frequency(cutoff):
    """A wave of a known frequency comes through as the filter says."""
    level = noise_level(_set(SCHEDULERS["ddim epsilon"]), 999)
    wave = torch.cos(2 * torch.pi * 3 * torch.arange(32) / 32).expand(1, 1, 4, 32, 32)
    low = torch.exp(torch.tensor(-((3 / 16) ** 2) / (2 * cutoff**2)))
    made = start_noise(wave, level, torch.zeros(wave.shape), cutoff)
    torch.testing.assert_close(made, level.alpha_bar.sqrt().float() * low * wave, atol=1e-5, rtol=1e-3)
    eps = torch.cos(2 * torch.pi * 3 * torch.arange(32) / 32).view(-1, 1).expand(1, 1, 4, 32, 32)
    made = start_noise(torch.zeros(wave.shape), level, eps, cutoff)
    torch.testing.assert_close(made, eps * (1 - low * (1 - (1 - level.alpha_bar).sqrt().float())), atol=1e-5, rtol=1e-3)


def test_what_is_no_clip_or_no_prediction_is_told(clips):
    with pytest.raises(ValueError, match="wanted latents as b c f h w, got .* see encode_photo"):
        ImagePrior(torch.zeros(1, 4, 8, 8))
    with pytest.raises(ValueError, match="unknown layout 'c f b'; choose"):
        ImagePrior(clips[0], layout="c f b")
    scheduler = EulerDiscreteScheduler(**SD)
    scheduler.register_to_config(prediction_type="score")
    scheduler.set_timesteps(4)
    with pytest.raises(ValueError, match="unknown prediction 'score'"):
        noise_level(scheduler, scheduler.timesteps[0])


# whole pipelines of others, tiny and random


def test_a_picture_autoencoder_gives_the_photo_in_every_frame(pipe):
    photo = torch.rand(1, 3, 32, 32) * 2 - 1
    z = encode_photo(pipe.vae, photo, 5)
    assert z.shape[2] == 5 and (z == z[:, :, :1]).all()


def test_an_autoencoder_of_clips_is_given_the_photo_held_and_scales_as_its_pipeline_does():
    torch.manual_seed(0)
    photo = torch.rand(1, 3, 64, 64) * 2 - 1
    video = photo.unsqueeze(2).repeat(1, 1, 9, 1, 1)
    vae = wan().vae
    mean, deviation = (torch.tensor(vae.config[name]).view(1, -1, 1, 1, 1) for name in ("latents_mean", "latents_std"))
    with torch.no_grad():
        torch.testing.assert_close(encode_photo(vae, photo, 9), (vae.encode(video).latent_dist.mode() - mean) / deviation)
    vae = diffusers.AutoencoderKLCogVideoX(
        block_out_channels=(4, 4, 4, 4),
        down_block_types=("CogVideoXDownBlock3D",) * 4,
        up_block_types=("CogVideoXUpBlock3D",) * 4,
        layers_per_block=1,
        norm_num_groups=2,
        scaling_factor=0.7,
    )
    with torch.no_grad():
        torch.testing.assert_close(encode_photo(vae, photo, 9), vae.encode(video).latent_dist.mode() * 0.7)


def text_to_video() -> diffusers.DiffusionPipeline:
    """ModelScope's classes."""
    unet = diffusers.UNet3DConditionModel(
        **SMALL_UNET,
        down_block_types=("CrossAttnDownBlock3D", "DownBlock3D"),
        up_block_types=("UpBlock3D", "CrossAttnUpBlock3D"),
        cross_attention_dim=8,
        attention_head_dim=4,
    )
    return diffusers.TextToVideoSDPipeline(small_vae(), None, None, unet, DDIMScheduler(**SD, clip_sample=False, steps_offset=1))


def motion_unet(width: int = 8) -> diffusers.UNetMotionModel:
    return diffusers.UNetMotionModel(
        **SMALL_UNET,
        down_block_types=("CrossAttnDownBlockMotion", "DownBlockMotion"),
        up_block_types=("UpBlockMotion", "CrossAttnUpBlockMotion"),
        cross_attention_dim=width,
        num_attention_heads=2,
        motion_num_attention_heads=2,
        motion_max_seq_length=16,
    )


def animatediff() -> diffusers.DiffusionPipeline:
    """Stable Diffusion with a motion module."""
    scheduler = DDIMScheduler(num_train_timesteps=1000, beta_start=0.00085, beta_end=0.012, beta_schedule="linear", clip_sample=False)
    return diffusers.AnimateDiffPipeline(small_vae(), None, None, motion_unet(), None, scheduler)


def wan() -> diffusers.DiffusionPipeline:
    """A transformer that predicts the flow, with an autoencoder of clips."""
    transformer = diffusers.WanTransformer3DModel(
        patch_size=(1, 2, 2),
        num_attention_heads=2,
        attention_head_dim=12,
        in_channels=16,
        out_channels=16,
        text_dim=8,
        freq_dim=16,
        ffn_dim=16,
        num_layers=1,
        cross_attn_norm=True,
        rope_max_seq_len=32,
    )
    vae = diffusers.AutoencoderKLWan(base_dim=3, z_dim=16, dim_mult=[1, 1, 1, 1], num_res_blocks=1, temperal_downsample=[False, True, True])
    scheduler = UniPCMultistepScheduler(prediction_type="flow_prediction", use_flow_sigmas=True, flow_shift=3.0)
    return diffusers.WanPipeline(None, None, vae, scheduler, transformer)


def small_vae() -> diffusers.AutoencoderKL:
    blocks = {"down_block_types": ("DownEncoderBlock2D",) * 4, "up_block_types": ("UpDecoderBlock2D",) * 4}
    return diffusers.AutoencoderKL(block_out_channels=(4, 4, 4, 4), norm_num_groups=2, latent_channels=4, **blocks)


@pytest.mark.parametrize("make, num_frames", [(text_to_video, 4), (animatediff, 4), (wan, 9)])
def test_a_pipeline_of_others_is_held_as_it_is_called(make, num_frames):
    torch.manual_seed(0)
    pipe = make()
    pipe.set_progress_bar_config(disable=True)
    photo = torch.rand(1, 3, 64, 64) * 2 - 1
    z = encode_photo(pipe.vae, photo, num_frames)
    words = torch.randn(1, 6, 8)
    asked = {"prompt_embeds": words, "negative_prompt_embeds": -words, "height": 64, "width": 64, "num_frames": num_frames}
    asked |= {"num_inference_steps": 4, "guidance_scale": 5.0, "output_type": "latent"}

    def made(shares: Shares | None = None) -> Tensor:
        source = torch.Generator().manual_seed(7)
        if shares is None:
            return pipe(**asked, generator=source).frames
        with held_by(pipe.scheduler, ImagePrior(z, shares, layout=LAYOUTS[type(pipe).__name__])):
            return pipe(**asked, generator=source).frames

    alone = made()
    assert torch.equal(made(FREE), alone)
    assert z.shape == alone.shape
    torch.testing.assert_close(made(HELD), z, atol=5e-3, rtol=1e-3)
    nearer = [(made(shares) - z).square().mean((0, 1, 3, 4)) for shares in (None, SHARES["usual"])]
    assert nearer[1][0] < nearer[0][0]


def test_the_example_makes_a_clip_of_a_folder_of_others(tmp_path):
    torch.manual_seed(0)
    parts = tiny.stable_diffusion(diffusers.StableDiffusionPipeline)
    unet, scheduler = motion_unet(tiny.WIDTH), animatediff().scheduler
    pipe = diffusers.AnimateDiffPipeline(parts.vae, parts.text_encoder, parts.tokenizer, unet, None, scheduler)
    pipe.save_pretrained(tmp_path / "model")
    words = ["examples/chelsea.jpg", "a cat", "--model", tmp_path / "model", "--size", 32, "--num-frames", 4, "--num-steps", 2]
    command = [
        sys.executable,
        "examples/hold_other_model.py",
        *map(str, words),
        "--motion",
        "still",
        "--output",
        str(tmp_path / "clip.mp4"),
    ]
    done = subprocess.run(command, cwd=ROOT, env={**os.environ, "PYTHONPATH": str(ROOT)}, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert read_clip(tmp_path / "clip.mp4").frames.shape == (4, 32, 32, 3)
