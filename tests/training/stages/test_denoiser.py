"""What a step of the denoiser sees, and that its loss is Eq. 10."""

from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from trip.data.cache import LatentCache, Sample, encode_cache
from trip.model.build import build_scheduler, build_text_encoder, build_unet, build_vae
from trip.model.conditioning import frame_times
from trip.model.denoiser import Denoiser
from trip.model.fusion import NoiseFusion
from trip.model.latents import decode_video, encode_video
from trip.model.text import train_tokenizer
from trip.model.warp import encoded_after_moving, places_of
from trip.settings import PRESETS, RecipeSettings, StageSettings
from trip.training.loop import step_generator
from trip.training.stages.denoiser import DenoiserStage

TINY = PRESETS["tiny"].model
SETTINGS = StageSettings(max_steps=10, batch_size=8, num_frames=4, learning_rate=2e-6, fusion_learning_rate=2e-4)
RECIPE = RecipeSettings(text_drop=0.15, denoiser=SETTINGS)


def cache_of(folder, still: bool, num_frames: int = 7) -> LatentCache:
    """Random clips of `num_frames` 4 x 8 x 8 latents, all frames alike where `still`."""

    def draw(rng: np.random.Generator) -> Sample:
        frames = rng.integers(0, 256, (1 if still else num_frames, 8, 8, 3), dtype=np.uint8)
        frames = np.broadcast_to(frames, (num_frames, 8, 8, 3)).copy()
        return Sample(frames, 0.5 * np.arange(num_frames), f"the camera pans, clip {rng.integers(100)}")

    list(encode_cache(folder, draw, lambda video: torch.cat([video, video[:, :1]], dim=1), num_clips=20, seed=0, key={"test": "denoiser"}))
    return LatentCache(folder)


def stage_of(cache: LatentCache, *, recipe: RecipeSettings = RECIPE, fusion: NoiseFusion | None = None, seed: int = 0) -> DenoiserStage:
    torch.manual_seed(0)
    tokenizer = train_tokenizer(["the camera pans"], vocabulary=600, max_tokens=TINY.text.max_tokens)
    fusion = fusion or NoiseFusion(channels=4, width=16, heads=2, num_frames=4)
    return DenoiserStage(
        "denoiser",
        Denoiser(build_unet(TINY), fusion).eval(),
        cache,
        cache,
        SETTINGS,
        vae=build_vae(TINY),
        text_encoder=build_text_encoder(TINY, len(tokenizer)).eval(),
        tokenizer=tokenizer,
        scheduler=build_scheduler(TINY),
        recipe=recipe,
        seed=seed,
    )


def changed(**values) -> RecipeSettings:
    return RECIPE.model_copy(update=values)


@pytest.fixture(scope="module")
def cache(tmp_path_factory) -> LatentCache:
    return cache_of(tmp_path_factory.mktemp("moving"), still=False)


@pytest.fixture(scope="module")
def stage(cache) -> DenoiserStage:
    return stage_of(cache)


def test_3d_unet_and_fusion_have_their_own_rates(stage):
    groups = stage.param_groups()
    assert [group["lr"] for group in groups] == [2e-6, 2e-4]
    assert len(groups[0]["params"]) == len(list(stage.model.unet.parameters()))


def test_text_is_left_out_as_often_as_the_recipe_says(stage):
    prompts = [prompt for step in range(250) for prompt in stage.batch(step, 0, 1)["prompts"]]
    assert prompts.count("") / len(prompts) == pytest.approx(0.15, abs=0.03)  # three deviations of 2,000 draws
    assert set(prompts) - {""} <= set(stage.cache.captions)


def test_cached_text_is_left_out_with_its_prompt(cache):
    stage = stage_of(cache)
    said, stage.cache = (
        torch.ones(3, 16),
        SimpleNamespace(
            num_frames=cache.num_frames,
            unsaid=(torch.zeros(3, 16), torch.zeros(16)),
            draw=lambda seed, position: replace(cache.draw(seed, position), words=torch.ones(3, 16), sentence=torch.ones(16)),
        ),
    )
    left_out = []
    for step in range(20):
        batch = stage.batch(step, 0, 1)
        for prompt, words, sentence in zip(batch["prompts"], batch["words"], batch["sentence"], strict=True):
            left_out.append(prompt == "")
            assert torch.equal(words, 0 * said if prompt == "" else said) and sentence.sum() == (0 if prompt == "" else 16)
    assert 0 < sum(left_out) < len(left_out)


