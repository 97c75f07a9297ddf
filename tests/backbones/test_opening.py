"""Video models by others are found and opened, and what is not one is told."""

import json
import shutil

import pytest
import torch
from diffusers import DiffusionPipeline

from trip.backbones.kinds import KINDS, class_of
from trip.backbones.local import find_video_model, video_models_here
from trip.backbones.opening import acquire, num_bytes_on_disk, open_pipeline
from trip.first_frame.catalogue import CARDS, cards
from trip.first_frame.local_models import MissingModel
from trip.model_cache import ModelCache, num_bytes_of
from trip.pipeline import TripPipeline
from trip.settings import AnimateSettings


def test_all_that_is_here_is_listed_once(video_models, tmp_path):
    assert [model.name for model in video_models_here(video_models)] == [name for name in cards("video") if name != "zeroscope"]
    shutil.copytree(video_models / "modelscope", tmp_path / "mine")
    (tmp_path / "notes.txt").write_text("no model")
    assert [(model.name, model.class_name) for model in video_models_here(tmp_path)] == [("mine", "TextToVideoSDPipeline")]
    assert video_models_here(None) == [] and video_models_here(tmp_path / "none") == []


def test_a_model_that_is_not_here_comes_with_the_command_that_gets_it(tmp_path):
    with pytest.raises(MissingModel, match=r"AnimateDiff .* and .*|Stable Diffusion 1.5 and AnimateDiff") as missing:
        find_video_model("animatediff", tmp_path)
    assert "python -m trip models --fetch animatediff" in str(missing.value) and "\n" not in str(missing.value)
    with pytest.raises(MissingModel, match="Wan 2.2 TI2V-5B: not on this machine; get it .about 24.2 GB."):
        find_video_model("wan-ti2v-5b", tmp_path)


def test_a_motion_adapter_works_on_other_models_of_the_family(video_models, tmp_path):
    shutil.copytree(video_models / "animatediff", tmp_path / "animatediff")
    shutil.copytree(video_models / "sd15", tmp_path / "photographer")
    model = find_video_model("animatediff+photographer", tmp_path)
    assert (model.title, model.folder.name, model.adapter.name) == ("AnimateDiff v1-5-3 on photographer", "photographer", "animatediff")
    pipe = open_pipeline(model)
    assert type(pipe.unet).__name__ == "UNetMotionModel" and pipe.scheduler.config.beta_schedule == "linear"
    with pytest.raises(ValueError, match="there is no model 'nobody' here"):
        find_video_model("animatediff+nobody", tmp_path)
    with pytest.raises(ValueError, match="modelscope.photographer: wanted no base, thus nothing from . on"):
        find_video_model("modelscope+photographer", video_models)
    with pytest.raises(ValueError, match="wanted the name of a base after"):
        find_video_model("animatediff+", video_models)


def test_animatelcm_has_its_lora_and_its_sampler(video_models):
    pipe = open_pipeline(find_video_model("animatelcm", video_models))
    assert type(pipe.scheduler).__name__ == "LCMScheduler" and pipe.scheduler.config.beta_schedule == "linear"
    assert pipe.get_active_adapters() == ["lcm"]


def test_a_folder_that_a_person_names_opens_and_visitors_name_none(video_models, tmp_path):
    folder = shutil.copytree(video_models / "svd-xt", tmp_path / "my model")
    assert find_video_model(str(folder), None, anywhere=True).class_name == "StableVideoDiffusionPipeline"
    assert find_video_model(str(folder), None) is None
    assert find_video_model("../my model", tmp_path / "models") is None


@pytest.mark.parametrize("name, class_name", [("wan-ti2v-5b", "WanImageToVideoPipeline"), ("ltx", "LTXImageToVideoPipeline"), ("sd15", "")])
def test_a_folder_opens_as_the_class_that_sees_the_photo(video_models, name, class_name):
    assert class_of(video_models / name) == class_name


def test_a_trip_checkpoint_is_none_of_them(tiny_model, video_models):
    assert find_video_model(str(tiny_model), video_models, anywhere=True) is None
    with acquire(str(tiny_model), None, video_models) as pipe:
        assert isinstance(pipe, TripPipeline)


@pytest.mark.parametrize("name", ["animatelcm", "modelscope", "cogvideox-i2v", "svd-xt", "i2vgen-xl"])
def test_the_memory_that_its_weights_take_is_known_before(video_models, name):
    model = find_video_model(name, video_models)
    assert num_bytes_on_disk(model) == pytest.approx(num_bytes_of(open_pipeline(model)), rel=0.02)


def test_it_is_opened_once_and_makes_room_for_others(video_models, cache, landscape):
    with acquire("modelscope", None, video_models) as first, acquire("modelscope", None, video_models) as second:
        assert first.pipe is second.pipe and first.pipe.unet.dtype == torch.float32
    with acquire("i2vgen-xl", None, video_models) as largest:
        cache.num_bytes = cache.memory_num_bytes = 2 * num_bytes_of(largest.pipe)
    names = ("animatediff", "modelscope", "text2video-zero", "i2vgen-xl")
    for name in names:
        with acquire(name, None, video_models) as model:
            assert len(model.animate(landscape, AnimateSettings.checked(num_steps=4, num_frames=2)).frames) == 2
    assert 1 < len(list(cache)) < len(names)


