"""Text-to-video pipelines of the ModelScope family as a start: what is taken, which schedule holds, what is refused."""

import json
import shutil
from pathlib import Path

import pytest
import torch
from diffusers import UNet3DConditionModel

from trip.model.build import build_scheduler
from trip.model.denoiser import Condition
from trip.settings import PRESETS, changed
from trip.training.warm_start import check_kept, licence_of, open_base

PAPER = PRESETS["paper"].model
TOLD = changed(PRESETS["paper"], {"model.unet.added_conditions": ("fps",), "model.unet.photo_warp": True}).model


def inputs(base):
    generator = torch.Generator().manual_seed(0)
    z_t = torch.randn(2, 4, 5, 8, 8, generator=generator)
    words, sentence = torch.randn(2, 7, 16, generator=generator), torch.randn(2, 16, generator=generator)
    timestep = torch.tensor([40, 900])
    alpha_bar = build_scheduler(base.model).alphas_cumprod[timestep]
    return z_t, timestep, alpha_bar, Condition(z_t[:, :, :1], words, sentence, torch.arange(5.0).expand(2, -1))


@pytest.mark.parametrize("model", [PAPER, TOLD], ids=["paper", "with options"])
@torch.no_grad()
def test_the_residual_is_what_the_base_predicts(text_to_video, model):
    """On the base's schedule: the photo's latent is one more frame, options start at zero."""
    base = open_base(text_to_video, model, schedule="base")
    assert told_plainly(base, text_to_video)
    assert build_scheduler(base.model).config.beta_schedule == "scaled_linear" and base.clamped_share == 0


def told_plainly(base, text_to_video) -> bool:
    """Whether the base's own network is told the time step's number as it is."""
    z_t, timestep, alpha_bar, condition = inputs(base)
    residual = base.denoiser().eval()(z_t, timestep, alpha_bar, condition).residual
    theirs = UNet3DConditionModel.from_pretrained(text_to_video, subfolder="unet").eval()
    wanted = theirs(torch.cat([condition.z_first, z_t], dim=2), timestep, condition.words).sample[:, :, 1:]
    return torch.allclose(residual, wanted, atol=1e-4)


@torch.no_grad()
def test_the_first_step_begins_with_what_the_base_predicts(text_to_video):
    """The paper's fusion adds nothing to the residual before it has learnt, whatever the prior says."""
    base = open_base(text_to_video, PAPER)
    eps, residual, _ = base.denoiser().eval()(*inputs(base))
    assert not PAPER.fusion.skip and residual.square().mean() > 0.05
    assert (eps - residual).square().mean() < 0.02 * residual.square().mean()


@torch.no_grad()
def test_plain_time_steps_on_the_papers_schedule(text_to_video):
    base = open_base(text_to_video, PAPER, schedule="plain")
    assert told_plainly(base, text_to_video)
    assert build_scheduler(base.model).config.beta_schedule == "linear" and base.clamped_share == 0


@torch.no_grad()
def test_on_the_papers_schedule_the_base_is_told_its_own_step(text_to_video):
    base = open_base(text_to_video, PAPER)  # nothing is said of the schedule: it is the paper's
    z_t, timestep, alpha_bar, condition = inputs(base)
    assert build_scheduler(base.model).config.beta_schedule == "linear"
    residual = base.denoiser().eval()(z_t, timestep, alpha_bar, condition).residual
    own = torch.linspace(0.00085**0.5, 0.012**0.5, 1000).square().neg().add(1).cumprod(0)
    nearest = (own.unsqueeze(1) - alpha_bar).abs().argmin(dim=0)
    theirs = UNet3DConditionModel.from_pretrained(text_to_video, subfolder="unet").eval()
    wanted = theirs(torch.cat([condition.z_first, z_t], dim=2), nearest, condition.words).sample[:, :, 1:]
    assert torch.allclose(residual, wanted, atol=2e-2) and nearest.tolist() != timestep.tolist()
    assert base.clamped_share == pytest.approx(0.273, abs=1e-3)  # from t = 727 on


