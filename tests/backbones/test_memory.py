"""What video models by others take, from their real sizes on tensors without content."""

import pytest
import torch

from trip.backbones.configurations import CONFIGURATIONS
from trip.backbones.memory import BUDGETS, MemoryPlan, memory_plan
from trip.first_frame.catalogue import CARDS, cards
from trip.model_cache import BY_LAYER, IN_TURN, WHOLE
from trip.system.held_bytes import HeldBytes

MILLIONS = {  # parameters that the models' own pages and papers name, and what they are
    "animatediff": ("unet", 860 + 417),
    "text2video-zero": ("unet", 860),
    "modelscope": ("unet", 1411),
    "i2vgen-xl": ("unet", 1420),
    "wan-ti2v-5b": ("transformer", 5000),
    "cogvideox-i2v": ("transformer", 5570),
    "ltx": ("transformer", 1923),
    "svd-xt": ("unet", 1525),
}


def test_every_video_model_has_its_sizes():
    assert set(CONFIGURATIONS) == set(cards("video"))


@pytest.mark.parametrize("name", MILLIONS)
def test_a_model_has_as_many_parameters_as_is_published(name):
    part, millions = MILLIONS[name]
    assert memory_plan(name).weights[part] / 2e6 == pytest.approx(millions, rel=0.005)


@pytest.mark.parametrize("name", CONFIGURATIONS)
def test_the_card_says_what_the_plan_says(name):
    plan = memory_plan(name)
    assert CARDS[name].memory == pytest.approx(tuple(plan.needed(way) / 1e9 for way in (WHOLE, IN_TURN, BY_LAYER)), abs=0.06)
    assert plan.needed(WHOLE) > plan.needed(IN_TURN) > plan.needed(BY_LAYER) > max(plan.working.values())


def test_the_fastest_way_that_fits_is_taken():
    plan = MemoryPlan({"text": 4 * 10**9, "unet": 6 * 10**9}, {"unet": 3 * 10**9}, 10**8)
    assert [plan.way(gigabytes) for gigabytes in (3, *BUDGETS, 40)] == [None, BY_LAYER, IN_TURN, WHOLE, WHOLE, WHOLE]
    assert (plan.needed(WHOLE), plan.needed(IN_TURN), plan.needed(BY_LAYER)) == (13 * 10**9, 9 * 10**9, 31 * 10**8)


def test_a_step_of_a_longer_clip_holds_more():
    """ModelScope's and zeroscope's 3D-UNets are one, and work on 16 frames of 32 x 32 and on 24 of 40 x 72 latents."""
    one, other = (memory_plan(name) for name in ("modelscope", "zeroscope"))
    assert one.weights["unet"] == other.weights["unet"]
    assert other.working["unet"] / one.working["unet"] == pytest.approx((24 * 40 * 72) / (16 * 32 * 32), rel=0.05)


def test_weights_are_not_counted_twice_and_what_is_gone_is_not_counted():
    layer = torch.nn.Linear(1000, 10, device="meta")
    with torch.no_grad(), HeldBytes() as held:
        x = torch.empty(3, 1000, device="meta")
        y = layer(x)
        assert (held.now, held.peak) == (4 * (3000 + 30), 4 * (3000 + 30))
        view = y.t()[1:]
        del x, y
        assert (held.now, held.peak) == (4 * 30, 4 * (3000 + 30))
        del view
    assert held.now == 0
