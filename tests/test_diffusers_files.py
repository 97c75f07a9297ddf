"""What diffusers' users expect of a pipeline's files: saved and opened, passed on, uploaded, and changed by a LoRA."""

import json
import shutil
from dataclasses import asdict
from pathlib import Path

import numpy as np
import pytest
import torch
from diffusers import DiffusionPipeline
from safetensors.torch import load_file
from transformers import CLIPTextModel

import trip.loading
from tests.conftest import make_pipeline, quiet
from trip.model.lora import LoraCard, add_lora, save_lora
from trip.model_cache import EMBEDDED, load_pipeline
from trip.pipeline import TripPipeline
from trip.settings import PRESETS, VARIANTS, AnimateSettings
from trip.training.warm_start import open_base

TINY = PRESETS["tiny"].model
SETTINGS = AnimateSettings(prompt="the camera pans right", seed=3, num_steps=2)
PARTS = ("vae", "text_encoder", "unet", "fusion")


@pytest.fixture(scope="module")
def lora_file(pipe, tmp_path_factory) -> Path:
    """Changes of the tiny model, in a folder of their own."""
    torch.manual_seed(0)
    made = pipe.copied()
    add_lora(made.unet, rank=2, layers="motion")
    with torch.no_grad():
        for name, weight in made.unet.named_parameters():
            if ".lora_" in name:
                weight.normal_(std=0.2)
    card = LoraCard("tiny", pipe.fingerprint, 2, "motion", data_digest="clips", num_steps=70, settings={"layers": "motion"})
    path = tmp_path_factory.mktemp("lora") / "lora.safetensors"
    save_lora(path, made.unet, made.fusion, card)
    return path


def same(one: TripPipeline, other: TripPipeline, photo) -> bool:
    """Whether they make the same clip, but for how a last digit is rounded."""
    frames = [quiet(pipe).animate(photo, SETTINGS).frames.astype(int) for pipe in (one, other)]
    return np.abs(frames[0] - frames[1]).max() <= 1


# every variant


@pytest.mark.parametrize("variant", VARIANTS)
def test_every_variant_is_saved_opened_moved_and_copied(photo, tmp_path, variant):
    made = quiet(make_pipeline(TINY.model_copy(update={"variant": variant})))
    made.save_pretrained(tmp_path)
    assert all(list((tmp_path / part).glob("*.safetensors")) for part in PARTS)
    opened = TripPipeline.from_pretrained(tmp_path, use_safetensors=True, dtype=torch.bfloat16)
    assert {getattr(opened, part).dtype for part in PARTS} == {torch.bfloat16} == {opened.fusion.dtype}
    assert opened.copied(torch.float16).fusion.dtype == torch.float16
    again = TripPipeline.from_pretrained(tmp_path).to("cpu")
    assert again.fusion.config.kind == VARIANTS[variant].fusion
    assert same(made, again, photo) and same(made, again.copied(), photo)
    assert made.fingerprint == again.fingerprint == opened.fingerprint
    assert load_pipeline(tmp_path).device.type == opened.device.type
    assert open_base(tmp_path, TINY.model_copy(update={"variant": variant})).denoiser().fusion.config.kind == VARIANTS[variant].fusion


# saved and opened


@pytest.mark.parametrize("shard", ["10GB", "100KB"])
def test_weights_of_a_variant_open_everywhere(pipe, photo, tmp_path, shard):
    pipe.save_pretrained(tmp_path, variant="fp16", max_shard_size=shard)
    names = [path.name for part in PARTS for path in (tmp_path / part).glob("*.safetensors")]
    assert names and all(".fp16" in name for name in names) and (len(names) > 4) == (shard == "100KB")
    for opened in (TripPipeline.from_pretrained(tmp_path), TripPipeline.from_pretrained(tmp_path, variant="fp16"), load_pipeline(tmp_path)):
        opened.arithmetic = None
        assert same(opened, pipe, photo)
    base = open_base(tmp_path, TINY)
    vae, encoder, _ = base.frozen_parts()
    assert torch.equal(vae.encoder.conv_in.weight, pipe.vae.encoder.conv_in.weight) and isinstance(encoder, CLIPTextModel)
    assert torch.equal(base.denoiser().unet.conv_in.weight, pipe.unet.conv_in.weight)


