"""Timesteps cover the whole schedule, steps land where they should, and a clip goes on from where it was set aside."""

from itertools import pairwise

import pytest
import torch
from diffusers import (
    DDIMScheduler,
    EulerDiscreteScheduler,
    FlowMatchEulerDiscreteScheduler,
    KDPM2DiscreteScheduler,
    RePaintScheduler,
)

from trip.diffusion import add_noise
from trip.model.build import build_scheduler
from trip.sampler import DDIM, SAMPLERS, SoFar, check_scheduler, check_timesteps, signal_share
from trip.settings import PRESETS

PAPER = build_scheduler(PRESETS["paper"].model).config


def timesteps(kind, num_steps: int, **config) -> list[int]:
    scheduler = kind.from_config(PAPER, **config)
    scheduler.set_timesteps(num_steps)
    return scheduler.timesteps.tolist()


@pytest.mark.parametrize("spacing", ["leading", "trailing"])
def test_any_number_of_steps_covers_the_schedule_evenly(spacing):
    for num_steps in range(1, 1001):
        steps = timesteps(DDIM, num_steps, timestep_spacing=spacing)
        ways = {before - after for before, after in pairwise(steps)}
        assert len(steps) == num_steps and steps[-1] >= 0 and steps[0] <= 999
        assert all(abs(way - 1000 / num_steps) < 1.5 for way in ways)
        assert 1000 - steps[0] <= 1000 / num_steps + 1  # the first one is as near to pure noise as the spacing lets it


def test_where_the_steps_divide_the_schedule_they_are_the_base_classs():
    for num_steps in (1, 2, 4, 5, 8, 10, 20, 25, 40, 50, 100, 125, 200, 250, 500):
        assert timesteps(DDIM, num_steps) == timesteps(DDIMScheduler, num_steps)


@pytest.mark.parametrize("name", ["dpm++", "unipc"])
@pytest.mark.parametrize("spacing, bad", [("leading", 501), ("leading", 1000), ("trailing", 61)])
def test_other_samplers_say_what_they_cannot_spread(name, spacing, bad):
    scheduler = SAMPLERS[name].from_config(PAPER, timestep_spacing=spacing)
    for num_steps in (1, 2, 4, 8, 12, 20, 25, 50, 100):
        scheduler.set_timesteps(num_steps)
        check_timesteps(scheduler, num_steps)
    scheduler.set_timesteps(bad)
    with pytest.raises(ValueError, match=f"^num_steps: .* cannot spread {bad} steps over this schedule; choose fewer, or ddim$"):
        check_timesteps(scheduler, bad)


def clip_and_noise() -> tuple[torch.Tensor, torch.Tensor]:
    """A clean clip of 2 samples and its noise, b c f h w."""
    return tuple(torch.randn(2, 2, 4, 3, 2, 2, generator=torch.Generator().manual_seed(1)))


def run(sampler, z_t: torch.Tensor, so_far: SoFar | None = None, stop_after: int | None = None) -> tuple[torch.Tensor, SoFar]:
    """Steps with a noise that is a plain function of clip and timestep, and where it stands then."""
    sampler.set_timesteps(6)
    done = so_far.step if so_far else 0
    z_t = so_far.remind(sampler, z_t) if so_far else z_t
    for t in sampler.timesteps[done:stop_after]:
        z_t, done = sampler.step(torch.tanh(z_t) * (1 + t / 1000), t, z_t, return_dict=False)[0], done + 1
    return z_t, SoFar.of(done, z_t, sampler)


@pytest.mark.parametrize("spacing", ["leading", "trailing"])
def test_with_the_true_noise_each_step_lands_on_the_clip_at_the_next_timestep(spacing):
    z_0, eps = clip_and_noise()
    sampler = DDIM.from_config(PAPER, timestep_spacing=spacing)
    sampler.set_timesteps(7)
    steps = sampler.timesteps
    for now, following in pairwise(steps):
        z_t = add_noise(z_0, eps, sampler.alphas_cumprod[now].expand(2))
        reached = sampler.step(eps, now, z_t)[0]
        assert torch.allclose(reached, add_noise(z_0, eps, sampler.alphas_cumprod[following].expand(2)), atol=1e-4)
    z_t = add_noise(z_0, eps, sampler.alphas_cumprod[steps[-1]].expand(2))
    assert torch.allclose(sampler.step(eps, steps[-1], z_t)[0], add_noise(z_0, eps, sampler.final_alpha_cumprod.expand(2)), atol=1e-4)


