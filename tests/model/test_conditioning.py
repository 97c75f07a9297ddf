"""The photo's latent joins the clip and leaves it again."""

import pytest
import torch

from trip.model.conditioning import attach, detach, frame_times, photo_of

PLACES = ("head", "tail", "channel")
SHAPES = {"head": (2, 4, 6, 3, 7), "tail": (2, 4, 6, 3, 7), "channel": (2, 8, 5, 3, 7)}


@pytest.fixture
def z_t() -> torch.Tensor:
    return torch.randn(2, 4, 5, 3, 7, generator=torch.Generator().manual_seed(0))


@pytest.fixture
def z_first() -> torch.Tensor:
    return torch.randn(2, 4, 1, 3, 7, generator=torch.Generator().manual_seed(1))


@pytest.mark.parametrize("where", PLACES)
def test_attached_clip_has_the_shape_that_the_unet_takes(z_t, z_first, where):
    assert attach(z_t, z_first, where).shape == SHAPES[where]


@pytest.mark.parametrize("where", PLACES)
def test_detaching_gives_the_noised_frames_back(z_t, z_first, where):
    output = attach(z_t, z_first, where)[:, :4]  # the 3D-UNet gives as many channels as the clip has
    assert torch.equal(detach(output, where), z_t)


@pytest.mark.parametrize("where", PLACES)
def test_the_photo_is_found_where_it_was_put(z_t, z_first, where):
    assert torch.equal(photo_of(attach(z_t, z_first, where), where), z_first[:, :, 0])


def test_channel_repeats_the_photo_beside_every_frame(z_t, z_first):
    attached = attach(z_t, z_first, "channel")
    assert torch.equal(attached[:, :4], z_t)
    assert all(torch.equal(attached[:, 4:, i], z_first[:, :, 0]) for i in range(5))


@pytest.mark.parametrize("where", PLACES)
def test_every_attached_frame_has_a_time_and_the_photo_stands_before_the_clip(z_t, z_first, where):
    times = torch.arange(5.0).expand(2, -1)
    told = frame_times(times, where)
    assert told.shape == (2, attach(z_t, z_first, where).shape[2])
    assert torch.equal(detach(told.view(2, 1, -1, 1, 1), where).flatten(1), times)
    photo = {"head": told[:, 0], "tail": told[:, -1]}.get(where)
    assert photo is None or (photo == -1).all()


def test_unknown_place_is_named_with_the_choices(z_t, z_first):
    with pytest.raises(ValueError, match=r"^unknown first-frame condition 'middle'; choose head, tail or channel$"):
        attach(z_t, z_first, "middle")
