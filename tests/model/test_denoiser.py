"""3D-UNet and fusion as one: what the 3D-UNet is shown, and what its output means."""

from dataclasses import replace

import torch

from trip.diffusion import noise_from_v
from trip.model.build import build_fusion, build_unet
from trip.model.denoiser import Condition, Denoiser
from trip.settings import PRESETS

TINY = PRESETS["tiny"].model


@torch.no_grad()
def test_an_output_of_v_becomes_noise_and_the_photo_is_shown_as_the_condition_says():
    torch.manual_seed(0)
    denoiser = Denoiser(build_unet(TINY), build_fusion(TINY)).eval()
    for parameter in denoiser.unet.parameters():
        if not parameter.any():
            torch.nn.init.normal_(parameter, std=0.05)
    z_t, width = torch.randn(2, TINY.vae.latent_channels, 4, 8, 8), TINY.text.width
    first, words, sentence = torch.randn(2, TINY.vae.latent_channels, 1, 8, 8), torch.randn(2, 5, width), torch.randn(2, width)
    condition = Condition(first, words, sentence, torch.arange(4.0).expand(2, -1))
    told = z_t, torch.tensor([100, 800]), torch.tensor([0.9, 0.1])
    residuals = {}
    for predicts in ("epsilon", "v_prediction"):
        denoiser.unet.register_to_config(predicts=predicts)
        residuals[predicts] = denoiser(*told, condition).residual
    assert torch.allclose(residuals["v_prediction"], noise_from_v(residuals["epsilon"], z_t, told[2]), atol=1e-5)
    assert (residuals["v_prediction"] - residuals["epsilon"]).abs().mean() > 0.05

    noised = denoiser(*told, replace(condition, z_shown=first + 1)).residual
    assert (noised - residuals["v_prediction"]).abs().max() > 1e-3
    assert torch.equal(denoiser(*told, replace(condition, z_shown=first)).residual, residuals["v_prediction"])