def test_a_variant_that_is_not_there_is_an_error(tiny_model):
    with pytest.raises(ValueError, match="`variant=fp16`"):
        TripPipeline.from_pretrained(tiny_model, variant="fp16")


def test_parts_may_be_opened_in_precisions_of_their_own(tiny_model):
    opened = TripPipeline.from_pretrained(tiny_model, dtype={"unet": torch.bfloat16, "default": torch.float16})
    assert [getattr(opened, part).dtype for part in PARTS] == [torch.float16, torch.float16, torch.bfloat16, torch.float16]


def test_the_library_opens_our_folders_by_their_class(pipe, photo, tmp_path):
    pipe.save_pretrained(tmp_path)
    assert json.loads((tmp_path / "model_index.json").read_text())["_class_name"] == ["pipeline", "TripPipeline"]
    assert same(DiffusionPipeline.from_pretrained(tmp_path, trust_remote_code=True), pipe, photo)
    with pytest.raises(ValueError, match="custom code"):
        DiffusionPipeline.from_pretrained(tmp_path)
    (tmp_path / "pipeline.py").write_text("raise SystemExit('code of the folder ran')")
    assert same(TripPipeline.from_pretrained(tmp_path), pipe, photo)
    assert open_base(tmp_path, TINY).is_trip


def test_the_embedded_models_open_and_run_by_the_library(photo):
    trip = DiffusionPipeline.from_pretrained(EMBEDDED, trust_remote_code=True)
    out = quiet(trip)(
        photo, prompt="the camera pans right", num_inference_steps=1, num_frames=2, generator=torch.Generator().manual_seed(0)
    )
    assert type(trip) is TripPipeline and len(out.frames[0]) == 2
    editor = quiet(DiffusionPipeline.from_pretrained(EMBEDDED.parent / "editor"))
    assert {editor.text_encoder.dtype, editor.unet.dtype, editor.vae.dtype} == {torch.float32}
    picture = editor("make it night", image=photo.resize((128, 128)), num_inference_steps=1, guidance_scale=1.0).images[0]
    assert picture.size == (128, 128) and np.asarray(picture).std() > 1


def test_a_failed_save_leaves_the_pipeline_as_it_was(pipe, tmp_path, monkeypatch):
    before = [dict(part.config) for part in (pipe, pipe.unet, pipe.vae, pipe.fusion)]
    monkeypatch.setattr(type(pipe.vae), "save_pretrained", lambda *_, **__: (_ for _ in ()).throw(OSError("no room")))
    with pytest.raises(OSError, match="no room"):
        pipe.save_pretrained(tmp_path)
    assert [dict(part.config) for part in (pipe, pipe.unet, pipe.vae, pipe.fusion)] == before and pipe.name_or_path


# passed on


def test_components_are_the_modules_and_carry_how_they_are_used(pipe, photo):
    assert set(pipe.components) == {*PARTS, "tokenizer", "scheduler"}
    used = {"num_frames": 3, "fps": 6.0, "num_steps": 2, "guidance_scale": 2.5, "card": "A card."}
    one = TripPipeline(**pipe.copied().components, **used)
    for other in (TripPipeline(**one.components), TripPipeline.from_pipe(one), one.copied()):
        assert {name: other.config[name] for name in used} == used
        assert same(one, other, photo)
    assert TripPipeline(**one.components, num_steps=7).config.num_steps == 7


def test_lora_goes_where_the_weights_go(pipe, photo, lora_file, tmp_path):
    tuned = pipe.with_lora(lora_file)
    assert tuned.lora.num_steps == 70 and pipe.lora is None and not same(tuned, pipe, photo)
    tuned.save_pretrained(tmp_path)
    for other in (TripPipeline(**tuned.components), TripPipeline.from_pipe(tuned), tuned.copied(), TripPipeline.from_pretrained(tmp_path)):
        assert asdict(other.lora) == asdict(tuned.lora) and other.weights_card == tuned.weights_card
        assert other.animate(photo, SETTINGS).metadata["lora"] == "clips, 70 steps"
        assert same(other, tuned, photo)


