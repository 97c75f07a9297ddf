"""Models that are here open, take turns in a small memory, and what is not a model is refused in one line."""

import json
import shutil
from pathlib import Path

import pytest
import torch

from trip import model_cache
from trip.first_frame.generation import PictureGenerator
from trip.first_frame.local_models import default_model, family_of, find_model, resolve_models
from trip.first_frame.opening import num_bytes_on_disk, open_pipeline
from trip.model_cache import ModelCache, num_bytes_of
from trip.settings import ControlSettings, EditSettings, PaintSettings

QUICK = {"size": 64, "num_steps": 2, "seed": 3}


def refusal(call, *arguments: object, **more: object) -> str:  # noqa: ANN001
    with pytest.raises(ValueError) as refused:
        call(*arguments, **more)
    assert "\n" not in str(refused.value) and len(str(refused.value)) < 600
    return str(refused.value)


@pytest.fixture
def copy(models: Path, tmp_path: Path) -> Path:
    """A model to break, in a models folder of its own."""
    shutil.copytree(models / "ip2p", tmp_path / "ip2p")
    return tmp_path


@pytest.mark.parametrize("name, family", [("sdxl", "sdxl"), ("sd15", "sd"), ("control-sdxl-canny", "sdxl"), ("control-sd15-canny", "sd")])
def test_the_family_of_a_model_is_read_from_its_files(models, name, family):
    assert family_of(models / name) == family


@pytest.mark.parametrize("name", ["sdxl", "sdxl-lightning-4"])
def test_the_memory_that_a_model_will_take_is_known_before(models, name):
    model = find_model(name, models, "paint")
    pipe = open_pipeline(model, models)
    assert num_bytes_on_disk(model, models) == pytest.approx(num_bytes_of(pipe), rel=0.01)
    assert pipe.unet.dtype == torch.float32  # out of an fp16 variant, on a CPU


def test_any_folder_of_the_kind_will_do(models, cache, landscape, tmp_path):
    shutil.copytree(models / "ip2p-xl", tmp_path / "mine")
    settings = EditSettings.checked(instruction="winter", picture_model="mine", **QUICK)
    assert PictureGenerator(tmp_path, lambda step: None).generate(settings, landscape).pictures.pictures
    settings = settings.model_copy(update={"picture_model": str(models / "ip2p"), "size": None})
    result = PictureGenerator(None, lambda step: None, anywhere=True).generate(settings, landscape)
    assert result.settings.size == 32  # what its U-Net was made for


def test_models_in_the_hubs_cache_are_found_by_their_hub_id(models, tmp_path, monkeypatch):
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path))
    cached = tmp_path / "models--owner--mine"
    (cached / "refs").mkdir(parents=True)
    (cached / "refs" / "main").write_text("c0ffee")
    shutil.copytree(models / "sdxl", cached / "snapshots" / "c0ffee")
    assert find_model("owner/mine", None, "paint").folder == cached / "snapshots" / "c0ffee"


@pytest.mark.parametrize("name", ["../ip2p", "/etc", "./ip2p", "a/b/c", "..", "", "x\\y", "https://x/y"])
def test_visitors_cannot_name_a_path(copy, name):
    assert "there is no model" in refusal(find_model, name, copy / "sub", "edit")


def test_a_model_for_something_else_is_told(models):
    assert "ip2p is no model to paint with; choose from sdxl" in refusal(find_model, "ip2p", models, "paint")
    shutil.copytree(models / "ip2p", models / "disguised", dirs_exist_ok=True)
    message = refusal(open_pipeline, find_model("disguised", models, "paint"), models)
    assert message == "disguised: wanted a model to paint with, found a model to edit with; choose another"