def test_folders_that_are_broken_leave_the_others(video_models, tmp_path, caplog):
    for name in ("modelscope", "svd-xt", "i2vgen-xl"):
        shutil.copytree(video_models / name, tmp_path / name)
    (tmp_path / "modelscope").rename(tmp_path / "modelscope+old")
    (tmp_path / "i2vgen-xl" / "model_index.json").write_text("[" * 100_000)
    index = json.loads((tmp_path / "svd-xt" / "model_index.json").read_text())
    shutil.copytree(tmp_path / "svd-xt", tmp_path / "modelscope")
    assert video_models_here(tmp_path)[0].name == "svd-xt" and "wanted a folder of TextToVideoSDPipeline, found another kind" in caplog.text
    (tmp_path / "svd-xt" / "model_index.json").write_text(json.dumps(index | {"unet": [], "vae": ["diffusers"]}))
    assert [model.name for model in video_models_here(tmp_path)] == ["svd-xt"]
    with pytest.raises(ValueError, match="Stable Video Diffusion XT|svd-xt"), acquire("svd-xt", None, tmp_path):
        pass


def test_a_name_with_an_owner_means_the_hubs_folder_and_no_other(video_models, tmp_path, monkeypatch):
    """A folder of the models folder is not found under anybody's name, nor one below the working directory."""
    shutil.copytree(video_models / "svd-xt", tmp_path / "models" / "mine")
    shutil.copytree(video_models / "svd-xt", tmp_path / "somebody" / "mine")
    monkeypatch.chdir(tmp_path)
    assert find_video_model("somebody/mine", tmp_path / "models") is None
    (tmp_path / "models" / "mine").rename(tmp_path / "models" / "somebody--mine")
    assert find_video_model("somebody/mine", tmp_path / "models").folder == tmp_path / "models" / "somebody--mine"
    assert find_video_model("somebody/mine", None, anywhere=True).folder == tmp_path / "somebody" / "mine"


def test_weights_that_are_no_numbers_are_refused(video_models, tmp_path):
    from safetensors.torch import load_file, save_file

    shutil.copytree(video_models / "modelscope", tmp_path / "mine")
    path = tmp_path / "mine" / "unet" / "diffusion_pytorch_model.safetensors"
    weights = load_file(path)
    weights["conv_in.weight"][0, 0] = torch.nan
    save_file(weights, path, metadata={"format": "pt"})
    with pytest.raises(ValueError, match="mine: its weight conv_in.weight of UNet3DConditionModel holds what is no number"):
        open_pipeline(find_video_model("mine", tmp_path))


@pytest.mark.parametrize("gigabytes, wanted", [(8, "layers"), (12, "layers"), (16, "parts"), (24, "whole")])
def test_on_an_accelerator_it_works_as_its_card_says(video_models, monkeypatch, gigabytes, wanted):
    """I2VGen-XL takes 14.5 GB, part by part 12.4: of 12 GB nine tenths are no room for that."""
    ways = []
    monkeypatch.setattr(DiffusionPipeline, "enable_model_cpu_offload", lambda *_, **__: ways.append("parts"))
    monkeypatch.setattr(DiffusionPipeline, "enable_sequential_cpu_offload", lambda *_, **__: ways.append("layers"))
    monkeypatch.setattr(DiffusionPipeline, "to", lambda *_, **__: ways.append("whole"))
    model = find_video_model("i2vgen-xl", video_models)
    pipe = open_pipeline(model)
    cache = ModelCache(torch.device("meta"), int(0.85e9 * gigabytes), 10**12)
    with cache.acquire("it", lambda: pipe, num_bytes_on_disk(model), tuple(1e9 * one for one in model.memory)):
        assert ways == [wanted]


def test_a_broken_folder_is_told_in_one_line(video_models, tmp_path):
    shutil.copytree(video_models / "modelscope", tmp_path / "mine")
    (tmp_path / "mine" / "unet" / "diffusion_pytorch_model.safetensors").write_bytes(b"nothing")
    with pytest.raises(ValueError, match="mine") as refused, acquire("mine", None, tmp_path):
        pass
    assert "\n" not in str(refused.value) and "fetch" in str(refused.value)


def test_a_fine_tune_is_of_trips_own_weights(video_models, tmp_path):
    with pytest.raises(ValueError, match="a fine-tune is of TRIP's own weights"), acquire("modelscope", tmp_path, video_models):
        pass


def test_every_card_opens_as_a_kind_that_is_known():
    for name, card in cards("video").items():
        assert card.pipeline in KINDS and card.memory and card.licence, name
        assert card.shape is None or all(side % KINDS[card.pipeline].multiple == 0 for side in card.shape)
    assert {name for name, card in CARDS.items() if not card.is_free and card.task == "video"} == {
        "modelscope", "zeroscope", "cogvideox-i2v", "ltx", "svd-xt"
    }  # fmt: skip


def test_an_index_that_says_no_class_is_no_model(tmp_path):
    for index in ({}, {"_class_name": ["a", "b"]}, {"_class_name": 3}, [1]):
        (tmp_path / "model_index.json").write_text(json.dumps(index))
        assert class_of(tmp_path) == ""
