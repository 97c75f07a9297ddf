"""Every annotator, with random weights saved under the names that the hub's have, makes a map in the photo's shape."""

import contextlib
import io
import os
import pickle
import warnings
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from transformers import (
    ConvNextConfig,
    DepthAnythingConfig,
    DepthAnythingForDepthEstimation,
    Dinov2Config,
    DPTImageProcessor,
    SegformerImageProcessor,
    UperNetConfig,
    UperNetForSemanticSegmentation,
)

from trip.first_frame.annotators import ANNOTATORS, canny
from trip.first_frame.catalogue import CARDS
from trip.first_frame.control import control_map
from trip.first_frame.generation import PictureGenerator
from trip.settings import Annotator, ControlSettings

with warnings.catch_warnings():  # it has much to say
    warnings.simplefilter("ignore")
    from controlnet_aux.hed import ControlNetHED_Apache2
    from controlnet_aux.lineart import Generator
    from controlnet_aux.mlsd import MobileV2_MLSD_Large
    from controlnet_aux.normalbae import NNET
    from controlnet_aux.open_pose.face import FaceNet
    from controlnet_aux.open_pose.model import bodypose_model, handpose_model

HUB = "lllyasviel--Annotators"


def weights_of(kind: type, *arguments: object, scale: float = 0.0) -> dict[str, torch.Tensor]:
    """Names and shapes of a network's weights, with random values; or with the scale 0 all zero, which takes no room on the disk."""
    with torch.device("meta"), contextlib.redirect_stdout(io.StringIO()):
        network = kind(*arguments)
    generator = torch.Generator().manual_seed(0)
    made = {}
    for name, like in network.state_dict().items():
        one = torch.ones(()) if name.endswith("running_var") else torch.zeros((), dtype=like.dtype)
        made[name] = scale * torch.randn(like.shape, generator=generator) if scale else one.expand(like.shape)
    return made


