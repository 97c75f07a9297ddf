"""The motion of the photo is learnt from the truth."""

import numpy as np
import pytest
import torch

from trip.model.warp import REFERENCE_FRAMES, MotionField, places_of
from trip.training.stages.field import SAME_PLACE, SAME_SHARE, field_loss, scene_moves

TIMES = torch.tensor([[0.0, REFERENCE_FRAMES]])


def truth(shift: float = 0.0, visibility: float = 1.0, known: float = 1.0) -> torch.Tensor:
    """Motion of a pan by `shift` in the second frame: 1 2 4 8 8."""
    places = places_of(8, 8, torch.device("cpu")).expand(1, 2, 8, 8, 2).clone()
    places[:, 1, ..., 0] += shift
    rest = torch.tensor([visibility, known]).expand(1, 2, 8, 8, 2)
    return torch.cat([places, rest], dim=4).movedim(4, 2)


def pan(shift: float, rate: float = 0.0) -> MotionField:
    camera, scene = torch.zeros(1, 3, 3), torch.zeros(1, 5, 4, 4)
    camera[0, 0, 2] = shift
    scene[:, 4] = rate
    return MotionField(camera, scene)


def test_the_true_motion_costs_nothing():
    loss, figures = field_loss([pan(0.3)], TIMES, truth(0.3))
    assert loss.item() < 2e-3 and figures["place_error"].item() < 2e-4


def test_the_error_is_the_distance_and_unknown_places_do_not_count():
    _, figures = field_loss([pan(0.5)], TIMES, truth(0.3))
    assert figures["place_error"].item() == pytest.approx(0.2 / 2**0.5, abs=1e-4)  # half of the frames are off by 0.2
    _, figures = field_loss([pan(0.5)], TIMES, truth(0.3, known=0.0))
    assert figures["place_error"].item() == 0


def test_what_cannot_be_followed_is_to_be_called_hidden():
    """Off by far more than a cell: seeing the photo there is wrong, however much of it the clip shows."""
    seen, hidden = (field_loss([pan(10 * SAME_PLACE, rate)], TIMES, truth())[1]["visibility_error"].item() for rate in (0.0, 8.0))
    assert hidden < 0.1 * seen
    seen, hidden = (field_loss([pan(0.0, rate)], TIMES, truth())[1]["visibility_error"].item() for rate in (0.0, 8.0))
    assert seen < 0.1 * hidden


def test_the_scene_counts_where_the_sentence_or_the_clip_moves_it():
    still, moved = truth(), truth()
    moved[:, 1, 0, :4] += 0.1  # a patch
    for motion, said, counts in ((still, -1.0, False), (still, 1.0, True), (moved, -1.0, True), (moved, 1.0, True)):
        scene = torch.full((1, 5, 4, 4), 0.2, requires_grad=True)
        loss, _ = field_loss([MotionField(torch.zeros(1, 3, 3), scene, torch.tensor([said]))], TIMES, motion)
        (gradient,) = torch.autograd.grad(loss, scene)
        assert (gradient[:, :4].abs().max() > 0) == counts


def test_gradients_are_finite_where_the_field_is_exact():
    camera = torch.zeros(1, 3, 3, requires_grad=True)
    loss, _ = field_loss([MotionField(camera, torch.zeros(1, 5, 4, 4))], TIMES, truth())
    loss.backward()
    assert torch.isfinite(camera.grad).all() and np.isfinite(loss.item())


def test_a_camera_move_is_no_scene_and_a_patch_that_moves_is_one():
    zoomed = 1.3 * truth(0.2)[:, :, :2].movedim(2, -1)
    patch = truth()[:, :, :2].movedim(2, -1).clone()
    patch[:, 1, :4, :, 0] += 0.1
    known = torch.ones(2, 2, 8, 8)
    assert scene_moves(torch.cat([zoomed, patch]), known).tolist() == [0, 1]
    known[:, :, :4] = 0
    assert scene_moves(torch.cat([zoomed, patch]), known).tolist() == [0, 0]


def test_a_way_that_is_a_little_too_long_still_finds_its_place():
    """The tolerance grows with the way: 5 % too far is seen, half too far is not."""
    near, far = (
        field_loss([pan(shift)], TIMES, truth(1.0))[1]["visibility_error"].item()
        for shift in (1.0 + 0.3 * SAME_SHARE, 1.0 + 5 * SAME_SHARE)
    )
    assert far > 10 * near


def swinging(amplitude: torch.Tensor) -> MotionField:
    """All places go right and back, as far as the amplitude says in the middle: of one clip each."""
    waves = torch.zeros(len(amplitude), 4, 4, 4)
    waves[:, 2] = amplitude.view(-1, 1, 1) / -2  # a half cycle: cos - 1 is -2 at its end
    count = len(amplitude)
    return MotionField(torch.zeros(count, 3, 3), torch.zeros(count, 5, 4, 4), torch.ones(count), waves)


def test_draws_that_are_distributed_as_the_truth_cost_least():
    """Where waves go left or right by 0.1, whatever one can see: such draws beat the still mean, and draws that are too small or large."""
    signs = torch.sign(torch.randn(3, 400, generator=torch.Generator().manual_seed(0)))
    motion = torch.cat([truth(0.1 * sign) for sign in signs[0].tolist()])
    times = TIMES.expand(len(motion), -1)
    costs = {
        size: field_loss([swinging(size * signs[1]), swinging(size * signs[2])], times, motion)[1]["place_error"].item()
        for size in (0.0, 0.05, 0.1, 0.2)
    }
    assert min(costs, key=costs.get) == 0.1
    assert costs[0.1] == pytest.approx(0.5 * costs[0.0], rel=0.15)  # half of the draws are right: E|x - y| - E|x - x'| / 2


def test_draws_of_what_does_not_sway_are_to_agree():
    """How far a thing is, nobody knows from one photo: the best single guess is asked for there, not one of many."""
    motion = torch.cat([truth(0.1), truth(-0.1)])
    apart, agreed = ([swinging(torch.tensor([way, way])), swinging(torch.tensor([-way, -way]))] for way in (0.1, 0.0))
    times = TIMES.expand(2, -1)

    def cost(fields: list[MotionField], sways: list[float]) -> float:
        return field_loss(fields, times, motion, torch.tensor(sways))[1]["place_error"].item()

    assert cost(apart, [1.0, 1.0]) < cost(agreed, [1.0, 1.0])
    assert cost(agreed, [0.0, 0.0]) <= cost(apart, [0.0, 0.0])
    halves = [cost(apart, sways) for sways in ([1.0, 0.0], [0.0, 1.0])]
    assert sum(halves) == pytest.approx(cost(apart, [1.0, 1.0]) + cost(apart, [0.0, 0.0]), abs=1e-6)


def test_what_is_drawn_is_in_view_where_the_clip_shows_it():
    """Two draws need not find the true place to say that the photo is seen; one motion that goes astray has to say that it is not."""
    moved = truth()
    moved[:, 1, 0, :4] += 0.1
    astray = swinging(torch.tensor([-0.2]))
    one, two = (field_loss([astray] * count, TIMES, moved)[1]["visibility_error"].item() for count in (1, 2))
    assert two < 0.01 < 0.1 < one