def test_a_trip_checkpoint_goes_on_with_the_schedule_that_it_knows(tiny_model):
    embedded = PRESETS["embedded"].model
    base = open_base(tiny_model, changed(PRESETS["tiny"], {"model.schedule.kind": "scaled_linear"}).model)
    assert base.model.schedule == PRESETS["tiny"].model.schedule == embedded.schedule
    with pytest.raises(ValueError, match="^--schedule: wanted a text-to-video pipeline, got a TRIP checkpoint, which keeps its own"):
        open_base(tiny_model, PRESETS["tiny"].model, schedule="preset")


@pytest.mark.parametrize("name, value, schedule", [("schedule.kind", "linear", "base"), ("unet.layers_per_block", 3, "plain")])
def test_a_setting_that_the_weights_decide_is_refused(text_to_video, name, value, schedule):
    model = changed(PRESETS["paper"], {f"model.{name}": value}).model
    base = open_base(text_to_video, model, schedule=schedule)
    with pytest.raises(ValueError, match=f"^model.{name}: wanted {value}, but the weights of {base.name} go with .*; leave it out$"):
        check_kept([name], model, base.model, base.name)


def test_a_schedule_that_was_chosen_holds(text_to_video):
    model = changed(PRESETS["paper"], {"model.schedule.kind": "scaled_linear"}).model
    base = open_base(text_to_video, model)
    check_kept(["schedule.kind"], model, base.model, base.name)
    assert base.model.schedule.kind == "scaled_linear"


@torch.no_grad()
def test_with_the_photo_in_the_channels_it_counts_nothing_at_first(text_to_video):
    base = open_base(text_to_video, changed(PRESETS["paper"], {"model.variant": "trip-c"}).model, schedule="base")
    z_t, timestep, alpha_bar, condition = inputs(base)
    residual = base.denoiser().eval()(z_t, timestep, alpha_bar, condition).residual
    theirs = UNet3DConditionModel.from_pretrained(text_to_video, subfolder="unet").eval()
    assert torch.allclose(residual, theirs(z_t, timestep, condition.words).sample, atol=1e-4)


def test_the_frozen_parts_and_the_licence_are_the_bases(text_to_video):
    base = open_base(text_to_video, PAPER)
    vae, text_encoder, tokenizer = base.frozen_parts()
    assert not any(p.requires_grad for module in (vae, text_encoder) for p in module.parameters())
    assert len(tokenizer) == text_encoder.config.vocab_size
    assert (base.name, base.licence) == (text_to_video.name, "cc-by-nc-4.0")


def test_a_licence_that_nobody_states_is_said_to_be_so(tmp_path):
    assert licence_of(tmp_path) == "not stated"
    (tmp_path / "README.md").write_text("# no header\nlicense: mit\n")
    assert licence_of(tmp_path) == "not stated"


def refusal(name, model=PAPER) -> str:
    with pytest.raises(ValueError) as caught:
        open_base(name, model).denoiser()
    assert "\n" not in str(caught.value)
    return str(caught.value)


@pytest.fixture
def copy(text_to_video, tmp_path) -> Path:
    return Path(shutil.copytree(text_to_video, tmp_path / "copy"))


def test_what_does_not_fit_is_refused_in_one_line(copy, tmp_path):
    assert "found nothing there" in refusal(tmp_path / "nowhere")
    assert "model_index.json" in refusal(tmp_path)
    (copy / "unet" / "diffusion_pytorch_model.safetensors").rename(copy / "unet" / "diffusion_pytorch_model.bin")
    assert "wanted safetensors" in refusal(copy)


def test_another_pipeline_and_a_schedule_without_signal_are_refused(copy):
    config = copy / "scheduler" / "scheduler_config.json"
    config.write_text(json.dumps(json.loads(config.read_text()) | {"rescale_betas_zero_snr": True}))
    assert "leaves some signal" in refusal(copy)
    index = copy / "model_index.json"
    index.write_text(json.dumps(json.loads(index.read_text()) | {"_class_name": "StableDiffusionPipeline"}))
    assert "got a StableDiffusionPipeline" in refusal(copy)