def bare(weights: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """Named as the OpenPose files name them: without the block."""
    return {key.partition(".")[2]: value for key, value in weights.items()}


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A models folder with the weights of every annotator."""
    folder = tmp_path_factory.mktemp("annotators")
    (folder / HUB).mkdir()
    args = type("Args", (), {"architecture": "BN", "sampling_ratio": 0.4, "importance_ratio": 0.7, "mode": "client", "pretrained": ""})()
    files = {
        "ControlNetHED.pth": weights_of(ControlNetHED_Apache2, scale=0.01),
        "sk_model.pth": weights_of(Generator, 3, 1, 3, scale=0.05),
        "sk_model2.pth": weights_of(Generator, 3, 1, 3),
        "mlsd_large_512_fp32.pth": weights_of(MobileV2_MLSD_Large),
        "scannet.pt": {"model": weights_of(NNET, args)},
        "body_pose_model.pth": bare(weights_of(bodypose_model)),
        "hand_pose_model.pth": bare(weights_of(handpose_model)),
        "facenet.pth": weights_of(FaceNet),
    }
    for name, content in files.items():
        torch.save(content, folder / HUB / name)
    make_depth(folder / "annotator-depth")
    make_segment(folder / "annotator-segment")
    return folder


def make_depth(folder: Path) -> None:
    backbone = Dinov2Config(
        hidden_size=16,
        num_hidden_layers=2,
        num_attention_heads=2,
        image_size=28,
        patch_size=14,
        out_indices=[1, 2],
        reshape_hidden_states=False,
    )
    config = DepthAnythingConfig(
        backbone_config=backbone, reassemble_hidden_size=16, neck_hidden_sizes=[8, 8], reassemble_factors=[2, 1], fusion_hidden_size=8,
        head_hidden_size=8, patch_size=14,
    )  # fmt: skip
    DepthAnythingForDepthEstimation(config).save_pretrained(folder)
    DPTImageProcessor(size={"height": 28, "width": 28}).save_pretrained(folder)


def make_segment(folder: Path) -> None:
    backbone = ConvNextConfig(hidden_sizes=[8, 8, 8, 8], depths=[1, 1, 1, 1], out_features=["stage1", "stage2", "stage3", "stage4"])
    config = UperNetConfig(backbone_config=backbone, hidden_size=8, num_labels=150, use_auxiliary_head=False, pool_scales=[1])
    UperNetForSemanticSegmentation(config).save_pretrained(folder)
    SegformerImageProcessor(size={"height": 64, "width": 64}).save_pretrained(folder)


def map_of(annotator: str, photo: Image.Image, models: Path | None, **settings) -> Image.Image:
    settings = ControlSettings.checked(annotator=annotator, size=64, **settings)
    return PictureGenerator(models, lambda step: None).make_map(photo, settings).image


@pytest.mark.parametrize("annotator", Annotator.__args__)
def test_every_annotator_makes_a_map_in_the_shape_of_the_photo(weights, cache, landscape, annotator):
    found = PictureGenerator(weights, lambda step: None).make_map(landscape, ControlSettings.checked(annotator=annotator, size=64))
    assert found.image.size == (96, 64) and found.image.mode == "RGB"
    if annotator == "pose":
        assert found.notes == ["Body pose: no people were found, the map is empty; choose another annotator or photo"]


def test_a_detector_stays_open_for_the_next_photo(weights, cache, landscape):
    map_of("hed", landscape, weights)
    first = [cache._entries[key].model for key in cache]
    map_of("hed", landscape, weights)
    assert [cache._entries[key].model for key in cache] == first


def test_the_list_of_annotators_is_that_of_the_settings_and_of_the_catalogue():
    assert tuple(ANNOTATORS) == Annotator.__args__
    assert all(annotator.card in CARDS for annotator in ANNOTATORS.values() if annotator.open)


def test_canny_needs_nothing_and_follows_its_thresholds(landscape):
    few, many = (np.asarray(canny(landscape, low, high)).mean() for low, high in ((200, 255), (20, 40)))
    assert 0 < few <= many
    assert map_of("canny", landscape, None).size == (96, 64)


@pytest.mark.parametrize("annotator", [name for name in ANNOTATORS if name != "canny"])
def test_without_its_weights_an_annotator_says_how_to_get_them(landscape, annotator):
    card = ANNOTATORS[annotator].card
    with pytest.raises(ValueError, match=f"--fetch {card}; canny works without") as refused:
        map_of(annotator, landscape, None)
    assert "MB) with" in str(refused.value) and "\n" not in str(refused.value)


class Evil:
    """What runs code when it is unpickled."""

    def __reduce__(self) -> tuple:
        return os.mkdir, ("i-was-run",)


def test_weights_that_would_run_code_are_refused(cache, landscape, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / HUB).mkdir()
    (tmp_path / HUB / "ControlNetHED.pth").write_bytes(pickle.dumps(Evil()))
    with pytest.raises(ValueError, match="a pickle that would run code"):
        map_of("hed", landscape, tmp_path)
    assert not (tmp_path / "i-was-run").exists()


def test_weights_of_another_network_are_refused_in_one_line(cache, landscape, tmp_path):
    (tmp_path / HUB).mkdir()
    torch.save({"a": torch.zeros(1)}, tmp_path / HUB / "mlsd_large_512_fp32.pth")
    with pytest.raises(ValueError, match="mlsd does not open") as refused:
        map_of("mlsd", landscape, tmp_path)
    assert "\n" not in str(refused.value)


@pytest.mark.parametrize("size", [(2048, 16), (16, 2048), (1700, 100)])
def test_a_strip_is_refused_in_one_line_instead_of_being_enlarged(size):
    with pytest.raises(ValueError, match="at most 16 times as long as wide") as refusal:
        control_map(Image.new("RGB", size), ControlSettings(annotator="canny"), side=2048)
    assert "\n" not in str(refusal.value)


@pytest.mark.parametrize("size", [(1600, 100), (100, 1600), (64, 64), (2000, 400)])
def test_a_map_is_bounded_on_both_sides_and_keeps_the_shape(size):
    found = control_map(Image.new("RGB", size), ControlSettings(annotator="canny"), side=2048).image
    assert max(found.size) <= 4096 and min(found.size) <= 2048
    assert found.width / found.height == pytest.approx(size[0] / size[1], rel=0.02)