def test_a_step_sees_the_photo_and_frames_at_one_distance(stage):
    distances = set()
    for step in range(30):
        batch = stage.batch(step, 0, 1)
        assert batch["z_0"].shape == (8, 4, 4, 8, 8) and batch["z_0"].dtype == torch.float32
        assert (batch["times"][:, 0] == 0).all()
        distances |= set(batch["times"].diff(dim=1).flatten().tolist())
    assert distances == {0.5, 1.0}  # the cached clips' own and twice that; three times does not fit


def test_a_batch_is_a_function_of_seed_step_and_rank(cache, stage):
    same, step, rank, seed = stage.batch(5, 0, 2), stage.batch(6, 0, 2), stage.batch(5, 1, 2), stage_of(cache, seed=1).batch(5, 0, 2)
    assert torch.equal(stage.batch(5, 0, 2)["z_0"], same["z_0"]) and stage.batch(5, 0, 2)["prompts"] == same["prompts"]
    for other in (step, rank, seed):
        assert not torch.equal(other["z_0"], same["z_0"])


def test_loss_of_the_prior_on_still_clips_is_zero(tmp_path):
    """There the prior is the noise (Eq. 7 with C_t = 0), so believing it alone solves Eq. 10."""
    fusion = NoiseFusion(kind="linear", num_frames=4, lam_first=1, lam_last=1, motion_variance=0)
    still = stage_of(cache_of(tmp_path, still=True), fusion=fusion)
    loss, figures = still.loss(still.model, still.batch(0, 0, 1), step_generator(0, 0, 0))
    assert loss.item() < 1e-6
    for paths in figures["by_noise"].values():
        assert paths["prior"] < 1e-2 and paths["fused"] == paths["prior"] and paths["unet"] > 0.1


def test_error_of_the_prior_is_the_motion_at_every_noise_level(stage):
    """Over alpha_bar, its squared error is C_t^2 / alpha_bar = (z_0^i - z_0^1)^2 / (1 - alpha_bar): never below the motion's."""
    batch = stage.batch(0, 0, 1) | {"timestep": torch.arange(8) * 140}
    motion = (batch["z_0"] - batch["z_0"][:, :, :1]).square().flatten(1).mean(dim=1)
    _, figures = stage.loss(stage.model, batch, step_generator(0, 0, 0))
    assert figures["by_noise"]["4"]["prior"] == pytest.approx(motion.mean().item(), rel=0.2)
    assert all(paths["prior"] > motion.min() * 0.99 for paths in figures["by_noise"].values())


def test_loss_weights_are_the_same_error_times_their_factor(cache):
    """On a single clip, so that there is one time step."""
    losses = {}
    for weight in ("epsilon", "v", "min_snr"):
        one = stage_of(cache, recipe=changed(loss_weight=weight))
        batch = {name: values[:1] for name, values in one.batch(0, 0, 1).items() if name != "added_conditions"} | {"added_conditions": {}}
        losses[weight] = one.loss(one.model, batch, step_generator(0, 0, 0))[0].item()
        alpha_bar = build_scheduler(TINY).alphas_cumprod[batch["timestep"]].item()
    assert losses["v"] == pytest.approx(losses["epsilon"] / alpha_bar, rel=1e-4)
    ratio = alpha_bar / (1 - alpha_bar)
    assert losses["min_snr"] == pytest.approx(losses["epsilon"] * min(ratio, 5) / ratio, rel=1e-4)


@pytest.mark.parametrize("spread", [None, 1.0])
def test_time_steps_cover_the_schedule(cache, spread):
    """Uniform where the recipe says nothing, else more of them around the middle."""
    levels = stage_of(cache, recipe=changed(timestep_spread=spread))._timesteps(4000, torch.Generator().manual_seed(0))
    assert 0 <= levels.min() < 100 and 900 < levels.max() <= 999
    middle = ((levels > 250) & (levels < 750)).float().mean().item()
    assert middle == pytest.approx(0.5 if spread is None else 0.728, abs=0.03)  # of a unit Gaussian between -1.1 and 1.1


