"""The networks in whose features clips are compared: random ones of the real classes: what goes in and out; a line where there is none."""

from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from torch_fidelity.feature_extractor_inceptionv3 import FeatureExtractorInceptionV3
from transformers import CLIPImageProcessor, CLIPVisionConfig, CLIPVisionModelWithProjection

from trip.evaluation.extractors import clip_extractor, imagenet_extractor, inception_extractor, resized

CPU = torch.device("cpu")


def noise(num_frames: int, side: int = 48) -> np.ndarray:
    return np.random.default_rng(num_frames).integers(0, 256, (num_frames, side, side, 3), np.uint8)


def tiny_clip(folder: Path) -> Path:
    """A tiny random CLIP as transformers writes it, in a folder."""
    torch.manual_seed(0)
    sizes = {"hidden_size": 16, "intermediate_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2, "projection_dim": 8}
    CLIPVisionModelWithProjection(CLIPVisionConfig(**sizes, image_size=32, patch_size=8)).save_pretrained(folder)
    CLIPImageProcessor(size={"shortest_edge": 32}, crop_size={"height": 32, "width": 32}).save_pretrained(folder)
    return folder


@pytest.fixture(scope="module")
def clip_folder(tmp_path_factory) -> Path:
    return tiny_clip(tmp_path_factory.mktemp("clip"))


def test_clip_gives_the_projected_embeddings(clip_folder) -> None:
    extractor, frames = clip_extractor(clip_folder, CPU), noise(20)
    found = extractor.features(frames)
    network = CLIPVisionModelWithProjection.from_pretrained(clip_folder).eval()
    pixels = CLIPImageProcessor.from_pretrained(clip_folder)(list(frames[17:18]), return_tensors="pt")["pixel_values"]
    assert found.shape == (20, 8) and extractor.is_of_frames
    assert found[17] == pytest.approx(network(pixels).image_embeds[0].detach().numpy(), abs=1e-4)
    assert extractor.name == "clip" and len(extractor.digest) == 16
    assert extractor.features(np.repeat(frames[:1], 3, axis=0)) == pytest.approx(np.repeat(found[:1], 3, axis=0), abs=1e-5)


def test_inception_gives_the_pooled_features_of_its_weights(tmp_path, monkeypatch) -> None:
    """Weights are random; the class is the one that FID is computed with."""
    monkeypatch.setattr(FeatureExtractorInceptionV3, "load_state_dict", lambda *_: None)
    monkeypatch.setattr("torch_fidelity.feature_extractor_inceptionv3.load_state_dict_from_url", lambda *_, **__: {})
    torch.manual_seed(0)
    network = FeatureExtractorInceptionV3("any", ["2048"])
    monkeypatch.undo()
    save_file(network.state_dict(), tmp_path / "inception.safetensors", metadata={"sha256": "6726825d" * 8})
    extractor, frames = inception_extractor(tmp_path, CPU), noise(1, 64)
    found = extractor.features(frames)
    assert found.shape == (1, 2048) and str(extractor) == "inception 6726825d"
    assert found[0] == pytest.approx(network(torch.from_numpy(frames).permute(0, 3, 1, 2))[0][0].numpy(), rel=1e-4)
    save_file({"fc.weight": torch.ones(2)}, tmp_path / "inception.safetensors")
    with pytest.raises(ValueError, match="wanted the weights of FID's Inception, got others"):
        inception_extractor(tmp_path, CPU)


def test_imagenet_features_tell_frames_apart() -> None:
    extractor = imagenet_extractor(CPU)
    found = extractor.features(np.stack([noise(1)[0], np.zeros((48, 48, 3), np.uint8), noise(1)[0]]))
    assert found.shape == (3, 1280) and found[0] == pytest.approx(found[2], abs=1e-4) and np.abs(found[0] - found[1]).max() > 0.1


def test_a_folder_without_a_model_is_refused(tmp_path) -> None:
    with pytest.raises(ValueError, match="wanted a CLIP model of transformers', got none that opens"):
        clip_extractor(tmp_path, CPU)


def test_frames_are_resized_between_the_four_nearest_pixels() -> None:
    frames = np.zeros((1, 2, 2, 3), np.uint8)
    frames[0, :, 1] = 100
    assert resized(frames, 4, CPU)[0, 0, 0].tolist() == [0, 25, 75, 100]
