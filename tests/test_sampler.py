"""Timesteps cover the whole schedule, however many are asked for."""

import pytest
from diffusers import DDIMScheduler

from trip.model.build import build_scheduler
from trip.sampler import DDIM, SAMPLERS, check_timesteps
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
        ways = {before - after for before, after in zip(steps, steps[1:], strict=False)}
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
