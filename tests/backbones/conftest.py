"""What the tests of video models by others share: a folder of tiny twins, and kinds that draw small."""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from tests.backbones.tiny import make_video_models
from trip import model_cache
from trip.backbones.kinds import KINDS
from trip.model_cache import ModelCache

SMALL = {"I2VGenXLPipeline": 4, "WanImageToVideoPipeline": 9, "CogVideoXImageToVideoPipeline": 9, "LTXImageToVideoPipeline": 9}
SMALL |= {"StableVideoDiffusionPipeline": 4}  # frames


@pytest.fixture(scope="session")
def video_models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The models folder."""
    return make_video_models(tmp_path_factory.mktemp("video-models"))


@pytest.fixture(autouse=True)
def small_kinds(monkeypatch: pytest.MonkeyPatch) -> None:
    """Those whose folders say no size draw 64 pixels, and short clips."""
    for name, num_frames in SMALL.items():
        monkeypatch.setitem(KINDS, name, replace(KINDS[name], shape=(64, 64), num_frames=num_frames, is_square=False))


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[ModelCache]:
    """An empty model cache with room for all twins, and none of the hub's."""
    cache = ModelCache(torch.device("cpu"), 10**9)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "hub"))
    for place in ("trip.model_cache.shared_cache", "trip.backbones.opening.shared_cache"):
        monkeypatch.setattr(place, lambda: cache)
    assert model_cache.shared_cache() is cache
    yield cache


@pytest.fixture(scope="session")
def landscape() -> Image.Image:
    """A photo with edges, wider than high."""
    y, x = np.mgrid[:96, :144]
    return Image.fromarray(np.stack([x, 2 * y, (x // 24 + y // 24) % 2 * 200], axis=2).astype(np.uint8))
