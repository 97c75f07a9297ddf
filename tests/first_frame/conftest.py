"""What the tests of first frames share: a folder of tiny random models, a photo, and a shelf of their own."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from trip import model_cache
from trip.model_cache import Shelf


@pytest.fixture(scope="session")
def models(picture_models: Path) -> Path:
    """The models folder."""
    return picture_models


@pytest.fixture(autouse=True)
def own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """No test looks into the hub's cache of this machine."""
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "hub"))


@pytest.fixture
def shelf(monkeypatch: pytest.MonkeyPatch) -> Iterator[Shelf]:
    """An empty shelf with room for all tiny models."""
    made = Shelf(torch.device("cpu"), 10**9)
    monkeypatch.setattr(model_cache, "shelf", lambda: made)
    monkeypatch.setattr("trip.first_frame.making.shelf", lambda: made)
    yield made


@pytest.fixture(scope="session")
def landscape() -> Image.Image:
    """A photo with edges, wider than high."""
    y, x = np.mgrid[:96, :144]
    return Image.fromarray(np.stack([x, 2 * y, (x // 24 + y // 24) % 2 * 200], axis=2).astype(np.uint8))
