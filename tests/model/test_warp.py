"""The warp shows the photo as a motion would."""

import pytest
import torch

from trip.model.warp import REFERENCE_FRAMES, PhotoWarp


@pytest.fixture
def photo() -> torch.Tensor:
    return torch.randn(1, 4, 6, 10, generator=torch.Generator().manual_seed(0))


def warp_with(*, first: dict[tuple[int, int], float] | None = None, second: dict[tuple[int, int], float] | None = None) -> PhotoWarp:
    """A warp whose camera map has these entries: (axis, factor of x, y or 1) -> value."""
    warp = PhotoWarp(4, 8).eval()
    with torch.no_grad():
        bias = warp.camera[-1].bias.view(2, 2, 3)
        for order, entries in enumerate((first, second)):
            for where, value in (entries or {}).items():
                bias[order][where] = value
    return warp


@torch.no_grad()
def moved(warp: PhotoWarp, photo: torch.Tensor, *times: float) -> tuple[torch.Tensor, torch.Tensor]:
    """Frames f c h w, and where they lie inside the photo f h w."""
    out = warp(photo, torch.zeros(1, 8), torch.tensor([times]))
    return out[:, :-1], out[:, -1]


def test_nothing_moves_at_first(photo):
    frames, inside = moved(PhotoWarp(4, 8), photo, 0, 7, 15)
    assert torch.allclose(frames, photo.expand(3, -1, -1, -1), atol=1e-5) and inside.all()


@pytest.mark.parametrize("right, down", [(2, 0), (0, -1), (-3, 2)])
def test_a_pan_shows_the_place_beside_and_says_what_lies_outside(photo, right, down):
    height, width = photo.shape[2:]
    warp = warp_with(first={(0, 2): 2 * right / min(height, width), (1, 2): 2 * down / min(height, width)})
    frames, inside = moved(warp, photo, REFERENCE_FRAMES)
    y, x = torch.meshgrid(torch.arange(height) + down, torch.arange(width) + right, indexing="ij")
    wanted = (x >= 0) & (x < width) & (y >= 0) & (y < height)
    assert torch.equal(inside[0].bool(), wanted)
    assert torch.allclose(frames[0][:, wanted], photo[0][:, y[wanted], x[wanted]], atol=1e-4)


def test_motion_grows_with_time_and_with_its_square(photo):
    one_cell = 2 / min(photo.shape[2:])
    steady = moved(warp_with(first={(0, 2): one_cell}), photo, 0, REFERENCE_FRAMES, 2 * REFERENCE_FRAMES)[0]
    growing = moved(warp_with(second={(0, 2): one_cell}), photo, 0, REFERENCE_FRAMES, 2 * REFERENCE_FRAMES)[0]
    assert torch.allclose(steady[2, ..., :-2], photo[0, ..., 2:], atol=1e-4)
    assert torch.allclose(growing[1], steady[1], atol=1e-4)
    assert torch.allclose(growing[2, ..., :-4], photo[0, ..., 4:], atol=1e-4)


def test_the_clean_photo_is_not_moved(photo):
    frames, _ = moved(warp_with(first={(0, 2): 1.0}), photo, -1, 0)
    assert torch.allclose(frames, photo.expand(2, -1, -1, -1), atol=1e-5)


def test_a_zoom_keeps_the_middle(photo):
    photo = torch.nn.functional.interpolate(photo, (9, 9))
    frames, inside = moved(warp_with(first={(0, 0): -0.5, (1, 1): -0.5}), photo, REFERENCE_FRAMES)
    assert inside.all()
    assert torch.allclose(frames[0, :, 4, 4], photo[0, :, 4, 4], atol=1e-5)
    assert torch.allclose(frames[0, :, 4, 8], photo[0, :, 4, 6], atol=1e-4)  # half as far from the middle


def test_a_quarter_turn_keeps_its_shape_on_a_wide_photo(photo):
    """Turned about the middle, a square in the middle shows itself turned, whatever lies beside it."""
    wide = torch.nn.functional.pad(photo[..., 2:8], (2, 2))
    turn = {(0, 0): -1.0, (0, 1): -1.0, (1, 0): 1.0, (1, 1): -1.0}  # (x, y) shows (-y, x)
    frames, _ = moved(warp_with(first=turn), wide, REFERENCE_FRAMES)
    assert torch.allclose(frames[0, :, :, 2:8], wide[0, :, :, 2:8].rot90(1, (1, 2)), atol=1e-4)


def test_motion_is_learnt_from_what_the_frames_should_show(photo):
    """From nothing but the pictures, a few steps find a shift of one cell."""
    torch.manual_seed(0)
    smooth = torch.nn.functional.avg_pool2d(torch.nn.functional.pad(photo, (2, 2, 2, 2), mode="circular"), 5, 1)
    warp, sentence, time = PhotoWarp(4, 8), torch.ones(1, 8), torch.tensor([[float(REFERENCE_FRAMES)]])
    optimizer = torch.optim.AdamW(warp.parameters(), lr=3e-3)
    errors = []
    for _ in range(60):
        error = (warp(smooth, sentence, time)[0, :-1, :, :-1] - smooth[0, :, :, 1:]).square().mean()
        optimizer.zero_grad()
        error.backward()
        optimizer.step()
        errors.append(error.item())
    assert errors[-1] < 0.1 * errors[0]
