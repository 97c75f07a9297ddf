"""What several tests share: tiny random checkpoints on disk, made of the real classes."""

from pathlib import Path

import numpy as np
import pytest
import torch
from accelerate.state import AcceleratorState
from PIL import Image

from trip.data.photos import is_held_out
from trip.model.build import build_fusion, build_scheduler, build_text_encoder, build_unet, build_vae
from trip.model.text import train_tokenizer
from trip.pipeline import TripPipeline
from trip.settings import PRESETS, ModelSettings

LONG = ("ui", "training", "jobs", "first_frame")  # folders of the files that take longest


@pytest.hookimpl(tryfirst=True)  # before the groups' names go to the tests' names
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Deals the tests out to processes by file, and all that need the running app to one of them; short files come last, to end together.

    It is `make test` that deals them out (`--dist loadgroup`); a process alone takes them in the same order.
    """
    with_app = {item.path for item in items if "app" in item.fixturenames}
    places = ["app", *LONG]

    def place(item: pytest.Item) -> int:
        name = "app" if item.path in with_app else item.path.parent.name
        return places.index(name) if name in places else len(places)

    items.sort(key=place)
    for item in items:
        item.add_marker(pytest.mark.xdist_group("app" if item.path in with_app else f"{item.path.parent.name}/{item.path.stem}"))


def pytest_collection_finish(session: pytest.Session) -> None:
    """Refuses a pytest and a pytest-xdist that do not go together: groups without a name are dealt out test by test, at twice the time."""
    nameless = [item.nodeid for item in session.items if "@" not in item.nodeid]
    if getattr(session.config.option, "loadgroup", False) and nameless:
        raise pytest.UsageError(f"wanted {nameless[0]} in the group of its file; take the versions of requirements-test.txt")


@pytest.fixture(autouse=True, scope="module")
def fresh_accelerator() -> None:
    """Each file begins as a process of its own would: accelerate keeps one precision for all of a process."""
    AcceleratorState._reset_state(reset_partial_state=True)


def quiet(pipe: TripPipeline) -> TripPipeline:
    """The pipeline without a bar."""
    pipe.set_progress_bar_config(disable=True)
    return pipe


@pytest.fixture(scope="module")
def pipe(tiny_model: Path) -> TripPipeline:
    """The tiny random checkpoint, opened; a file's own where its tests change it."""
    return quiet(TripPipeline.from_pretrained(tiny_model))


def make_pipeline(settings: ModelSettings, seed: int = 0) -> TripPipeline:
    """A pipeline with random weights everywhere, also where training starts from zero."""
    torch.manual_seed(seed)
    tokenizer = train_tokenizer(
        ["the camera pans right", "the clouds drift to the left"], vocabulary=600, max_tokens=settings.text.max_tokens
    )
    parts = {
        "vae": build_vae(settings),
        "text_encoder": build_text_encoder(settings, len(tokenizer)),
        "unet": build_unet(settings),
        "fusion": build_fusion(settings),
    }
    for module in parts.values():
        for parameter in module.parameters():
            if not parameter.any():
                torch.nn.init.normal_(parameter, std=0.02)
    return TripPipeline(
        **{name: module.eval() for name, module in parts.items()},
        tokenizer=tokenizer,
        scheduler=build_scheduler(settings),
        num_frames=settings.num_frames,
        fps=settings.fps,
        num_steps=settings.num_steps,
        guidance_scale=settings.guidance_scale,
        card="Random weights, for tests.",
    )


@pytest.fixture(scope="session")
def tiny_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder of a tiny random checkpoint."""
    folder = tmp_path_factory.mktemp("tiny-model")
    make_pipeline(PRESETS["tiny"].model).save_pretrained(folder)
    return folder


@pytest.fixture(scope="session")
def picture_models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A models folder with tiny random models that make first frames."""
    from tests.first_frame.tiny import make_models  # imports much that most tests do not need

    return make_models(tmp_path_factory.mktemp("picture-models"))


@pytest.fixture(scope="module")
def photos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Photos of random texture, two on each side of the split."""
    folder, rng = tmp_path_factory.mktemp("photos"), np.random.default_rng(0)
    names = [f"photo{i}.jpg" for i in range(100)]
    for held_out in (False, True):
        for name in [name for name in names if is_held_out(name) == held_out][:2]:
            pixels = rng.integers(0, 256, (9, 12, 3), dtype=np.uint8)
            Image.fromarray(pixels).resize((96, 72), Image.Resampling.BICUBIC).save(folder / name)
    return folder


@pytest.fixture(scope="session")
def photo() -> Image.Image:
    """A photo with edges and colours, larger than any tiny frame."""
    y, x = np.mgrid[:48, :64]
    pixels = np.stack([x * 4, y * 5, (x // 8 + y // 8) % 2 * 200], axis=2).astype(np.uint8)
    return Image.fromarray(pixels)