def test_lora_is_loaded_in_place_and_taken_away(tiny_model, photo, lora_file, tmp_path):
    one, base = quiet(TripPipeline.from_pretrained(tiny_model)), TripPipeline.from_pretrained(tiny_model)
    shutil.copy(lora_file, tmp_path / "lora.safetensors")
    for source in (lora_file, str(lora_file), tmp_path):
        one.load_lora_weights(source)
        assert one.lora.num_steps == 70 and same(one, base.with_lora(lora_file), photo)
        with pytest.raises(ValueError, match="made for the model"):
            one.load_lora_weights(source)  # on top of itself
        one.unload_lora_weights()
        assert one.lora is None and same(one, base, photo)
    with pytest.raises(ValueError, match="^wanted a LoRA that load_lora_weights has added"):
        one.unload_lora_weights()
    one.enable_model_cpu_offload(device="cpu")
    with pytest.raises(ValueError, match="before offloading begins"):
        one.load_lora_weights(lora_file)
    assert one.lora is None


# the hub


@pytest.fixture
def hub(monkeypatch) -> list[dict]:
    """Uploads, in the place of the network."""
    uploads = []

    class Repository:
        repo_id = "somebody/moving"

    def upload(self, folder, repo_id, **more):
        files = {path.relative_to(folder).as_posix(): path.read_bytes() for path in Path(folder).rglob("*") if path.is_file()}
        uploads.append({"files": files, "repo_id": repo_id, **more})
        return "https://hub/commit"

    monkeypatch.setattr(trip.loading, "create_repo", lambda *_, **__: Repository)
    monkeypatch.setattr(TripPipeline, "_upload_folder", upload)
    return uploads


def test_an_upload_has_our_card(pipe, hub, lora_file, tmp_path):
    assert pipe.push_to_hub("moving", private=True, token="secret", commit_message="First") == "https://hub/commit"
    pipe.with_lora(lora_file).save_pretrained(tmp_path / "moving", push_to_hub=True)
    TripPipeline.from_pretrained(EMBEDDED).push_to_hub("moving")
    plain, tuned, embedded = (upload["files"]["README.md"].decode() for upload in hub)
    assert "pipeline_tag: image-to-video" in plain and pipe.weights_card in plain and 'from_pretrained("somebody/moving")' in plain
    assert "With a LoRA on top, trained for 70 steps." in tuned
    assert embedded == (EMBEDDED / "README.md").read_text()
    assert hub[0]["commit_message"] == "First" and hub[0]["token"] == "secret"
    assert {"model_index.json", "pipeline.py", "fusion/config.json"} <= set(hub[0]["files"])
    assert str(EMBEDDED) not in hub[2]["files"]["model_index.json"].decode()


def test_a_failed_upload_leaves_the_pipeline_as_it_was(pipe, photo, hub, monkeypatch):
    def refused(self, folder, repo_id, **more):
        raise OSError("no network")

    before = [dict(part.config) for part in (pipe, pipe.unet, pipe.vae, pipe.fusion)]
    wanted = pipe.animate(photo, SETTINGS).frames
    monkeypatch.setattr(TripPipeline, "_upload_folder", refused)
    with pytest.raises(OSError, match="no network"):
        pipe.push_to_hub("moving")
    assert [dict(part.config) for part in (pipe, pipe.unet, pipe.vae, pipe.fusion)] == before
    assert np.array_equal(pipe.animate(photo, SETTINGS).frames, wanted)


def test_written_weights_of_the_text_encoder_say_the_precision_that_all_parts_open_in():
    """transformers opens in the precision that the file says, diffusers in float32: they are to agree."""
    for folder in (EMBEDDED, EMBEDDED.parent / "editor"):
        assert json.loads((folder / "text_encoder" / "config.json").read_text())["dtype"] == "float32"
        assert load_file(next((folder / "unet").glob("*.safetensors")))
