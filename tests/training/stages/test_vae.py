"""The autoencoder's stage: moved latents are compared with photos that were moved in the same way."""

import numpy as np
import pytest
import torch

from trip.data.photos import Photo
from trip.model.build import build_vae
from trip.settings import PRESETS, StageSettings
from trip.training.stages.vae import DISPLACED_SHARE, DISPLACED_SIDE, VaeStage, displaced, pixel_error, random_affine


@pytest.fixture
def affine() -> torch.Tensor:
    return random_affine(500, torch.Generator().manual_seed(0))


def test_moved_pictures_stay_inside_the_whole_one(affine):
    corners = torch.tensor([[-1.0, -1, 1], [-1, 1, 1], [1, -1, 1], [1, 1, 1]])
    assert (torch.einsum("nxc,kc->nkx", affine, corners).abs() <= 1 + 1e-5).all()


def test_moves_scale_and_turn_and_go_aside(affine):
    scale = affine[:, :, 0].norm(dim=1)
    angle = torch.atan2(affine[:, 1, 0], affine[:, 0, 0])
    assert 0.6 <= scale.min() < 0.65 and 0.8 < scale.max() <= 0.84
    assert -0.2 <= angle.min() < -0.15 and 0.15 < angle.max() <= 0.2
    assert affine[:, :, 2].abs().max() > 0.2


def test_a_plain_shift_is_a_crop():
    """Without scale or turn, a moved picture is a part of the whole one, at the same size of its pixels."""
    pictures = torch.randn(1, 3, 16, 16, generator=torch.Generator().manual_seed(0))
    aside = torch.tensor([[[DISPLACED_SIDE, 0, 1 / 8], [0, DISPLACED_SIDE, -1 / 8]]])  # one pixel of sixteen
    assert torch.allclose(displaced(pictures, aside), pictures[:, :, 1:13, 3:15], atol=1e-5)


@pytest.fixture
def stage() -> VaeStage:
    rng = np.random.default_rng(0)
    photos = [Photo(f"{number}", rng.integers(0, 256, (48, 64, 3), dtype=np.uint8), "", "") for number in range(4)]
    settings = StageSettings(max_steps=1, batch_size=2, learning_rate=1e-3)
    torch.manual_seed(0)
    return VaeStage(build_vae(PRESETS["tiny"].model), photos, photos, settings, frame_size=32, seed=0)


def test_the_loss_is_pixels_at_three_scales_and_a_light_divergence(stage):
    batch, moved = stage.batch(0, 0, 1), []
    for seed in range(12):
        generator = torch.Generator().manual_seed(seed)
        with torch.no_grad():
            loss, figures = stage.loss(stage.model, batch, generator)
            generator.manual_seed(seed)
            posterior = stage.model.encode(batch).latent_dist
            latents = posterior.mean + posterior.std * torch.randn(posterior.mean.shape, generator=generator)
            moved.append((torch.rand((), generator=generator) < DISPLACED_SHARE).item())
            if moved[-1]:
                affine = random_affine(2, generator)
                latents, wanted = displaced(latents, affine), displaced(batch, affine)
            error = pixel_error(stage.model.decode(latents).sample, wanted if moved[-1] else batch)
        divergence = torch.distributions.kl_divergence(
            torch.distributions.Normal(posterior.mean, posterior.std), torch.distributions.Normal(0.0, 1.0)
        ).mean()
        assert figures["error"] == pytest.approx(error.item(), rel=1e-4)
        assert figures["divergence"] == pytest.approx(divergence.item(), rel=1e-3)
        assert loss.item() == pytest.approx(error.item() + 5e-4 * divergence.item(), rel=1e-4)
    assert 0 < sum(moved) < 12


def test_errors_count_at_every_scale():
    a, b = torch.zeros(1, 3, 16, 16), torch.zeros(1, 3, 16, 16)
    b[..., ::2] = 1  # stripes, which are half as bright from afar
    assert pixel_error(a, b).item() == pytest.approx(0.5 + 0.5 + 0.5)
    b[..., ::2], b[..., 1::2] = 1, -1  # and nothing from afar
    assert pixel_error(a, b).item() == pytest.approx(1.0)


@pytest.mark.parametrize("channels, side", [(3, 64), (8, 8)])
def test_pixels_and_latents_are_moved_alike(affine, channels, side):
    """A picture that grows steadily to the right says where each place came from, at any resolution."""
    ramp = torch.linspace(-1 + 1 / side, 1 - 1 / side, side).expand(4, channels, side, side)
    moved = displaced(ramp, affine[:4])
    assert moved.shape == (4, channels, round(side * DISPLACED_SIDE), round(side * DISPLACED_SIDE))
    assert moved.mean(dim=(1, 2, 3)).numpy() == pytest.approx(affine[:4, 0, 2].numpy(), abs=0.02)
    assert np.isfinite(moved.numpy()).all()