def test_signal_is_the_schedules_also_where_a_sampler_scales_the_clip():
    for kind in (DDIM, EulerDiscreteScheduler):
        sampler = kind.from_config(PAPER)
        sampler.set_timesteps(8)
        for t in sampler.timesteps:
            assert signal_share(sampler, t).item() == pytest.approx(sampler.alphas_cumprod[int(t)].item(), rel=1e-3)
            sampler.step(torch.ones(1, 1, 1, 1, 1), t, torch.ones(1, 1, 1, 1, 1))


@pytest.mark.parametrize(
    "scheduler, message",
    [
        (EulerDiscreteScheduler.from_config(PAPER, prediction_type="v_prediction"), "got EulerDiscreteScheduler for v_prediction; leave"),
        (FlowMatchEulerDiscreteScheduler(), "got FlowMatchEulerDiscreteScheduler, which works another way; choose another"),
        (KDPM2DiscreteScheduler.from_config(PAPER), None),
        (RePaintScheduler(), "got RePaintScheduler, which works another way; choose another"),  # its step wants the masked picture, too
        (DDIM.from_config(PAPER, rescale_betas_zero_snr=True), "got DDIM rescaled to no signal at all at its end; leave"),
        (DDIM.from_config(PAPER), None),
    ],
)
def test_a_scheduler_that_cannot_sample_here_is_refused_in_one_line(scheduler, message):
    if message is None:
        return check_scheduler(scheduler)
    with pytest.raises(ValueError) as caught:
        check_scheduler(scheduler)
    assert message in str(caught.value) and "\n" not in str(caught.value)


@pytest.mark.parametrize("name", list(SAMPLERS))
def test_a_clip_that_was_set_aside_goes_on_as_if_it_had_not_been(name, tmp_path):
    z_t, kind = clip_and_noise()[0], SAMPLERS[name]
    unbroken, _ = run(kind.from_config(PAPER), z_t)
    _, so_far = run(kind.from_config(PAPER), z_t, stop_after=3)
    so_far.save(tmp_path / "clip.safetensors", {"seed": 7})
    again, about = SoFar.load(tmp_path / "clip.safetensors")
    assert (again.step, about) == (3, {"seed": 7})
    resumed, end = run(kind.from_config(PAPER), torch.zeros_like(z_t), again)
    assert torch.equal(resumed, unbroken) and end.step == 6
    before = [value for value in again.remembered.values() if isinstance(value, list)]
    assert all(value is not later for value in before for later in end.remembered.values())  # what was set aside stays as it was


def test_what_was_set_aside_is_of_its_own_clip_alone(tmp_path):
    z_t = clip_and_noise()[0]
    _, so_far = run(DDIM.from_config(PAPER), z_t, stop_after=3)
    sampler = DDIM.from_config(PAPER)
    sampler.set_timesteps(6)
    with pytest.raises(
        ValueError, match=r"^wanted to go on with a clip of \(1, 4, 3, 2, 2\) and 6 steps, .* after 3 steps; begin it anew$"
    ):
        so_far.remind(sampler, z_t[:1])
    for step in (0, 6):
        with pytest.raises(ValueError, match=f"after {step} steps; begin it anew"):
            SoFar(step, z_t, {}).remind(sampler, z_t)
    (tmp_path / "other.safetensors").write_bytes(b"no clip")
    for name in ("other.safetensors", "missing.safetensors"):
        with pytest.raises(ValueError, match=f"^{name}: wanted a clip that was set aside, got .*; begin it anew$"):
            SoFar.load(tmp_path / name)


@pytest.mark.parametrize("highest, is_even", [(850, True), (849, False)])
def test_steps_that_begin_far_below_the_schedules_end_are_uneven(highest, is_even):
    sampler = DDIM.from_config(PAPER)
    sampler.timesteps = torch.linspace(highest, 0, 10).long()
    if is_even:
        return check_timesteps(sampler, 10)
    with pytest.raises(ValueError, match="cannot spread 10 steps"):
        check_timesteps(sampler, 10)