@pytest.mark.parametrize("words", ["add a dog", "make it a watercolor", "make it a cartoon"])
def test_what_the_embedded_editor_never_learnt_is_refused_and_other_models_may_try_it(models, words):
    with pytest.raises(ValueError, match=f"the embedded editor cannot do '{words}'.*or get InstructPix2Pix$"):
        resolve_models(EditSettings(instruction=words, picture_model="editor"), models)
    assert resolve_models(EditSettings(instruction=words, picture_model="ip2p"), models)[0].name == "ip2p"
    assert resolve_models(EditSettings(instruction="make it night", picture_model="editor"), models)[0].name == "editor"


def test_a_controlnet_of_the_other_base_is_told(models, cache, landscape):
    settings = ControlSettings.checked(prompt="tiger", picture_model="sd15", controlnet="control-sdxl-canny", **QUICK)
    assert "is not made for sd15; choose a ControlNet for Stable Diffusion 1.5" in refusal(
        PictureGenerator(models, lambda step: None).generate, settings, landscape
    )


@pytest.mark.parametrize(
    "settings, said",
    [
        ({"annotator": "mlsd", "picture_model": "sdxl"}, "no ControlNet for mlsd on SDXL in the list; choose from canny, depth"),
        ({"annotator": "mlsd"}, "--fetch control-sd15-mlsd"),
    ],
)
def test_a_controlnet_that_is_not_here_is_told(models, cache, landscape, settings, said):
    settings = ControlSettings.checked(prompt="tiger", **QUICK | settings)
    assert said in refusal(PictureGenerator(models, lambda step: None).generate, settings, landscape)


def test_without_any_model_each_task_says_how_to_get_one(tmp_path, landscape):
    generator = PictureGenerator(tmp_path, lambda step: None)
    for settings in (PaintSettings(), EditSettings(instruction="winter", picture_model="ip2p"), ControlSettings()):
        assert "not on this machine; get it (about " in refusal(generator.generate, settings, landscape)


def test_where_no_model_is_named_the_first_that_is_here_is_taken(models, tmp_path):
    assert [default_model(schema, models) for schema in (PaintSettings, EditSettings, ControlSettings)] == ["sdxl", "ip2p", "sd15"]
    assert [default_model(schema, tmp_path) for schema in (PaintSettings, EditSettings, ControlSettings)] == ["sdxl", "editor", "sd15"]
    lightning = tmp_path / "ByteDance--SDXL-Lightning"
    shutil.copytree(models / lightning.name, lightning)
    assert default_model(PaintSettings, tmp_path) == "sdxl"  # a U-Net without the rest of SDXL paints nothing
    shutil.copytree(models / "sdxl-turbo", tmp_path / "sdxl-turbo")
    assert default_model(PaintSettings, tmp_path) == "sdxl-turbo"


@pytest.mark.parametrize("part", ["unet", "vae", "text_encoder"])
def test_a_missing_part_is_named(copy, part):
    shutil.rmtree(copy / "ip2p" / part)
    assert "InstructPix2Pix: not on this machine" in refusal(find_model, "ip2p", copy, "edit")
    (copy / "ip2p").rename(copy / "mine")
    assert f"it lacks {part}" in refusal(find_model, "mine", copy, "edit")


def test_pickles_are_no_weights(copy):
    weights = copy / "ip2p" / "unet" / "diffusion_pytorch_model.safetensors"
    weights.rename(weights.with_suffix(".bin"))
    (copy / "ip2p").rename(copy / "mine")
    assert "unet (wanted as safetensors)" in refusal(find_model, "mine", copy, "edit")


@pytest.mark.parametrize("share", [0, 0.5])
def test_truncated_weights_are_told(copy, cache, landscape, share):
    path = copy / "ip2p" / "unet" / "diffusion_pytorch_model.safetensors"
    path.write_bytes(path.read_bytes()[: int(share * path.stat().st_size)])
    settings = EditSettings.checked(instruction="winter", **QUICK)
    assert "or fetch" in refusal(PictureGenerator(copy, lambda step: None).generate, settings, landscape)