def test_evaluation_is_the_same_every_time(stage):
    figures = stage.evaluate()
    assert set(figures) == {"held_out_loss", "held_out_fused", "held_out_unet", "held_out_prior"}
    assert all(np.isfinite(value) for value in figures.values())
    assert stage.evaluate() == figures


def test_a_strip_of_samples_is_drawn(stage, tmp_path):
    stage.sample(tmp_path / "strip.png")
    assert (tmp_path / "strip.png").stat().st_size > 0


@pytest.mark.parametrize("kept", [True, False])
@torch.no_grad()
def test_the_network_is_shown_the_photo_as_its_pixels_move(stage, cache, kept):
    """The first frame where it is cached, else what the autoencoder makes of its latent, and noise as the photo is shown with."""
    clips = [cache.clip(0), cache.clip(1)]
    pixels = torch.randint(0, 256, (2, 16, 16, 3), dtype=torch.uint8)  # latents are half as wide
    clips = [replace(clip, photo=one) for clip, one in zip(clips, pixels, strict=True)] if kept else clips
    batch = stage._batch(clips, [np.arange(4)] * 2, [False] * 2)
    batch["photo_noise"] = torch.randn(2, 4, 1, 8, 8)
    loud = stage_of(cache, recipe=changed(photo_noise=0.5))
    told = loud._condition(batch, torch.tensor([500, 900]))

    field, times = loud.model.unet.motion_field(told.z_first[:, :, 0], told.sentence), frame_times(told.times, "head")
    photo = pixels.permute(0, 3, 1, 2) / 127.5 - 1 if kept else decode_video(loud.vae, told.z_first)[:, :, 0]
    clean, shown = encoded_after_moving(loud.vae, photo, field, times), told.moved_photo(field, times)
    assert torch.allclose((shown - clean)[:, :4], (told.z_shown - told.z_first).expand(-1, -1, 5, -1, -1), atol=1e-5)
    assert (told.z_shown - told.z_first).abs().mean() > 0.05 and torch.equal(shown[:, 4], clean[:, 4])


@torch.no_grad()
def test_of_a_clip_that_sways_the_network_is_shown_how_it_did(stage, cache):
    """The truth where chance decided it, or else the network's own motion: of a camera move, and of a film, which tells only a part."""
    still = places_of(24, 24, torch.device("cpu")).permute(2, 0, 1).expand(7, -1, -1, -1)
    motion = torch.cat([still + torch.tensor([0.5, 0.0]).view(2, 1, 1), torch.ones(7, 2, 24, 24)], dim=1)
    filmed = motion.clone()
    filmed[:, 3, :4] = 0.5
    clips = [
        replace(cache.clip(0), motion=motion, sways=sways, photo=torch.randint(0, 256, (16, 16, 3), dtype=torch.uint8))
        for motion, sways in [(motion, True), (motion, False), (filmed, True)]
    ]
    told = stage._condition(stage._batch(clips, [np.arange(4)] * 3, [False] * 3), torch.tensor([500, 500, 500]))
    field, times = stage.model.unet.motion_field(told.z_first[:, :, 0], told.sentence), frame_times(told.times, "head")
    shown = told.moved_photo(field, times)

    photo = torch.stack([clip.photo for clip in clips]).permute(0, 3, 1, 2) / 127.5 - 1
    own = encoded_after_moving(stage.vae, photo, field, times)
    right = torch.cat([photo[..., 4:], photo[..., -1:].expand(-1, -1, -1, 4)], dim=3)  # a quarter of the width, the edge repeated
    moved = encode_video(stage.vae, right.unsqueeze(2))[:, :, 0]
    assert torch.allclose(shown[1:], own[1:], atol=1e-5) and torch.allclose(shown[0, :, 0], own[0, :, 0], atol=1e-5)
    assert torch.allclose(shown[0, :4, 1:], moved[0].unsqueeze(1).expand(-1, 4, -1, -1), atol=1e-4)
    assert (shown[0, :4, 1:] - own[0, :4, 1:]).abs().mean() > 0.01