def test_an_index_that_names_foreign_code_runs_none(copy, cache, landscape):
    folder = copy / "ip2p"
    index = json.loads((folder / "model_index.json").read_text())
    (folder / "model_index.json").write_text(json.dumps(index | {"unet": ["evil", "Evil"]}))
    (folder / "unet" / "evil.py").write_text("raise SystemExit('ran')")
    refusal(PictureGenerator(copy, lambda step: None).generate, EditSettings.checked(instruction="winter", **QUICK), landscape)


# taking turns


def use(cache: ModelCache, models: Path, *names: str) -> None:
    for name in names:
        model = find_model(name, models, "edit" if "ip2p" in name else "paint")
        with cache.acquire(name, lambda model=model: open_pipeline(model, models), num_bytes_on_disk(model, models)):
            pass


def test_models_take_turns_in_a_small_memory(models):
    room = num_bytes_on_disk(find_model("sdxl", models, "paint"), models) + num_bytes_on_disk(find_model("sd15", models, "paint"), models)
    cache = ModelCache(torch.device("cpu"), int(1.1 * room))
    use(cache, models, "sdxl", "sd15")
    assert list(cache) == ["sdxl", "sd15"]
    use(cache, models, "sdxl", "ip2p")
    assert list(cache) == ["sdxl", "ip2p"]
    assert sum(one.num_bytes for one in cache._entries.values()) <= cache.num_bytes


def test_a_model_at_work_is_not_put_away_and_a_kept_one_never(models):
    cache = ModelCache(torch.device("cpu"), num_bytes_on_disk(find_model("sdxl", models, "paint"), models))
    cache.open("kept", lambda: open_pipeline(find_model("sd15", models, "paint"), models), pin=True)
    with cache.acquire("at work", lambda: open_pipeline(find_model("sdxl", models, "paint"), models)):
        use(cache, models, "ip2p")
        assert set(cache) == {"kept", "at work", "ip2p"}
    use(cache, models, "sd15")
    assert "kept" in cache and "at work" not in cache


def test_a_model_larger_than_the_memory_is_refused_before_it_is_opened(models):
    cache = ModelCache(torch.device("cpu"), 1000)
    assert "choose a smaller model" in refusal(use, cache, models, "sdxl")


def test_a_model_that_does_not_open_leaves_the_shelf_as_it_was(models):
    cache = ModelCache(torch.device("cpu"), 10**9)
    with pytest.raises(ZeroDivisionError), cache.acquire("broken", lambda: 1 / 0):
        pass
    use(cache, models, "sd15")
    assert list(cache) == ["sd15"]


class Model:
    """Stands for a pipeline beside an accelerator, which this machine may lack."""

    def __init__(self, size: int):
        self.components = {"part": torch.nn.Linear(size, 1, bias=False)}
        self.place = "cpu"

    def to(self, device: torch.device | str) -> None:
        self.place = str(device)


def test_beside_an_accelerator_models_wait_in_memory():
    cache = ModelCache(torch.device("meta"), 400, 1300)  # bytes: room for one there, and for three beside it
    first, second, third, fourth = models = [Model(100) for _ in range(4)]
    for index, model in enumerate(models[:3]):
        with cache.acquire(index, lambda model=model: model, 400):
            assert model.place == "meta"
    assert [model.place for model in models[:3]] == ["cpu", "cpu", "meta"] and len(list(cache)) == 3
    with cache.acquire(3, lambda: fourth, 400):
        assert fourth.place == "meta"
    assert 0 not in cache and second.place == third.place == "cpu"


def test_a_clip_is_made_while_painters_come_and_go(models, tiny_model, monkeypatch):
    cache = ModelCache(torch.device("cpu"), num_bytes_on_disk(find_model("sdxl", models, "paint"), models))
    monkeypatch.setattr(model_cache, "shared_cache", lambda: cache)
    pipe = model_cache.load_pipeline(tiny_model)
    use(cache, models, "sdxl", "sd15")
    with model_cache.acquire_pipeline(tiny_model) as again:
        assert again is pipe
